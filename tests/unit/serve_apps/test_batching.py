import asyncio
import threading
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cluster.bundle import Bundle
from cluster.errors import DeadlineExceeded, Overloaded, ScoringFailed
from cluster.schema import Matrix
from serve_apps.batching import Batcher, Scorer
from serve_apps.pacing import CostCurve
from tests.virtual_time import run

POISON, NAN = -1.0, -2.0


def rows_of(*values: float) -> Matrix:
    return np.array([[value, 1.0] for value in values], dtype=np.float32)


class Model:
    """Doubles the first column, 4 ms and 1 ms a row in virtual time; remembers its calls; fails on POISON."""

    def __init__(self, version: str = "1") -> None:
        self.calls: list[list[float]] = []
        self.scorer = Scorer(version, self.score, CostCurve(0.004, 0.001))

    def score(self, matrix: Matrix) -> Matrix:
        self.calls.append(matrix[:, 0].tolist())
        if (matrix[:, 0] == POISON).any():
            raise RuntimeError("an operator of the graph failed")
        scores = matrix[:, :1] * 2
        scores[matrix[:, 0] == NAN] = np.nan
        return scores


async def virtually(score: Callable[[Matrix], Matrix], matrix: Matrix) -> Matrix:
    await asyncio.sleep(0.004 + 0.001 * len(matrix))
    return score(matrix)


def batcher(max_rows: int = 1024) -> Batcher:
    return Batcher(max_rows=max_rows, run=virtually)


def asking(target: Batcher, model: Model, matrix: Matrix, budget_s: float = 0.25) -> asyncio.Task[Matrix]:
    return asyncio.create_task(target.score(model.scorer, matrix, deadline=asyncio.get_running_loop().time() + budget_s))


async def outcomes(tasks: Sequence[Awaitable[Matrix]]) -> list[Any]:
    found = await asyncio.gather(*tasks, return_exceptions=True)
    return [type(f).__name__ if isinstance(f, BaseException) else f[:, 0].tolist() for f in found]


def counts(target: Batcher, *names: str) -> dict[str, float]:
    return {name: asdict(target.stats())[name] for name in names}


def test_a_request_that_finds_nobody_goes_at_once():
    async def main() -> float:
        await asking(batcher(), Model(), rows_of(1))
        return asyncio.get_running_loop().time()

    assert run(main()) == pytest.approx(0.005)


def test_what_arrives_while_scoring_is_busy_goes_together_next():
    async def main() -> None:
        target, model = batcher(), Model()
        first = asking(target, model, rows_of(1))
        await asyncio.sleep(0.001)
        rest = [asking(target, model, rows_of(*values)) for values in ([2, 3], [4], [5, 6, 7])]
        assert await outcomes([first, *rest]) == [[2], [4, 6], [8], [10, 12, 14]]
        assert model.calls == [[1], [2, 3, 4, 5, 6, 7]]
        assert counts(target, "batches", "rows", "answered") == {"batches": 2, "rows": 7, "answered": 4}
        assert target.stats().wait_s == pytest.approx(3 * 0.004)
        assert target.stats().compute_s == pytest.approx(0.005 + 0.010)

    run(main())


def test_a_batch_has_at_most_the_rows_that_are_allowed_and_a_larger_request_goes_alone():
    async def main() -> None:
        target, model = batcher(max_rows=3), Model()
        tasks = [asking(target, model, rows_of(0))]
        await asyncio.sleep(0.001)
        tasks += [asking(target, model, rows_of(*[value] * size)) for value, size in ((1, 2), (2, 1), (3, 5), (4, 1))]
        await asyncio.gather(*tasks)
        assert model.calls == [[0], [1, 1, 2], [3] * 5, [4]]

    run(main())


def test_rows_of_different_versions_never_share_a_batch():
    async def main() -> None:
        target, old, new = batcher(), Model("1"), Model("2")
        tasks = [asking(target, old, rows_of(0))]
        await asyncio.sleep(0.001)
        tasks += [asking(target, model, rows_of(value)) for value, model in ((1, old), (2, new), (3, old), (4, new))]
        assert await outcomes(tasks) == [[0], [2], [4], [6], [8]]
        assert (old.calls, new.calls) == ([[0], [1, 3]], [[2, 4]])

    run(main())


