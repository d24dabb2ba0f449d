"""When a batch begins, who is in it, and who is refused: the arithmetic of batching against deadlines. Pure.

All times are seconds of one clock, handed in. Who keeps the queue and scores is `serve_apps.batching`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Final, Generic, NamedTuple, Protocol, TypeVar

from cluster.errors import Overloaded

_KEPT: Final = 0.95
"""Weight an observation keeps with each later one: about the last twenty batches count."""
_HELD: Final = 0.05
"""Weight of the present line beside one observation: enough to keep the shape when all batches are equally large."""
_LEAST: Final = 0.02
"""Share of the cost within which even a part that seemed to be nothing may move."""
_LEAP: Final = 4.0
"""A cost so many times off its prediction is a pause of the machine; the second in a row is a new cost, and the past is forgotten."""
_SHORTEST_S: Final = 1e-6
_GAIN: Final = 1 / 16
_DEVIATIONS: Final = 3.0


class CostCurve:
    """Seconds of one call, `fixed_s + per_row_s * rows`, followed while serving.

    Least squares with exponential forgetting (Ljung, System Identification, 2nd ed., section 11.2), errors counted relative to
    the cost, with a small ridge towards the present line: batches of one size say nothing about its slope.

    Parameters
    ----------
    fixed_s, per_row_s
        Where it starts, for example what was measured when the bundle was built. Too high costs less than too low: at first
        a few more are refused, instead of scored too late.

    Examples
    --------
    >>> curve = CostCurve(fixed_s=0.001, per_row_s=0.001)
    >>> for rows in (1, 50, 10, 100) * 5:
    ...     curve.observe(rows, 0.004 + 0.001 * rows)
    >>> round(curve(20), 4)
    0.024
    """

    def __init__(self, fixed_s: float = 0.002, per_row_s: float = 0.0005) -> None:
        self.deviation = 0.1
        """Mean error of a prediction, relative to it."""
        self._leapt = False
        self._begin(fixed_s, per_row_s)

    def _begin(self, fixed_s: float, per_row_s: float) -> None:
        self.fixed_s, self.per_row_s = fixed_s, per_row_s
        self._ww = self._wx = self._xx = self._wy = self._xy = 0.0

    def __call__(self, rows: int) -> float:
        """Expected seconds of one call."""
        return self.fixed_s + self.per_row_s * rows

    def cautious(self, rows: int) -> float:
        """Seconds that few calls exceed: three mean deviations above what is expected."""
        return self(rows) * (1 + _DEVIATIONS * self.deviation)

    def observe(self, rows: int, seconds: float) -> None:
        """Learn what a call of `rows` >= 1 rows took."""
        expected, seconds = self(rows), max(seconds, _SHORTEST_S)
        self.deviation += _GAIN * (min(abs(seconds / expected - 1), _LEAP) - self.deviation)
        leaps, leapt = not expected / _LEAP <= seconds <= expected * _LEAP, self._leapt
        self._leapt = leaps
        if leaps and not leapt:
            return
        if leaps:
            self._begin(self.fixed_s * seconds / expected, self.per_row_s * seconds / expected)
            expected = seconds
        w, x, y = 1 / expected, rows / expected, seconds / expected
        self._ww = _KEPT * self._ww + w * w
        self._wx = _KEPT * self._wx + w * x
        self._xx = _KEPT * self._xx + x * x
        self._wy = _KEPT * self._wy + w * y
        self._xy = _KEPT * self._xy + x * y
        self._fit(_HELD / max(self.fixed_s, _LEAST * expected) ** 2, _HELD / max(self.per_row_s, _LEAST * expected / rows) ** 2)

    def _fit(self, hold_fixed: float, hold_per_row: float) -> None:
        """Solve for both parts; one that would fall below nothing is nothing, and the other explains it all."""
        a, b, d = self._ww + hold_fixed, self._wx, self._xx + hold_per_row
        p, q = self._wy + hold_fixed * self.fixed_s, self._xy + hold_per_row * self.per_row_s
        determinant = a * d - b * b
        fixed, per_row = (p * d - b * q) / determinant, (a * q - b * p) / determinant
        if fixed < 0:
            fixed, per_row = 0.0, q / d
        elif per_row < 0:
            fixed, per_row = p / a, 0.0
        self.fixed_s, self.per_row_s = fixed, per_row


class Waiting(Protocol):
    """A request that waits."""

    @property
    def rows(self) -> int:
        """How many it asks about."""

    @property
    def deadline(self) -> float:
        """When its caller stops waiting."""


class Forming(Waiting, Protocol):
    """A batch that waits, and may still be joined; its deadline is the earliest of its requests."""

    @property
    def version(self) -> str:
        """The one version all its rows are scored by."""

    @property
    def cost(self) -> CostCurve:
        """What scoring by that version costs."""


def place(
    waiting: Sequence[Forming], request: Waiting, version: str, cost: CostCurve, *, now: float, free_at: float | None, max_rows: int
) -> int:
    """Where a new request belongs: the index of the batch it joins, or `len(waiting)` when it opens one.

    Order is first come, first served: budgets of one model's callers are mostly equal, and then that is the order of deadlines too.
    A request joins the last batch of its version unless that would break a deadline already accepted, there or behind it.
    It opens another only if that would begin within the first half of its budget. The other half is what the batch may grow
    into: who opened with no time to spare would hold the batch at a row or two, so that under overload the fixed cost, paid for
    each of them, ate the capacity. When nothing waits and nothing is computed all is accepted, lest a curve that is wrong
    refuses everything and never learns better.

    Parameters
    ----------
    waiting
        In the order in which they will be computed.
    cost
        The curve of `version`.
    free_at
        When what is being computed should be finished; None when nothing is.

    Raises
    ------
    Overloaded
        When it could not be answered in time; `retry_after_s` in the details says when it could have been.
    """
    if not waiting and free_at is None:
        return 0
    begins, ends = max(now, free_at or now), []
    for batch in waiting:
        begins += batch.cost.cautious(batch.rows)
        ends.append(begins)
    if (joined := _joinable(waiting, ends, request, version, max_rows=max_rows)) is not None:
        return joined
    latest = min((now + request.deadline) / 2, request.deadline - cost.cautious(request.rows))
    if begins > latest:
        raise Overloaded(
            f"{request.rows} rows could not be scored within the {request.deadline - now:.3f} s left; "
            f"those before them take {begins - now:.3f} s. Send them again later or allow more time",
            details=[{"retry_after_s": round(begins - latest, 3)}],
        )
    return len(waiting)


def _joinable(waiting: Sequence[Forming], ends: Sequence[float], request: Waiting, version: str, *, max_rows: int) -> int | None:
    spare = math.inf
    for index in reversed(range(len(waiting))):
        batch = waiting[index]
        spare = min(spare, batch.deadline - ends[index])
        if batch.version == version:
            rows = batch.rows + request.rows
            more = batch.cost.cautious(rows) - batch.cost.cautious(batch.rows)
            fits = rows <= max_rows and more <= min(spare, request.deadline - ends[index])
            return index if fits else None
    return None


R = TypeVar("R", bound=Waiting)


class Plan(NamedTuple, Generic[R]):
    """What becomes of the first batch when scoring is idle."""

    take: list[R]
    late: list[R]
    """Not worth beginning: they would not be finished in time."""


def plan(batch: Iterable[R], cost: CostCurve, *, now: float) -> Plan[R]:
    """Begin a batch now, without those who would be late.

    Late: after a pause of the machine the tightest deadlines cannot be met any more. They are given up, tightest first, until the
    rest can be finished before the earliest deadline left: a small batch for each of them would make the next ones late as well.
    The last one is always tried, because a curve that is wrong is only corrected by computing.

    Now: waiting for one more request while nothing is computed pays if k requests that wait, an expected gap g and a row's cost c
    leave k (g + c) + g below the fixed cost. That was built and simulated: arrivals that frequent have gathered during the call
    before, so it took at most 0.7 % off the mean and put 3 to 8 % on p99 (Poisson, 300 to 2,000 a second, fixed cost 4 and 10 ms),
    and changed nothing for 4 to 64 callers who send again when answered.

    Parameters
    ----------
    batch
        The requests, in any order.
    """
    take = sorted(batch, key=lambda request: request.deadline)
    rows, late = sum(request.rows for request in take), 0
    while late < len(take) - 1 and now + cost.cautious(rows) > take[late].deadline:
        rows -= take[late].rows
        late += 1
    return Plan(take[late:], take[:late])
