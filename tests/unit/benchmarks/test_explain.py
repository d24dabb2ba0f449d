"""The contenders explain the same rows, say the same, and are compared as the report says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks import explain
from benchmarks.explain import Timed
from benchmarks.report import Line, Role
from cluster.bundle import Bundle
from cluster.explaining import lime
from cluster.explaining.neighbourhood import read_setup
from cluster.schema import Matrix
from tests.builders import make_schema
from tests.unit.cluster.explaining.bundles import make_explained, rows_of


def test_both_ways_say_the_same_of_the_same_rows(tmp_path: Path) -> None:
    make_explained(tmp_path)
    bundle, setup = Bundle(tmp_path), read_setup(tmp_path)
    rows = rows_of(make_schema(), 2, seed=3).X
    ours = explain.lime_ours(setup, bundle.ensemble, rows, 200)
    known = explain.lime_ours(setup, bundle.ensemble, rows, 200, lime.surround(setup, bundle.ensemble, samples=200, seed=explain.SEED))
    package = explain.lime_packaged(setup, explain.one_by_one(bundle.ensemble), rows, 200)
    assert ours.contributions == pytest.approx(package.contributions, abs=1e-6)
    assert known.contributions.tolist() == ours.contributions.tolist()
    assert min(ours.seconds, known.seconds, package.seconds) > 0


def test_a_row_at_a_time_means_a_call_a_row() -> None:
    asked: list[int] = []

    def scorer(rows: Matrix) -> Matrix:
        asked.append(len(rows))
        return rows[:, :1]

    rows = np.arange(6, dtype=np.float32).reshape(3, 2)
    assert explain.one_by_one(scorer)(rows).tolist() == [[0.0], [2.0], [4.0]]
    assert asked == [1, 1, 1]


def test_the_quickest_run_counts_and_differences_are_from_the_first_line() -> None:
    told = iter([Timed(2.0, np.zeros((4, 1))), Timed(1.0, np.zeros((4, 1))), Timed(8.0, np.full((4, 1), 2e-9))])
    lines = explain.lines_of("LIME, 4", 4, [("we", "ours", lambda: next(told), 2), ("they", "peer", lambda: next(told), 1)])
    assert [line.figures for line in lines] == [
        {"rows/s": 4.0, "ms a row": 250.0, "1e9 × difference": 0.0},
        {"rows/s": 0.5, "ms a row": 2000.0, "1e9 × difference": pytest.approx(2.0)},
    ]
    faster, same = explain.targets(lines)
    assert (faster.found, faster.wanted, faster.is_met) == (8.0, 20.0, False)
    assert same.found == pytest.approx(2.0)
    assert same.is_met


def test_variants_promise_no_rate_and_shap_only_that_it_says_the_same() -> None:
    rates: list[tuple[Role, float]] = [("ours", 60.0), ("variant", 1.0), ("peer", 2.0)]
    lines = [
        Line(who=role, role=role, case=case, figures={"rows/s": rate, explain.DIFFERENCE: 7.0})
        for case in ("LIME, 1", "SHAP, 1")
        for role, rate in rates
    ]
    assert [(target.what, target.found) for target in explain.targets(lines)] == [
        ("LIME, 1, times the lime package", 30.0),
        ("LIME, 1, largest 1e9 × difference", 7.0),
        ("SHAP, 1, largest 1e9 × difference", 7.0),
    ]


@pytest.mark.parametrize(
    ("case", "difference", "is_met"), [("LIME, 1", 1.1e-6, False), ("SHAP, 1", 1.1e-6, True), ("SHAP, 1", 1.1e-5, False)]
)
def test_a_second_opinion_that_differs_by_more_than_the_tolerance_misses_the_target(case: str, difference: float, is_met: bool) -> None:
    roles: list[tuple[Role, float]] = [("ours", 0.0), ("peer", 0.0), ("variant", 1e9 * difference)]
    lines = [Line(who=role, role=role, case=case, figures={"rows/s": 1.0, explain.DIFFERENCE: found}) for role, found in roles]
    assert explain.targets(lines)[-1].is_met is is_met


def test_the_made_up_table_has_gaps_and_fits_its_settings(tmp_path: Path) -> None:
    made, settings = explain.table(400, 1), explain.settings_of(tmp_path)
    assert [*settings.columns.names, "y"] == made.column_names
    assert made.column("f0").null_count > 0
    assert made.equals(explain.table(400, 1))
