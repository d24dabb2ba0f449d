from typing import Any

import numpy as np
import pytest

from cluster.fairness_settings import Fairness
from cluster.schema import Floats, Label, Matrix
from monitoring.fairness import OVERALL, assess
from monitoring.gaps import WITH_LABELS, WITHOUT_LABELS, gaps
from monitoring.reach import Reach, reach_of
from monitoring.said import Figure, Live
from monitoring.sketches import Sketcher, prediction_columns
from monitoring.sofar import largest, so_far
from tests.unit.monitoring.world import Stream, profile_of

LABEL = Label(name="late", classes=(0, 1))
LIMITS = Fairness(max_selection_rate_difference=0.1, min_group_rows=50)


def window(rng: np.random.Generator, gap: float, rows: int = 300) -> tuple[Matrix, Floats, dict[str, Any]]:
    women = rng.random(rows) < 0.5
    scores = np.where(rng.random(rows) < 0.4 + gap * women, 0.9, 0.1)[:, None].astype(np.float32)
    y = (rng.random(rows) < scores[:, 0]).astype(np.float64)
    return scores, y, {"sex": np.where(women, "f", "m").astype(object)}


def look(
    scores: Matrix, y: Floats, groups: dict[str, Any], live: Live, kinds: frozenset[str] = WITHOUT_LABELS
) -> tuple[list[Figure], Live]:
    return gaps(LABEL, scores, y, groups, LIMITS, live, kinds=kinds, rng=np.random.default_rng(0))


def test_the_gap_of_a_window_is_what_the_gate_would_say():
    scores, y, groups = window(np.random.default_rng(1), 0.2)
    (found,), _ = look(scores, y, groups, Live())
    report = assess(LABEL, y, scores, groups, LIMITS, rng=np.random.default_rng(0))
    pair = next(c for c in report.attributes[0].comparisons if c.metric == "selection_rate" and c.other != OVERALL)
    assert found.value == pytest.approx(abs(pair.difference.estimate))
    assert (found.lower, found.alarm) == (None, False)


def test_a_gap_beyond_its_limit_is_shown_in_time_and_one_within_is_not():
    for gap, is_shown in ((0.3, True), (0.05, False)):
        rng, live = np.random.default_rng(2), Live()
        for _ in range(24):
            (found,), live = look(*window(rng, gap), live)
        assert found.alarm == is_shown
        assert found.upper is not None


def test_with_labels_the_figures_that_need_them_are_told():
    scores, y, groups = window(np.random.default_rng(3), 0.0)
    found, live = look(scores, y, groups, Live(), kinds=WITH_LABELS)
    assert {figure.name for figure in found} == {"tpr by sex", "fpr by sex", "calibration by sex"}
    assert all(figure.expected is None and not figure.alarm for figure in found)
    assert len(live.courses) == 3


def test_without_protected_columns_nothing_is_said():
    assert look(np.zeros((3, 1), np.float32), np.zeros(3), {}, Live()) == ([], Live())


def test_groups_and_slices_with_few_rows_are_left_out_of_performance_so_far():
    scores, y, groups = window(np.random.default_rng(4), 0.0)
    few = np.arange(len(y)) < 29
    found, live = so_far(LABEL, scores, y, groups, {"miles > 3": few, "miles <= 3": ~few}, Live(), usual={"brier": 0.2})
    assert {figure.name for figure in found} == {
        f"{m}{p}" for m in ("brier", "calibration") for p in ("", "[sex=f]", "[sex=m]", "[miles <= 3]")
    }
    assert found[0].expected == 0.2
    assert live.courses["so_far|brier"].mean == pytest.approx(np.mean((scores[:, 0] - y) ** 2))


def test_the_largest_groups_come_first_and_what_is_not_known_is_a_group():
    assert largest(np.array(["m", None, "f", "m", ""], dtype=object), most=2) == ["m", "missing"]


def test_rows_where_the_reference_had_none_are_outside_and_others_are_not():
    stream = Stream(np.random.default_rng(5), 40)
    profile = profile_of(stream, 40)
    sketcher = Sketcher(profile.columns)

    def reach(matrix: Matrix) -> Reach:
        return reach_of(
            profile, sketcher, sketcher.summarise(np.column_stack([matrix, prediction_columns("binary", stream.scores[: len(matrix)])]))
        )

    usual = stream.X[stream.rows(7)]
    assert reach(usual).outside < 0.01
    assert reach(usual).stretch < 1
    far = usual.copy()
    far[: len(far) // 2, 0] = 40.0
    assert reach(far).outside == pytest.approx(0.5, abs=0.03)
    unknown = usual.copy()
    unknown[: len(far) // 4, 2] = 4.0
    assert reach(unknown).outside == pytest.approx(0.25, abs=0.03)
    gone = usual.copy()
    gone[:, 1] = np.nan
    assert reach(gone).outside > 0.9
