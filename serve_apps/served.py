"""One served model: rows in, answers out. The data plane behind every protocol.

Owns the order of steps: which bundle sees the request, decode, encode, score, journal, audit. Knows no protocol, no route,
no Ray; how the ensemble is reached is a function it is given.
"""

from __future__ import annotations

import asyncio
import functools
import math
import time
from collections.abc import Callable
from typing import Final, NamedTuple, TypeVar
from weakref import WeakKeyDictionary

import numpy as np

from cluster.bundle import Bundle
from cluster.errors import CallerLeft, DeadlineExceeded, NotServed, ScoringFailed, Unavailable
from cluster.journal import Writer, find_rows
from cluster.records import Labels, Prediction
from cluster.schema import Matrix
from cluster.security import Authenticator
from cluster.settings import Settings
from serve_apps.audit import Auditor, ask_beside
from serve_apps.cascade import ENSEMBLE, AskEnsemble, answer
from serve_apps.champion import Champion
from serve_apps.http import Call
from serve_apps.placement import Placement
from serve_apps.protocols.columns import ColumnsReader
from serve_apps.protocols.oip import OipCodec
from serve_apps.protocols.plane import Answered, DecodedRows
from serve_apps.protocols.rows import RowsCodec

LARGE_ROWS: Final = 256
"""Blocks of at least this many rows are encoded and scored in a thread: some milliseconds during which the loop answers others."""
LARGE_BYTES: Final = 65_536
"""Bodies of at least this size are decoded in a thread."""
_T = TypeVar("_T")


class View(NamedTuple):
    """A bundle with the readers of its schema: all that decoding a request needs, of one version."""

    bundle: Bundle
    codec: RowsCodec
    reader: ColumnsReader
    oip: OipCodec


Decode = Callable[[View, float], tuple[DecodedRows, _T]]
"""From a view, and the event time of rows that bring none, to rows and what rendering their answer needs."""


