"""The ensemble deployment: scores the rows that students are not sure of."""

from __future__ import annotations

import asyncio

from cluster.schema import Matrix
from cluster.settings import Settings
from serve_apps.champion import Champion


class Ensemble:
    """Scores by the version the gateway names, so that a swap never mixes two bundles in one answer.

    Parameters
    ----------
    settings
        The model's settings.
    """

    def __init__(self, settings: Settings) -> None:
        self._champion = Champion(settings.places.pointers(settings.model), parts=("ensemble",))

    async def score(self, version: str, matrix: Matrix) -> Matrix:
        """Scores of shape (n, width).

        Raises
        ------
        Unavailable
            When the version is not, or no longer, the champion.
        """
        bundle = await asyncio.to_thread(self._champion.version, version)
        return await asyncio.to_thread(bundle.ensemble, matrix)
