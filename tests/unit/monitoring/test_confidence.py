"""Bounds that hold at every look, on streams whose truth is known."""

import numpy as np
import pytest
from scipy import stats

from monitoring import confidence
from monitoring.confidence import Course

LOOKS = 120
STREAMS = 150


def course_of(figures) -> Course:
    course = Course()
    for figure in figures:
        course = course.then(float(figure))
    return course


def autoregression(rng: np.random.Generator, memory: float) -> np.ndarray:
    steps = rng.standard_normal((STREAMS, LOOKS + 40))
    for day in range(1, steps.shape[1]):
        steps[:, day] = memory * steps[:, day - 1] + np.sqrt(1 - memory**2) * steps[:, day]
    return steps[:, 40:]


def missed(streams: np.ndarray, truth: float) -> int:
    """Streams whose bounds left the truth out at any look."""
    count = 0
    for stream in streams:
        course = Course()
        for figure in stream:
            course = course.then(float(figure))
            found = confidence.interval(course, confidence=0.95)
            if found is not None and not found.lower <= truth <= found.upper:
                count += 1
                break
    return count


@pytest.mark.parametrize("memory", [0.0, 0.3, 0.5])
def test_bounds_hold_at_every_look_on_independent_and_on_dependent_windows(memory):
    streams = 3 + 0.2 * autoregression(np.random.default_rng(5), memory)
    most = stats.binom.ppf(0.999, STREAMS, 0.05)  # a promise of 5 % misses more only once in a thousand
    assert missed(streams, 3.0) <= most


def test_bounds_hold_for_rates_of_small_windows_which_are_not_normal():
    rates = np.random.default_rng(6).binomial(60, 0.05, (STREAMS, LOOKS)) / 60
    assert missed(rates, 0.05) <= stats.binom.ppf(0.999, STREAMS, 0.05)


def test_an_interval_for_one_look_taken_at_every_look_would_not_hold():
    """What the sequence is for: the same count is far above for Student's intervals."""
    streams = autoregression(np.random.default_rng(5), 0.0)
    t = np.arange(1, LOOKS + 1)
    mean = np.cumsum(streams, axis=1) / t
    spread = np.sqrt(np.maximum(np.cumsum(streams**2, axis=1) / t - mean**2, 0) / np.maximum(t - 1, 1))
    outside = np.abs(mean) > stats.t.ppf(0.975, np.maximum(t - 1, 1)) * spread
    assert outside[:, 9:].any(axis=1).sum() > 3 * stats.binom.ppf(0.999, STREAMS, 0.05) / 2


def test_a_course_gives_mean_power_and_correlation_of_what_it_was_shown():
    figures = np.random.default_rng(1).normal(5, 2, 50)
    course = course_of(figures)
    around = figures - figures.mean()
    r = float(around[1:] @ around[:-1] / (around @ around))
    r += (1 + 3 * r) / 50
    assert course.mean == pytest.approx(figures.mean())
    assert course.power == pytest.approx(float(around @ around))
    assert course.memory == pytest.approx(max(r + 1.645 * np.sqrt((1 - r * r) / 50), 0))


def test_bounds_are_where_the_likelihood_ratio_reaches_the_stake():
    """Against the ratio itself, integrated over effect sizes and, by Jeffreys' prior, over the unknown deviation."""
    course = Course(windows=12, first=1.0, total=0.0, squares=12 * 0.09, products=-(12 * 0.09))  # anticorrelated: memory 0
    assert course.memory == 0.0
    found = confidence.interval(course, confidence=0.9)
    assert found is not None
    spread = course.power / (1 - 1 / 12) * 11 / 12
    effects, weights = np.polynomial.hermite_e.hermegauss(60)
    log_sd = np.linspace(-6, 4, 4001)[:, None]

    def ratio(mu: float) -> float:
        def likelihood(effect: np.ndarray) -> np.ndarray:
            sd = np.exp(log_sd)
            return np.asarray(np.exp(-12 * log_sd - (spread + 12 * (course.mean - mu - effect * sd) ** 2) / (2 * sd**2)))

        return float((likelihood(effects) @ weights).sum() / np.sqrt(2 * np.pi) / likelihood(np.zeros(1)).sum())

    assert ratio(found.upper) == pytest.approx(1 / 0.1, rel=0.02)
    assert ratio(found.lower) == pytest.approx(1 / 0.1, rel=0.02)


def test_few_windows_bound_nothing():
    figures = np.random.default_rng(2).normal(0, 1, 40)
    found = [confidence.interval(course_of(figures[:n]), confidence=0.95) for n in range(41)]
    assert found[:9] == [None] * 9
    assert found[40] is not None
    assert found[40].upper - found[40].lower < 3


def test_all_levels_together_spend_what_one_may():
    assert sum(1 - confidence.level(k, confidence=0.95) for k in range(1, 10_000)) == pytest.approx(0.05, rel=1e-3)
