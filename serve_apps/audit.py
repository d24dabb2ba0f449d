"""The audit: some of the rows that the student answered are scored by the ensemble as well, once the answer has left.

Owns the choice, the queue and what becomes of it. No request waits for an audit or fails by it: what finds the queue full, or an
ensemble that does not answer, is dropped and counted. Knows no protocol and no Ray.
"""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import logging
import math
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from cluster.bundle import Bundle
from cluster.errors import HomeostatError, ScoringFailed
from cluster.records import Audit
from cluster.schema import Matrix
from serve_apps.cascade import STUDENT, AskEnsemble

logger = logging.getLogger("homeostat.serve")
MOST_WAITING: Final = 4096
"""Rows that wait to be audited in one process; the next ones are dropped."""
GATHER_S: Final = 0.05
"""What has been chosen waits so long for more: a call in a thread costs more than the rows in it."""
MOST_TOGETHER: Final = 256
"""Rows that are scored in one call, unless a single request brings more."""


def choose(request_id: str, rows: int, share: float) -> list[int]:
    """Which rows of a request are audited, each with the chance `share`, independently of the others and of what they hold.

    The request id decides, which nobody knows before the answer, and everybody can check after it. Drawn are the gaps between chosen
    rows, which are geometric: for most requests that is one, and no more than the hash is needed.

    Parameters
    ----------
    share
        Above 0.

    Examples
    --------
    >>> choose("eeb2475a05f6-0000-80", 300, 0.01)
    [140, 243, 270]
    """
    if share >= 1:
        return list(range(rows))
    chance, per_gap, chosen = _chances(request_id), math.log1p(-share), list[int]()
    row = int(math.log1p(-next(chance)) / per_gap)
    while row < rows:
        chosen.append(row)
        row += 1 + int(math.log1p(-next(chance)) / per_gap)
    return chosen


def _chances(request_id: str) -> Iterator[float]:
    """Numbers from 0 to 1 that the id decides, eight a hash. A generator of numpy's costs 20 µs to make, this one 1 µs."""
    for block in itertools.count():
        digest = hashlib.blake2b(b"%d %s" % (block, request_id.encode()), digest_size=8 * _CHANCE_BYTES).digest()
        for at in range(0, len(digest), _CHANCE_BYTES):
            yield int.from_bytes(digest[at : at + _CHANCE_BYTES]) / _CHANCES


_CHANCE_BYTES: Final = 6
_CHANCES: Final = 1 << 8 * _CHANCE_BYTES


@dataclass(slots=True)
class Stats:
    """Counts since the start, and what waits at this moment."""

    audited_rows: int = 0
    """Scored by the ensemble and journaled."""
    dropped_rows: int = 0
    """Chosen, and let go: the queue was full, the ensemble did not answer, or the journal could not be written."""
    queued_rows: int = 0


class _Waiting(NamedTuple):
    bundle: Bundle
    request_id: str
    rows: list[int]
    matrix: Matrix


class Auditor:
    """Audits one model's answers.

    Parameters
    ----------
    ask
        Scores rows by the ensemble.
    append
        Writes an audit down; called on the event loop, as for predictions.
    share
        Of the student's rows; 0 does nothing at all.
    budget_s
        How long the ensemble may take for one call.
    most_waiting
        Rows in the queue.
    """

    def __init__(
        self, ask: AskEnsemble, append: Callable[[Audit], object], *, share: float, budget_s: float, most_waiting: int = MOST_WAITING
    ) -> None:
        self._ask, self._append = ask, append
        self._share, self._budget_s, self._most_waiting = share, budget_s, most_waiting
        self._queue: deque[_Waiting] = deque()
        self._worker: asyncio.Task[None] | None = None
        self._is_called = False
        self.stats = Stats()

    def consider(self, bundle: Bundle, request_id: str, matrix: Matrix, answered_by: npt.NDArray[np.uint8]) -> None:
        """Choose rows of a request that has been journaled, and let them wait for their audit. Returns at once, and never raises."""
        if self._share <= 0:
            return
        picked = [row for row in choose(request_id, len(matrix), self._share) if answered_by[row] == STUDENT]
        if not picked:
            return
        if self.stats.queued_rows + len(picked) > self._most_waiting:
            self.stats.dropped_rows += len(picked)
            return
        self.stats.queued_rows += len(picked)
        self._queue.append(_Waiting(bundle, request_id, picked, matrix[picked]))
        if not self._is_called:
            self._is_called = True
            asyncio.get_running_loop().call_later(GATHER_S, self._begin)

    async def settled(self) -> None:
        """Audit at once, and return when nothing waits any more."""
        while self._queue or (self._worker is not None and not self._worker.done()):
            self._begin()
            if self._worker is not None:
                await asyncio.wait([self._worker])

    def _begin(self) -> None:
        self._is_called = False
        if self._queue and (self._worker is None or self._worker.done()):
            self._worker = asyncio.get_running_loop().create_task(self._work())

    async def _work(self) -> None:
        while self._queue:
            batch = self._next()
            rows = sum(len(item.rows) for item in batch)
            try:
                await self._audit(batch)
                self.stats.audited_rows += rows
            except HomeostatError as error:
                self.stats.dropped_rows += rows
                logger.debug("%d rows were not audited: %s", rows, error)
            except Exception:  # the queue's main loop: one bad audit must not end the others
                self.stats.dropped_rows += rows
                logger.exception("%d rows could not be audited", rows)
            finally:
                self.stats.queued_rows -= rows

    def _next(self) -> list[_Waiting]:
        """Requests of one bundle that are scored in one call."""
        batch = [self._queue.popleft()]
        rows = len(batch[0].rows)
        while self._queue and self._queue[0].bundle is batch[0].bundle and rows + len(self._queue[0].rows) <= MOST_TOGETHER:
            batch.append(self._queue.popleft())
            rows += len(batch[-1].rows)
        return batch

    async def _audit(self, batch: list[_Waiting]) -> None:
        matrix = batch[0].matrix if len(batch) == 1 else np.concatenate([item.matrix for item in batch])
        scores = await self._ask(batch[0].bundle, matrix, self._budget_s)
        if not np.isfinite(scores).all():
            raise ScoringFailed("the ensemble answers numbers that are not finite for rows that were to be audited")
        at = 0
        for item in batch:
            self._append(Audit(request_id=item.request_id, rows=item.rows, scores=scores[at : at + len(item.rows)].tobytes()))
            at += len(item.rows)


async def ask_beside(bundle: Bundle, matrix: Matrix, budget_s: float) -> Matrix:  # noqa: ARG001
    """Score by the ensemble of this process, in a thread: the loop goes on answering."""
    return await asyncio.to_thread(bundle.ensemble, matrix)
