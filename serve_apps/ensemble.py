"""The ensemble deployment: scores the rows that students are not sure of, in batches and within their callers' time."""

from __future__ import annotations

import asyncio
from weakref import WeakKeyDictionary

from cluster.bundle import Bundle
from cluster.schema import Matrix
from cluster.settings import Settings
from serve_apps.batching import Batcher, Scorer, Stats
from serve_apps.champion import Champion
from serve_apps.pacing import CostCurve


class Ensemble:
    """Scores by the version the gateway names, so that a swap never mixes two bundles in one answer.

    Parameters
    ----------
    settings
        The model's settings.
    """

    def __init__(self, settings: Settings) -> None:
        self._champion = Champion(settings.places.pointers(settings.model), parts=("ensemble",))
        self._batcher = Batcher(max_rows=settings.serving.ensemble.max_batch_rows)
        self._curves: WeakKeyDictionary[Bundle, CostCurve] = WeakKeyDictionary()

    async def score(self, version: str, matrix: Matrix, budget_s: float) -> Matrix:
        """Scores of shape (n, width).

        Parameters
        ----------
        budget_s
            How much longer the caller waits; relative, because clocks of hosts differ.

        Raises
        ------
        Unavailable
            When the version is not, or no longer, held; as Overloaded or DeadlineExceeded when there is not enough time.
        ScoringFailed
            When the model fails on these rows.
        """
        deadline = asyncio.get_running_loop().time() + budget_s
        bundle = self._answering(version)
        if bundle is None:
            bundle = await asyncio.to_thread(self._champion.version, version)
        return await self._batcher.score(Scorer(version, bundle.ensemble, self._curve_of(bundle)), matrix, deadline=deadline)

    def refresh(self) -> object:
        """Follow the pointers, so that the first row after a swap need not wait for its bundle; what began to answer."""
        return self._champion.refresh()

    def stats(self) -> Stats:
        """What the batches were like so far."""
        return self._batcher.stats()

    def _answering(self, version: str) -> Bundle | None:
        """The bundle of a version that needs no loading, which takes a thread."""
        return next((b for b in (self._champion.current, self._champion.challenger) if b is not None and b.version == version), None)

    def _curve_of(self, bundle: Bundle) -> CostCurve:
        """What scoring by a bundle costs: as measured when it was built, then as it is here."""
        if bundle not in self._curves:
            self._curves[bundle] = CostCurve(*bundle.costs.line("ensemble")) if bundle.costs else CostCurve()
        return self._curves[bundle]
