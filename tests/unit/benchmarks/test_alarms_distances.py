"""What the peers measure, held against scipy."""

import numpy as np
import pytest
from scipy import stats
from scipy.spatial.distance import jensenshannon

from benchmarks.alarms import two_samples
from benchmarks.alarms.distances import Category, Number
from cluster.schema import Floats, Matrix

RNG = np.random.default_rng


def with_gaps(values: Floats, rng: np.random.Generator) -> Matrix:
    made = np.asarray(values, dtype=np.float32)
    return np.where(rng.random(len(made)) < 0.1, np.float32(np.nan), made)


def kept(values: Matrix) -> Floats:
    return values[~np.isnan(values)].astype(np.float64)


def samples(kind: str) -> tuple[Matrix, Matrix]:
    rng = RNG(7)
    then, now = (rng.normal(size=n) if kind == "continuous" else rng.integers(0, 12, n).astype(np.float64) for n in (5000, 300))
    return with_gaps(then, rng), with_gaps(now * 1.2 + 0.1, rng)


@pytest.mark.parametrize("kind", ["continuous", "ties"])
def test_a_columns_evidence_is_that_of_the_kolmogorov_smirnov_test(kind):
    then, now = samples(kind)
    p = stats.ks_2samp(kept(then), kept(now), method="asymp").pvalue
    assert Number(then).far(now)[0] == pytest.approx(-np.log10(p), rel=0.02)


@pytest.mark.parametrize("kind", ["continuous", "ties"])
def test_a_numbers_distance_is_wassersteins_in_standard_deviations(kind):
    then, now = samples(kind)
    wanted = stats.wasserstein_distance(kept(then), kept(now)) / kept(then).std()
    assert Number(then).far(now)[2] == pytest.approx(wanted, rel=1e-9)


def test_a_window_beyond_the_reference_is_as_far_as_it_lies():
    then = np.arange(100, dtype=np.float32)
    assert Number(then).far(then + 1000)[2] * then.astype(np.float64).std() == pytest.approx(1000)
    assert Number(then).far(then - 1000)[2] * then.astype(np.float64).std() == pytest.approx(1000)
    assert Number(then).far(then)[2] == pytest.approx(0, abs=1e-12)


def test_evidence_keeps_its_order_where_no_p_value_can_be_held():
    near, far = (two_samples.kolmogorov_evidence(gap, 1e5) for gap in (0.5, 0.6))
    assert 300 < near < far < np.inf
    a_little, more = (two_samples.kolmogorov_evidence(x / np.sqrt(1e12), 1e12) for x in (2.9999, 3.0001))
    assert 0 < more - a_little < 0.01  # the two branches meet
    counts = np.array([1000.0, 1000.0, 10.0])
    assert 300 < two_samples.chi_square_evidence(counts, counts[::-1] * 2) < np.inf


@pytest.mark.parametrize("kinds", [2, 5])
def test_a_categorys_evidence_and_distance_are_those_of_scipy(kinds):
    rng = RNG(3)
    then, now = (
        with_gaps(rng.integers(0, kinds, 4000).astype(np.float64), rng),
        with_gaps((rng.integers(0, kinds, 200) ** 2 % (kinds + 1)).astype(np.float64), rng),
    )
    evidence, _, distance = Category(then, known=kinds).far(now)
    counts = np.array([np.bincount(kept(rows).astype(int), minlength=kinds + 1) for rows in (then, now)])
    counts = counts[:, counts.sum(axis=0) > 0]
    assert evidence == pytest.approx(-np.log10(stats.chi2_contingency(counts).pvalue), rel=1e-6)
    assert distance == pytest.approx(jensenshannon(counts[0] / counts[0].sum(), counts[1] / counts[1].sum()), rel=1e-9)


def test_the_index_sums_the_shares_moved_times_how_far():
    assert two_samples.stability_index(np.array([0.5, 0.5]), np.array([0.6, 0.4])) == pytest.approx(0.1 * np.log(1.2) - 0.1 * np.log(0.8))
    then = np.arange(1000, dtype=np.float32)
    assert Number(then).far(then[:100])[1] > 2  # all in the first tenth
    assert Number(then).far(then)[1] == pytest.approx(0, abs=1e-3)


@pytest.mark.parametrize("column", [Number(np.arange(10, dtype=np.float32)), Category(np.zeros(10, np.float32), known=2)])
def test_a_window_without_values_is_not_far(column):
    empty = np.full(5, np.nan, dtype=np.float32)
    assert column.far(empty).tolist() == [0, 0, 0]
    assert np.isnan(column.mean(empty))


def test_adwin_is_told_the_mean_of_numbers_and_the_usual_share_of_categories():
    assert Number(np.array([0, 1], np.float32)).mean(np.array([1, 2, np.nan], np.float32)) == 1.5
    column = Category(np.array([0, 0, 0, 1], np.float32), known=2)
    assert column.mean(np.array([0, 1, 2, np.nan], np.float32)) == pytest.approx((0.75 + 0.25 + 0) / 3)
