"""The batcher under more load than it can take, simulated: callers, clock and costs are virtual, the code is real."""

import asyncio
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pytest

from cluster.errors import DeadlineExceeded, Overloaded
from cluster.schema import Matrix
from serve_apps.batching import Batcher, Scorer, Stats
from serve_apps.pacing import CostCurve
from tests.virtual_time import run

FIXED_S, PER_ROW_S, BUDGET_S = 0.004, 0.001, 0.25
ROW = np.ones((1, 2), dtype=np.float32)


class Seen(NamedTuple):
    answered_s: float
    """Requests answered in time, a second."""
    p99_s: float
    stats: Stats


class World:
    """One replica and its callers."""

    def __init__(self, *, noise: float, first: CostCurve | None, max_rows: int, seed: int) -> None:
        self._noise, self._rng = noise, np.random.default_rng(seed)
        self._scorer = Scorer("1", lambda matrix: matrix[:, :1], first or CostCurve())
        self.batcher = Batcher(max_rows=max_rows, run=self._run)
        self.latencies: list[float] = []

    async def _run(self, score: Callable[[Matrix], Matrix], matrix: Matrix) -> Matrix:
        await asyncio.sleep((FIXED_S + PER_ROW_S * len(matrix)) * np.exp(self._noise * self._rng.standard_normal()))
        return score(matrix)

    async def ask(self, budget_s: float = BUDGET_S) -> None:
        began = asyncio.get_running_loop().time()
        try:
            await self.batcher.score(self._scorer, ROW, deadline=began + budget_s)
        except (Overloaded, DeadlineExceeded):
            return
        self.latencies.append(asyncio.get_running_loop().time() - began)

    async def closed_loop(self, callers: int, seconds: float) -> None:
        async def caller() -> None:
            while asyncio.get_running_loop().time() < seconds:
                await self.ask(budget_s=10)

        await asyncio.gather(*(caller() for _ in range(callers)))

    async def open_loop(self, per_second: float, seconds: float) -> None:
        async with asyncio.TaskGroup() as callers:
            while asyncio.get_running_loop().time() < seconds:
                await asyncio.sleep(self._rng.exponential(1 / per_second))
                callers.create_task(self.ask())


def seen(drive: Callable[[World], object], seconds: float, **world: float | CostCurve | None) -> Seen:
    settings = {"noise": 0.0, "first": None, "max_rows": 1024, "seed": 7} | world

    async def main() -> Seen:
        made = World(**settings)  # type: ignore[arg-type]
        await drive(made)  # type: ignore[misc]
        return Seen(len(made.latencies) / seconds, float(np.percentile(made.latencies, 99)), made.batcher.stats())

    return run(main())


def capacity() -> float:
    return seen(lambda world: world.closed_loop(64, 5.0), 5.0).answered_s


def test_capacity_is_what_batches_of_all_callers_reach():
    assert capacity() == pytest.approx(64 / (FIXED_S + 64 * PER_ROW_S), rel=0.02)


@pytest.mark.parametrize("noise", [0.0, 0.1])
def test_at_three_times_capacity_nine_tenths_of_it_are_answered_in_time_and_nothing_is_computed_for_nobody(noise: float):
    found = seen(lambda world: world.open_loop(3 * 941, 5.0), 5.0, noise=noise)
    assert found.answered_s >= 0.9 * capacity()
    assert found.stats.wasted_rows < 0.01 * found.stats.rows
    assert found.p99_s <= BUDGET_S
    assert found.stats.shed > 8000
    assert found.stats.queued_requests == 0


def test_small_batches_queue_up_and_still_reach_their_capacity():
    found = seen(lambda world: world.open_loop(3000, 5.0), 5.0, max_rows=32)
    assert found.answered_s >= 0.95 * 32 / (FIXED_S + 32 * PER_ROW_S)
    assert found.stats.rows / found.stats.batches > 30
    assert found.stats.wasted_rows == 0


@pytest.mark.parametrize(("first", "waste"), [(CostCurve(0.4, 0.1), 0.01), (CostCurve(1e-6, 1e-6), 0.1)])
def test_a_curve_that_begins_a_hundred_times_wrong_does_not_hold(first: CostCurve, waste: float):
    found = seen(lambda world: world.open_loop(3000, 5.0), 5.0, first=first)
    assert found.answered_s >= 0.9 * capacity()
    assert found.stats.wasted_rows < waste * found.stats.rows


def test_below_capacity_nobody_is_refused_and_batches_stay_small():
    found = seen(lambda world: world.open_loop(300, 5.0), 5.0)
    assert (found.stats.shed, found.stats.expired, found.stats.wasted_rows) == (0, 0, 0)
    assert found.stats.rows / found.stats.batches < 3
    assert found.p99_s < 0.03