class ServedModel:
    """Answers for one model.

    Parameters
    ----------
    settings
        The model's settings.
    placement
        Where the ensemble scores.
    ask_elsewhere
        Reaches the ensemble's own deployment; None when it scores in this process.

    Raises
    ------
    NoChampion
        When no version has been promoted yet.
    """

    def __init__(self, settings: Settings, placement: Placement, ask_elsewhere: AskEnsemble | None = None) -> None:
        self.settings = settings
        self.name = settings.model
        self.placement = placement
        self.authenticator = Authenticator(settings.serving.token_env)
        self.bundles = Champion(settings.places.pointers(settings.model), parts=("student",) if ask_elsewhere else ("student", "ensemble"))
        self._ask_elsewhere = ask_elsewhere
        self._root = settings.places.journal(settings.model)
        self._journal = Writer(self._root, clock_ns=time.time_ns)
        self.rows_of = functools.lru_cache(maxsize=4096)(functools.partial(find_rows, self._root))
        serving = settings.serving
        ask = ask_elsewhere or ask_beside
        self.audits = Auditor(ask, self._journal.append, share=serving.cascade.audit_share, budget_s=serving.ensemble_timeout_s)
        self._codecs: WeakKeyDictionary[Bundle, tuple[RowsCodec, OipCodec]] = WeakKeyDictionary()  # none outlives its bundle

    @property
    def current(self) -> Bundle:
        """The champion."""
        return self.bundles.current

    def view(self, bundle: Bundle | None = None) -> View:
        """The readers of a bundle, of the champion when none is named."""
        bundle = bundle or self.bundles.current
        codecs = self._codecs.get(bundle)
        if codecs is None:
            codec = RowsCodec(bundle.schema, model=self.name, max_rows=self.settings.serving.max_rows)
            codecs = self._codecs[bundle] = (codec, OipCodec(codec.reader))
        return View(bundle, codecs[0], codecs[0].reader, codecs[1])

    async def answer(self, call: Call, decode: Decode[_T]) -> tuple[Answered, _T]:
        """Decode, score and journal the rows of a request; returns the answer and what `decode` kept for rendering it.

        Raises
        ------
        RequestError
            What `decode` raises: the rows do not fit.
        NotServed
            When the path names a version that does not answer.
        DeadlineExceeded
            When the caller's time has run out before the rows are scored.
        Unavailable
            When the ensemble does not answer and the student may not stand in.
        JournalError
            When the answer cannot be written down: then it is not given.
        """
        view = self.view(self._pick(call))
        rows, kept = await run(len(call.body) >= LARGE_BYTES, decode, view, time.time())
        is_large = len(rows.event_times) >= LARGE_ROWS
        if call.clock() >= call.deadline:
            raise DeadlineExceeded("the time that the request was given ran out before its rows were scored; nothing was computed")
        matrix, student_scores = await run(is_large, self._score, view.bundle, rows)
        serving = self.settings.serving
        scores, answered_by = await answer(
            view.bundle,
            student_scores,
            matrix,
            functools.partial(self._ask_for, call) if self._ask_elsewhere else self._ask_here,
            budget_s=min(serving.ensemble_timeout_s, call.deadline - call.clock()),
            degrade=serving.without_ensemble == "degrade",
        )
        request_id = self._journal.append(
            Prediction(
                bundle=view.bundle.version,
                event_times=rows.event_times,
                columns=rows.columns,
                scores=scores.tobytes(),
                by_ensemble=(answered_by == ENSEMBLE).tobytes(),
            )
        )
        self.audits.consider(view.bundle, request_id, matrix, answered_by)
        bundle = view.bundle
        ends = None if bundle.intervals is None else bundle.intervals.around(scores)
        return Answered(request_id, self.name, bundle.version, bundle.schema.label, scores, answered_by, ends), kept

    def _pick(self, call: Call) -> Bundle:
        """The bundle that a request names, or else the one whose turn it is."""
        wanted = call.parameters.get("version")
        if wanted is None:
            return self.bundles.serving.pick(call.scope["headers"], call.body)
        named = next((b for b in (self.bundles.current, self.bundles.challenger) if b is not None and b.version == wanted), None)
        if named is None:
            self.check_version(wanted)
            raise Unavailable(f"version {wanted} has just ceased to answer")
        return named

    def check_version(self, wanted: str) -> None:
        """Raise `NotServed` unless this version answers."""
        if wanted not in self.versions():
            raise NotServed(
                f"version '{wanted}' of model '{self.name}' does not answer here; there is: {', '.join(self.versions())}",
                details=[{"found": wanted, "allowed": self.versions()}],
            )

    def _score(self, bundle: Bundle, rows: DecodedRows) -> tuple[Matrix, Matrix]:
        matrix = bundle.encoder.columns(rows.columns)
        return matrix, _finite(bundle.student(np.ascontiguousarray(matrix)))

    async def _ask_here(self, bundle: Bundle, matrix: Matrix, budget_s: float) -> Matrix:  # noqa: ARG002
        return _finite(await run(len(matrix) >= LARGE_ROWS, bundle.ensemble, matrix))

    async def _ask_for(self, call: Call, bundle: Bundle, matrix: Matrix, budget_s: float) -> Matrix:
        """Ask the ensemble's deployment for as long as the caller is there to be answered."""
        assert self._ask_elsewhere is not None
        asking = asyncio.ensure_future(self._ask_elsewhere(bundle, matrix, budget_s))
        leaving = asyncio.ensure_future(call.left())
        try:
            await asyncio.wait((asking, leaving), return_when=asyncio.FIRST_COMPLETED)
            if not asking.done():
                raise CallerLeft("the caller hung up before it was answered")
            return asking.result()
        finally:
            asking.cancel()
            leaving.cancel()

    def versions(self) -> list[str]:
        """The bundles that answer: the champion, and the challenger when there is one."""
        return [bundle.version for bundle in (self.bundles.current, self.bundles.challenger) if bundle is not None]

    def append(self, labels: Labels) -> None:
        """Journal labels."""
        self._journal.append(labels)


def _finite(scores: Matrix) -> Matrix:
    """The scores, unless the model fails on these rows. A sum is not finite when one of them is not."""
    if not math.isfinite(scores.sum()):
        raise ScoringFailed("the model answers numbers that are not finite for these rows")
    return scores


async def run(is_large: bool, function: Callable[..., _T], *arguments: object) -> _T:
    """Call a function: here, or in a thread when it takes long."""
    return await asyncio.to_thread(function, *arguments) if is_large else function(*arguments)