def test_a_request_that_cannot_be_answered_in_time_is_refused_on_arrival():
    async def main() -> None:
        target, model = batcher(), Model()
        first = asking(target, model, rows_of(*[1] * 100))
        await asyncio.sleep(0.001)
        began = asyncio.get_running_loop().time()
        with pytest.raises(Overloaded):
            await asking(target, model, rows_of(2), budget_s=0.05)
        assert asyncio.get_running_loop().time() == began
        await first
        assert counts(target, "shed", "batches") == {"shed": 1, "batches": 1}

    run(main())


def test_a_request_whose_time_is_over_on_arrival_is_not_computed():
    async def main() -> None:
        target, model = batcher(), Model()
        with pytest.raises(DeadlineExceeded, match=r"1 rows were not scored within 0\.000 s"):
            await asking(target, model, rows_of(1), budget_s=-0.01)
        assert (model.calls, target.stats().expired) == ([], 1)

    run(main())


def test_work_that_expires_while_it_waits_is_dropped_before_it_is_computed():
    async def main() -> None:
        target, slow = Batcher(max_rows=1024, run=pausing(1.0)), Model()
        first = asking(target, slow, rows_of(1), budget_s=2)
        await asyncio.sleep(0.001)
        rest = [asking(target, slow, rows_of(2), budget_s=0.1), asking(target, slow, rows_of(3), budget_s=2)]
        assert await outcomes([first, *rest]) == [[2], "DeadlineExceeded", [6]]
        assert slow.calls == [[1], [3]]
        assert counts(target, "expired", "wasted_rows", "queued_rows") == {"expired": 1, "wasted_rows": 0, "queued_rows": 0}

    run(main())


def pausing(pause_s: float) -> Callable[[Callable[[Matrix], Matrix], Matrix], Awaitable[Matrix]]:
    """The machine pauses once, during the first call."""
    pauses = [pause_s]

    async def paused(score: Callable[[Matrix], Matrix], matrix: Matrix) -> Matrix:
        await asyncio.sleep(pauses.pop() if pauses else 0)
        return await virtually(score, matrix)

    return paused


def test_work_whose_caller_left_is_dropped_before_it_is_computed_and_its_place_is_free():
    async def main() -> None:
        target, model = batcher(), Model()
        tasks = [asking(target, model, rows_of(value)) for value in (1, 2)]
        await asyncio.sleep(0.001)
        tasks += [asking(target, model, rows_of(*[value] * 3)) for value in (3, 4)]
        await asyncio.sleep(0.001)
        assert counts(target, "queued_requests", "queued_rows") == {"queued_requests": 2, "queued_rows": 6}
        tasks[2].cancel()
        await asyncio.sleep(0)
        assert counts(target, "queued_requests", "queued_rows") == {"queued_requests": 1, "queued_rows": 3}
        assert await outcomes(tasks) == [[2], [4], "CancelledError", [8, 8, 8]]
        assert model.calls == [[1, 2], [4, 4, 4]]
        assert counts(target, "cancelled", "wasted_rows") == {"cancelled": 1, "wasted_rows": 0}

    run(main())


def test_rows_that_were_being_computed_when_their_caller_left_are_counted_as_wasted():
    async def main() -> None:
        target, model = batcher(), Model()
        tasks = [asking(target, model, rows_of(1, 2, 3)), asking(target, model, rows_of(4))]
        await asyncio.sleep(0.002)
        tasks[0].cancel()
        assert await outcomes(tasks) == ["CancelledError", [8]]
        assert counts(target, "rows", "wasted_rows", "answered") == {"rows": 4, "wasted_rows": 3, "answered": 1}

    run(main())


def test_a_caller_is_told_at_its_deadline_even_if_the_call_goes_on():
    async def main() -> None:
        target, model = Batcher(max_rows=1024, run=pausing(10.0)), Model()
        with pytest.raises(DeadlineExceeded, match=r"1 rows were not scored within 0\.250 s"):
            await asking(target, model, rows_of(1))
        assert asyncio.get_running_loop().time() == pytest.approx(0.25)

    run(main())


