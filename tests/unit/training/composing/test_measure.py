from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import pytest

from cluster import probe
from cluster.costs import Costs
from cluster.schema import Matrix
from tests.builders import STUDENT_WEIGHTS, expected_scores, make_bundle
from training.composing import measure


class Clock:
    """Stands still unless a scorer moves it."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def scorer(self, fixed: float, per_row: float, *, first: float = 0.0) -> Callable[[Matrix], Matrix]:
        """Takes this long; the first call `first` more."""
        late = [first]

        def score(matrix: Matrix) -> Matrix:
            self.now += fixed + per_row * len(matrix) + (late.pop() if late else 0.0)
            return matrix[:, :1]

        return score


ROWS = np.random.default_rng(7).normal(size=(300, 3)).astype(np.float32)


def test_a_curve_is_the_median_at_each_size_without_the_first_call() -> None:
    clock = Clock()
    found = measure.curve(clock.scorer(1e-5, 1e-6, first=0.01), ROWS, clock=clock)
    assert found.rows == [1, 8, 64, 512, 4096]
    assert found.seconds == pytest.approx([1.1e-5, 1.8e-5, 7.4e-5, 5.22e-4, 4.106e-3])


def test_sizes_that_would_burst_the_budget_are_not_measured() -> None:
    clock = Clock()
    found = measure.curve(clock.scorer(0, 1e-3), ROWS, clock=clock)
    assert found.rows == [1, 8, 64]
    assert clock.now < measure._BUDGET_S


def test_two_sizes_are_measured_however_slow_it_is() -> None:
    clock = Clock()
    assert measure.curve(clock.scorer(1.0, 0.1), ROWS, clock=clock).rows == [1, 8]


def test_rows_are_spread_from_the_lowest_score_to_the_highest() -> None:
    scores = np.array([[0.9], [0.1], [0.5], [0.3], [0.7]], dtype=np.float32)
    assert measure.spread(scores, most=3) == [1, 2, 0]
    assert measure.spread(scores) == [1, 3, 2, 4, 0]
    assert measure.spread(np.array([[0.5, 0.5], [0.1, 0.9]], dtype=np.float32), most=2) == [0, 1]


def test_a_bundle_is_given_its_costs_and_its_probe(tmp_path: Path) -> None:
    make_bundle(tmp_path / "bundle", measured=False)
    costs = measure.equip(tmp_path / "bundle", ROWS)
    assert msgspec.json.decode((tmp_path / "bundle" / "costs.json").read_bytes(), type=Costs) == costs
    assert costs.native is None
    found = probe.read(tmp_path / "bundle", features=3)
    assert found.matrix.shape == (64, 3)
    assert (np.diff(found.expected["student"][:, 0]) >= 0).all()
    np.testing.assert_allclose(found.expected["student"], expected_scores(STUDENT_WEIGHTS, found.matrix), rtol=1e-5)


def test_the_machine_is_named() -> None:
    found = measure.machine()
    assert found.cores >= 1
    assert found.cpu


def test_native_trees_that_differ_from_the_graph_are_left_out_and_told(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert not measure._agree(lambda rows: rows[:, :1] + 0.01, lambda rows: rows[:, :1], ROWS)
        assert measure._agree(lambda rows: rows[:, :1], lambda rows: rows[:, :1], ROWS)
    assert [record.getMessage()[:28] for record in caplog.records] == ["native trees are left out: r"]
