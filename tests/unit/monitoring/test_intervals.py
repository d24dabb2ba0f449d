import numpy as np
import pytest
from scipy import stats

from cluster.schema import Floats
from monitoring import intervals

Z = intervals.quantile(0.95)


def array(*values: float) -> Floats:
    return np.array(values, dtype=np.float64)


@pytest.mark.parametrize(("hits", "rows"), [(0, 10), (3, 10), (10, 10), (1, 1000), (56, 70)])
def test_wilson_intervals_equal_those_of_scipy(hits, rows):
    expected = stats.binomtest(hits, rows).proportion_ci(confidence_level=0.95, method="wilson")
    lower, upper = intervals.wilson(array(hits), array(rows), z=Z)
    assert (lower[0], upper[0]) == pytest.approx((expected.low, expected.high), abs=1e-12)


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        ((56, 70, 48, 80), (0.0524, 0.3339)),
        ((9, 10, 3, 10), (0.1705, 0.8090)),
        ((6, 7, 2, 7), (0.0582, 0.8062)),
        ((5, 56, 0, 29), (-0.0381, 0.1926)),
        ((0, 10, 0, 20), (-0.1611, 0.2775)),
        ((10, 10, 0, 10), (0.6075, 1.0000)),
    ],
)
def test_differences_have_the_bounds_of_newcombes_table(counts, expected):
    """Newcombe 1998, table II, method 10."""
    lower, upper = intervals.difference(*(array(c) for c in counts), z=Z)
    assert (lower[0], upper[0]) == pytest.approx(expected, abs=5e-5)


def test_a_ratio_is_near_one_where_the_interval_on_logarithms_is_known_to_hold():
    """With many rows all intervals of a ratio agree; Katz et al. 1978 is the delta method on its logarithm."""
    a, n, b, m = 40_000, 100_000, 30_000, 90_000
    spread = Z * np.sqrt(1 / a - 1 / n + 1 / b - 1 / m)
    expected = np.exp(np.log(a / n / (b / m)) + np.array([-spread, spread]))
    assert np.concatenate(intervals.ratio(array(a), array(n), array(b), array(m), z=Z)) == pytest.approx(expected, rel=1e-3)


def test_the_ratio_of_swapped_groups_is_the_inverse():
    there = intervals.ratio(array(9), array(40), array(21), array(50), z=Z)
    back = intervals.ratio(array(21), array(50), array(9), array(40), z=Z)
    assert (there[0][0], there[1][0]) == pytest.approx((1 / back[1][0], 1 / back[0][0]))


def test_a_share_of_nothing_has_a_ratio_from_zero():
    lower, upper = intervals.ratio(array(0), array(20), array(10), array(20), z=Z)
    assert lower[0] == 0.0
    assert 0 < upper[0] < 0.5


def test_intervals_of_means_equal_those_of_scipy():
    rng = np.random.default_rng(0)
    a, b = rng.normal(3, 2, 40), rng.normal(1, 5, 25)
    alone = stats.ttest_1samp(a, 0).confidence_interval(0.95)
    half = intervals.mean_half_width(array(a.var(ddof=1)), array(40), confidence=0.95)
    assert (a.mean() - half[0], a.mean() + half[0]) == pytest.approx((alone.low, alone.high))
    both = stats.ttest_ind(a, b, equal_var=False).confidence_interval(0.95)
    half = intervals.means_half_width(array(a.var(ddof=1)), array(40), array(b.var(ddof=1)), array(25), confidence=0.95)
    assert (a.mean() - b.mean() - half[0], a.mean() - b.mean() + half[0]) == pytest.approx((both.low, both.high))


@pytest.mark.parametrize(("p", "q"), [(0.3, 0.3), (0.05, 0.05), (0.02, 0.1), (0.9, 0.5)])
def test_differences_and_ratios_cover_the_truth_as_often_as_they_say(p, q):
    rng = np.random.default_rng(1)
    n, m, tries = 120.0, 400.0, 20_000
    a, b = rng.binomial(120, p, tries).astype(float), np.maximum(rng.binomial(400, q, tries), 1).astype(float)
    rows, others = np.full(tries, n), np.full(tries, m)
    lower, upper = intervals.difference(a, rows, b, others, z=Z)
    assert 0.94 < ((lower <= p - q) & (p - q <= upper)).mean() < 0.98
    lower, upper = intervals.ratio(a, rows, b, others, z=Z)
    assert 0.93 < ((lower <= p / q) & (p / q <= upper)).mean() < 0.98
