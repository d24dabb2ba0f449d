import numpy as np
import pytest
from scipy import stats

from monitoring.panel import Aspect, Panel
from monitoring.sketches import Column, Sketcher

EDGES = [-2.0, -1.0, 0.0, 1.0, 2.0]
COLUMNS = [
    Column(name="a", type="number", edges=EDGES, scores=EDGES, range=(-3.0, 3.0)),
    Column(name="b", type="number", edges=EDGES, scores=EDGES),
    Column(name="c", type="category", categories=["x", "y"]),
]
ASPECTS = [
    Aspect(key="feature_drift:a", what="level", column=0),
    Aspect(key="feature_drift:a", what="spread", column=0),
    Aspect(key="feature_drift:c", what="share", column=2, cell=1),
    Aspect(key="quality:a.missing", what="missing", column=0, sides=1),
    Aspect(key="quality:c.unknown", what="unknown", column=2, sides=1),
    Aspect(key="quality:a.outside", what="outside", column=0, sides=1),
    Aspect(key="association:a and b", what="joint", column=0, other=1),
    Aspect(key="association:a and b", what="gap", column=0, other=1, correlation=0.9),
    Aspect(key="feature_drift:c", what="gone", column=2, sides=1, shares=[0.5, 0.5]),
]
SKETCHER = Sketcher(COLUMNS)


def rows(n: int = 4000) -> np.ndarray:
    rng = np.random.default_rng(1)
    a = np.clip(rng.standard_normal(n), -1.99, 1.99)
    b = np.clip(0.8 * a + 0.3 * rng.standard_normal(n), -1.99, 1.99)
    return np.column_stack([a, b, rng.integers(0, 2, n)]).astype(np.float32)


def measure(matrix: np.ndarray) -> dict[tuple[str, str], float]:
    found = Panel(ASPECTS, SKETCHER).measure(SKETCHER.summarise(matrix), fewest=30)
    return {(a.key, a.what): float(v) for a, v in zip(ASPECTS, found.figures, strict=True)}


def test_levels_spreads_shares_and_correlations_are_those_of_the_rows():
    matrix = rows()
    found = measure(matrix)
    assert found["feature_drift:a", "level"] == pytest.approx(matrix[:, 0].mean(), abs=0.002)
    assert found["feature_drift:a", "spread"] == pytest.approx(np.log(matrix[:, 0].var() + 0.01), abs=0.005)
    assert np.sin(found["feature_drift:c", "share"]) ** 2 == pytest.approx(matrix[:, 2].mean(), abs=0.001)
    assert np.tanh(found["association:a and b", "joint"]) == pytest.approx(stats.pearsonr(matrix[:, 0], matrix[:, 1]).statistic, abs=0.002)


def test_a_window_whose_level_moved_is_not_wider():
    matrix = np.clip(rows() / 4, -0.9, 0.9)
    moved = matrix + np.array([1.0, 0.0, 0.0], dtype=np.float32)
    moved[:, 2] = matrix[:, 2] = 0.0
    assert measure(moved)["feature_drift:a", "level"] > measure(matrix)["feature_drift:a", "level"] + 0.9
    assert measure(moved)["feature_drift:a", "spread"] == pytest.approx(measure(matrix)["feature_drift:a", "spread"], abs=0.05)


def test_faults_are_shares_of_all_rows():
    matrix = rows(1000)
    matrix[:100, 0], matrix[100:150, 0], matrix[:20, 2] = np.nan, 4.0, 2.0
    found = measure(matrix)
    shares = {"quality:a.missing": 0.1, "quality:a.outside": 0.05, "quality:c.unknown": 0.02}
    for key, share in shares.items():
        assert np.sin(next(v for (k, _), v in found.items() if k == key)) ** 2 == pytest.approx(share, abs=0.001)


def test_values_beyond_the_reference_count_as_three_and_no_more():
    matrix = np.full((100, 3), 1e20, dtype=np.float32)
    matrix[:, 2] = 0
    assert measure(matrix)["feature_drift:a", "level"] == 3.0


def test_a_column_with_few_values_says_nothing_of_them_but_that_they_are_missing():
    matrix = rows(100)
    matrix[:80, 0] = np.nan
    found = measure(matrix)
    assert np.isnan(found["feature_drift:a", "level"])
    assert np.isfinite(found["quality:a.missing", "missing"])


def test_windows_merged_measure_as_one():
    matrix = rows(999)
    whole = SKETCHER.summarise(matrix)
    parts = SKETCHER.summarise(matrix[:400]) + SKETCHER.summarise(matrix[400:])
    np.testing.assert_array_equal(whole.moments, parts.moments)


def test_a_level_that_moves_alone_parts_from_the_one_it_goes_with_and_both_together_do_not():
    matrix = np.clip(rows() / 4, -0.9, 0.9)
    matrix[:, 2] = 0.0
    alone, together = matrix.copy(), matrix + np.array([1.0, 1.0, 0.0], dtype=np.float32)
    alone[:, 0] += 1.0
    key, before = ("association:a and b", "gap"), measure(matrix)
    assert measure(alone)[key] == pytest.approx(before[key] + 1.0, abs=0.01)
    assert measure(together)[key] == pytest.approx(before[key], abs=0.01)


def test_a_category_of_which_there_is_not_one_row_is_gone_with_its_usual_share():
    matrix = rows(1000)
    assert np.sin(measure(matrix)["feature_drift:c", "gone"]) ** 2 == pytest.approx(0.0, abs=0.001)
    matrix[:, 2] = 1.0
    assert np.sin(measure(matrix)["feature_drift:c", "gone"]) ** 2 == pytest.approx(0.5, abs=0.001)


def test_a_bounded_fault_counts_as_no_more_than_its_bound():
    aspects = [Aspect(key="quality:a.missing", what="missing", column=0, sides=1, most=most) for most in (None, 0.2)]
    matrix = rows(1000)
    matrix[:10, 0] = np.nan
    few = Panel(aspects, SKETCHER).measure(SKETCHER.summarise(matrix), fewest=30).figures
    matrix[:900, 0] = np.nan
    many = Panel(aspects, SKETCHER).measure(SKETCHER.summarise(matrix), fewest=30).figures
    assert few[0] == few[1] < 0.2 == many[1] < many[0]