@pytest.mark.parametrize("place", range(16))
def test_a_poisoned_row_in_a_full_batch_fails_alone(place: int):
    async def main() -> None:
        target, model = batcher(max_rows=32), Model()
        first = asking(target, model, rows_of(99))
        await asyncio.sleep(0.001)
        matrices = [rows_of(value, value) for value in range(16)]
        matrices[place] = rows_of(place, POISON)
        found = await outcomes([asking(target, model, matrix) for matrix in matrices])
        await first
        assert found == [[2 * v, 2 * v] if v != place else "ScoringFailed" for v in range(16)]
        assert max(sum(v in call for call in model.calls) for v in range(16)) == 5  # the batch, and log2(16) halves
        assert len(model.calls) == 1 + 1 + 2 * 4
        assert counts(target, "poisoned", "answered", "rows") == {"poisoned": 1, "answered": 16, "rows": 31}

    run(main())


def test_a_request_whose_scores_are_not_finite_fails_alone_without_a_second_call():
    async def main() -> None:
        target, model = batcher(), Model()
        found = await outcomes([asking(target, model, rows_of(*values)) for values in ([1], [2, NAN], [3])])
        assert found == [[2], "ScoringFailed", [6]]
        assert len(model.calls) == 1

    run(main())


def test_a_model_that_answers_another_number_of_rows_fails_those_that_make_it():
    async def main() -> None:
        target, model = batcher(), Model()
        scorer = Scorer("1", lambda matrix: model.score(matrix)[matrix[:, 0] != 13], CostCurve())
        tasks = [target.score(scorer, rows_of(value), deadline=1.0) for value in (1, 13, 3)]
        assert await outcomes(tasks) == [[2], "ScoringFailed", [6]]

    run(main())


def test_the_reason_of_a_failure_is_logged_and_not_told(caplog: pytest.LogCaptureFixture):
    async def main() -> None:
        with pytest.raises(ScoringFailed, match="the model fails on these 1 rows; the reason has been logged") as caught:
            await asking(batcher(), Model(), rows_of(POISON))
        assert "operator" not in caught.value.message

    run(main())
    assert "the model fails on 1 rows of one request: RuntimeError: an operator of the graph failed" in caplog.text


def test_scoring_goes_on_after_a_failure():
    async def main() -> None:
        target, model = batcher(), Model()
        assert await outcomes([asking(target, model, rows_of(POISON))]) == ["ScoringFailed"]
        assert await outcomes([asking(target, model, rows_of(5))]) == [[10]]

    run(main())


def test_arrivals_are_admitted_while_the_thread_computes():
    """With the real thread: its first call returns only when the loop has admitted a second request."""

    async def main() -> None:
        target, begun, admitted, model = Batcher(max_rows=8), threading.Event(), threading.Event(), Model()

        def blocking(matrix: Matrix) -> Matrix:
            begun.set()
            assert admitted.wait(10)
            return model.score(matrix)

        scorer, deadline = Scorer("1", blocking, CostCurve()), asyncio.get_running_loop().time() + 10
        tasks = [asyncio.create_task(target.score(scorer, rows_of(1), deadline=deadline))]
        assert await asyncio.to_thread(begun.wait, 10)
        tasks.append(asyncio.create_task(target.score(scorer, rows_of(2), deadline=deadline)))
        await asyncio.sleep(0)
        assert target.stats().queued_requests == 1
        admitted.set()
        assert await outcomes(tasks) == [[2], [4]]
        assert model.calls == [[1], [2]]

    asyncio.run(main())


def test_the_scores_of_a_row_are_the_same_bits_whoever_shares_its_batch(bundle_folder: Path):
    bundle = Bundle(bundle_folder)
    matrix = np.random.default_rng(5).normal(0, 100, size=(64, 3)).astype(np.float32)

    async def main() -> tuple[Matrix, int]:
        target, scorer = Batcher(max_rows=64), Scorer("1", bundle.ensemble, CostCurve())
        deadline = asyncio.get_running_loop().time() + 30
        found = await asyncio.gather(*(target.score(scorer, matrix[i : i + 1], deadline=deadline) for i in range(64)))
        return np.concatenate(found), target.stats().batches

    together, batches = asyncio.run(main())
    alone = np.concatenate([bundle.ensemble(matrix[i : i + 1]) for i in range(64)])
    assert batches == 1
    assert together.tobytes() == alone.tobytes()
