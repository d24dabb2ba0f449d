"""Batching with deadlines: requests of many callers are scored together, in one thread, each in time or not at all.

Owns the queue and the thread. Who is admitted, joins whom and when a batch begins is decided by `serve_apps.pacing`.
Knows neither Ray nor HTTP; its clock is the event loop's.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np

from cluster.errors import DeadlineExceeded, Overloaded, ScoringFailed
from cluster.schema import Matrix
from serve_apps.pacing import CostCurve, place, plan

logger = logging.getLogger("homeostat.serve")

Score = Callable[[Matrix], Matrix]
Run = Callable[[Score, Matrix], Awaitable[Matrix]]
"""Calls a scorer somewhere that leaves the event loop free."""


class Scorer(NamedTuple):
    """One version's function, and what it costs; rows of different versions never share a batch."""

    version: str
    score: Score
    """float32 (n, features) -> float32 (n, width), rows independent of each other."""
    cost: CostCurve


@dataclass(slots=True)
class Stats:
    """Counts since the start, and what waits at this moment."""

    batches: int = 0
    """Calls that gave scores; `rows / batches` is their mean size."""
    rows: int = 0
    """Scored in those calls, `wasted_rows` among them."""
    compute_s: float = 0.0
    answered: int = 0
    """Requests that got their scores."""
    wait_s: float = 0.0
    """From arrival to the beginning of the call that answered; the sum over `answered` requests."""
    shed: int = 0
    """Requests refused at arrival."""
    expired: int = 0
    """Requests whose time ran out, or would have before they were scored."""
    cancelled: int = 0
    """Requests whose caller left."""
    poisoned: int = 0
    """Requests whose own rows made scoring fail."""
    wasted_rows: int = 0
    """Scored for callers who had left, or whose time had run out."""
    queued_requests: int = 0
    queued_rows: int = 0


@dataclass(eq=False, slots=True)
class _Request:
    matrix: Matrix
    deadline: float
    arrived: float
    answer: asyncio.Future[Matrix]

    @property
    def rows(self) -> int:
        return len(self.matrix)


@dataclass(eq=False, slots=True)
class _Batch:
    scorer: Scorer
    requests: list[_Request] = field(default_factory=list)
    rows: int = 0
    deadline: float = math.inf

    @property
    def version(self) -> str:
        return self.scorer.version

    @property
    def cost(self) -> CostCurve:
        return self.scorer.cost

    def join(self, request: _Request) -> None:
        self.requests.append(request)
        self.rows += request.rows
        self.deadline = min(self.deadline, request.deadline)

    def leave(self, request: _Request) -> None:
        """Its place is free for others; it stays in the list, and so does its deadline: both are passed over when the batch begins."""
        self.rows -= request.rows

    def live(self) -> list[_Request]:
        """Those whose callers still wait."""
        return [request for request in self.requests if not request.answer.done()]


