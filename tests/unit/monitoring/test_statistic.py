import numpy as np
import pytest
from scipy import stats

from monitoring.statistic import Baseline, deviations, e_value, fit_baseline, inefficiency, p_value


def test_the_calibrator_gives_uniform_p_values_a_mean_of_at_most_one():
    p = (np.arange(2_000_000) + 0.5) / 2_000_000
    assert np.mean([e_value(float(x), cap=50.0) for x in p[::10]]) <= 1.0
    exact = np.mean(np.minimum(p ** (-2 / 3) / 3, 50.0))
    assert 0.9 < exact <= 1.0


def test_p_values_are_those_of_student_t():
    baseline = Baseline(center=1.0, scale=2.0, df=7.0, memory=0.0, blocks=20)
    p, z = p_value(baseline, 6.0, previous=None)
    assert z == 2.5
    assert p == pytest.approx(stats.t.sf(2.5, 7))


def test_a_window_like_the_one_before_is_less_surprising_when_windows_remember():
    baseline = Baseline(center=0.0, scale=1.0, df=10.0, memory=0.7, blocks=60)
    alone, _ = p_value(baseline, 2.0, previous=None)
    after_its_like, _ = p_value(baseline, 2.0, previous=2.0)
    after_a_landslide, _ = p_value(baseline, 20.0, previous=20.0)
    assert after_its_like > alone
    assert after_a_landslide < 1e-6  # what the last window excuses is bounded


def test_independent_blocks_standardise_to_mean_square_one():
    rng = np.random.default_rng(3)
    n = rng.integers(100, 400, 80).astype(float)
    shares = rng.binomial(n.astype(int), 0.3) / n
    z = deviations(shares[:, None], n, np.array([0.21]), floor=1.0)
    assert np.mean(z**2) == pytest.approx(1.0, abs=0.35)


def test_one_stray_row_in_a_cell_that_was_always_empty_is_no_evidence():
    values = np.zeros((20, 1))
    values[7] = 1 / 200
    z = deviations(values, np.full(20, 200.0), np.zeros(1), floor=1.0)
    assert abs(z[7, 0]) <= 1.0


def test_dependent_blocks_are_worth_fewer():
    rng = np.random.default_rng(4)
    steps = rng.standard_normal(2000)
    values = np.zeros(2000)
    for i in range(1, 2000):
        values[i] = 0.6 * values[i - 1] + steps[i]
    assert inefficiency(steps[:, None]) < 2.2  # the sum over many lags errs upwards
    assert inefficiency(values[:, None]) > 3.5  # (1 + 0.6) / (1 - 0.6) = 4
    baseline = fit_baseline(values, shape="rise", raw=inefficiency(values[:, None]), least_scale=1.0)
    assert baseline.memory == pytest.approx(0.62, abs=0.05)