class Batcher:
    """Scores requests together while each of them can still be answered in time.

    Nothing waits for a clock: when the thread is idle, what waits goes at once; while it computes, arrivals gather in the
    batches that follow, each as large as its deadlines allow. So batches grow with the load by themselves.

    Parameters
    ----------
    max_rows
        Most rows in a batch of several requests; a larger request goes alone.
    run
        Calls a scorer; the default is one thread, in which ONNX Runtime and XGBoost release the interpreter.
    """

    def __init__(self, *, max_rows: int, run: Run | None = None) -> None:
        self._max_rows = max_rows
        self._run = run or _one_thread()
        self._waiting: deque[_Batch] = deque()
        self._free_at: float | None = None
        self._worker: asyncio.Task[None] | None = None
        self._counted = Stats()

    def stats(self) -> Stats:
        """What has been counted so far."""
        waiting = tuple(self._waiting)  # at once: another thread may ask
        return replace(
            self._counted,
            queued_requests=sum(len(batch.live()) for batch in waiting),
            queued_rows=sum(batch.rows for batch in waiting),
        )

    async def score(self, scorer: Scorer, matrix: Matrix, *, deadline: float) -> Matrix:
        """Scores of shape (n, width), the same whoever else is in the batch.

        Parameters
        ----------
        deadline
            When the caller stops waiting, by the clock of the running event loop.

        Raises
        ------
        Overloaded
            At once, when it could not be answered in time.
        DeadlineExceeded
            At the deadline, or as soon as it is known to be missed.
        ScoringFailed
            When the model fails on these rows.
        """
        request = _Request(matrix, deadline, arrived=_now(), answer=asyncio.get_running_loop().create_future())
        batch = self._admit(scorer, request)
        try:
            async with asyncio.timeout_at(deadline):
                return await request.answer
        except TimeoutError:
            batch.leave(request)
            self._counted.expired += 1
            raise _too_late(request) from None
        except asyncio.CancelledError:
            batch.leave(request)
            self._counted.cancelled += 1
            raise

    def _admit(self, scorer: Scorer, request: _Request) -> _Batch:
        now = request.arrived
        if request.deadline <= now:
            self._counted.expired += 1
            raise _too_late(request)
        try:
            index = place(self._waiting, request, scorer.version, scorer.cost, now=now, free_at=self._free_at, max_rows=self._max_rows)
        except Overloaded:
            self._counted.shed += 1
            raise
        if index == len(self._waiting):
            self._waiting.append(_Batch(scorer))
        self._waiting[index].join(request)
        if self._worker is None:
            self._worker = asyncio.create_task(self._work())
        return self._waiting[index]

    async def _work(self) -> None:
        """Score until nothing waits."""
        try:
            while self._waiting:
                batch = self._waiting.popleft()
                take, late = plan(batch.live(), batch.cost, now=_now())
                self._counted.expired += len(late)
                for request in late:
                    request.answer.set_exception(_too_late(request))
                await self._compute(batch.scorer, take)
        finally:
            self._worker = self._free_at = None

    async def _compute(self, scorer: Scorer, requests: Sequence[_Request]) -> None:
        """Score requests in one call; if that fails, each half by itself, so that a bad row fails alone after log2(n) calls more."""
        requests = [request for request in requests if not request.answer.done()]
        if not requests:
            return
        try:
            await self._call(scorer, requests)
        except Exception as error:  # noqa: BLE001 - a model may raise anything; it is logged, counted and told
            if len(requests) == 1:
                self._fail(requests[0], error)
                return
            logger.warning("scoring %d requests at once failed, asking for each half: %s", len(requests), error)
            half = len(requests) // 2
            await self._compute(scorer, requests[:half])
            await self._compute(scorer, requests[half:])

    async def _call(self, scorer: Scorer, requests: Sequence[_Request]) -> None:
        began, rows = _now(), sum(request.rows for request in requests)
        self._free_at = began + scorer.cost.cautious(rows)
        scores = await self._run(scorer.score, np.concatenate([request.matrix for request in requests]))
        if scores.ndim != 2 or len(scores) != rows:
            raise ScoringFailed(f"the model answered {rows} rows with scores of shape {scores.shape}")
        seconds = _now() - began
        scorer.cost.observe(rows, seconds)
        self._counted.batches += 1
        self._counted.rows += rows
        self._counted.compute_s += seconds
        self._deliver(requests, scores, began)

    def _deliver(self, requests: Sequence[_Request], scores: Matrix, began: float) -> None:
        first = 0
        for request in requests:
            own = scores[first : first + request.rows]
            first += request.rows
            if request.answer.done():
                self._counted.wasted_rows += request.rows
            elif not np.isfinite(own).all():
                self._fail(request, ScoringFailed("its scores are not finite"))
            else:
                self._counted.answered += 1
                self._counted.wait_s += began - request.arrived
                request.answer.set_result(own)

    def _fail(self, request: _Request, error: Exception) -> None:
        if not request.answer.done():
            self._counted.poisoned += 1
            logger.warning("the model fails on %d rows of one request: %s: %s", request.rows, type(error).__name__, error)
            request.answer.set_exception(ScoringFailed(f"the model fails on these {request.rows} rows; the reason has been logged"))


def _now() -> float:
    return asyncio.get_running_loop().time()


def _too_late(request: _Request) -> DeadlineExceeded:
    allowed = max(0.0, request.deadline - request.arrived)
    return DeadlineExceeded(f"{request.rows} rows were not scored within {allowed:.3f} s; send them again or allow more time")


def _one_thread() -> Run:
    """Calls, one at a time, in a thread of their own."""
    thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="score")

    async def run(score: Score, matrix: Matrix) -> Matrix:
        return await asyncio.get_running_loop().run_in_executor(thread, score, matrix)

    return run
