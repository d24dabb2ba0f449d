import numpy as np
import pytest
from scipy import stats

from monitoring.evidence import BETS, WAGERS, Detectors, Memory, Rows, learn, pack, unpack


def course(rng: np.random.Generator, windows: int, metrics: int, *, memory: float = 0.0) -> np.ndarray:
    steps = rng.standard_normal((windows + 50, metrics))
    values = np.zeros_like(steps)
    for i in range(1, len(steps)):
        values[i] = memory * values[i - 1] + np.sqrt(1 - memory**2) * steps[i]
    return values[50:]


def explained(metrics: int, *, floor: float = 0.0, independent: float = 0.0, many: float = 0.0) -> Rows:
    """What rows explain, the same of each metric."""
    return Rows(*(np.full(metrics, share) for share in (floor, independent, many)))


def watch(figures: np.ndarray, reference: int, *, both: bool = True, many: float = 0.0) -> tuple[Detectors, Memory, np.ndarray]:
    """The detectors after all windows, and the evidence after each."""
    detectors = Detectors(learn(figures[:reference], explained(figures.shape[1], many=many)), np.full(figures.shape[1], both))
    memory, course = detectors.begin(), []
    for number, window in enumerate(figures[reference:]):
        memory, _ = detectors.advance(memory, window, float(number))
        course.append(detectors.evidence(memory))
    return detectors, memory, np.array(course)


@pytest.mark.parametrize(("memory", "many"), [(0.0, 0.0), (0.5, 0.0), (0.0, 1.0)])
@pytest.mark.parametrize("reference", [12, 60])
def test_healthy_windows_earn_an_e_value_of_at_most_one_however_short_the_reference(memory, many, reference):
    figures = 7 + 3 * course(np.random.default_rng(reference), reference + 40, 4000, memory=memory)
    detectors = Detectors(learn(figures[:reference], explained(4000, many=many)), np.full(4000, True))
    kept, earned = detectors.begin(), []
    for number, window in enumerate(figures[reference:]):
        kept, e_values = detectors.advance(kept, window, float(number))
        earned.append(e_values)
    means = np.mean(earned, axis=1)
    assert np.mean(means) <= 1.0 + 3 * np.std(earned) / np.sqrt(np.size(earned))


@pytest.mark.parametrize("memory", [0.3, 0.8])
def test_evidence_reaches_a_threshold_no_oftener_than_the_bound_says(memory):
    """Ville's inequality for e-detectors: within n windows the chance is at most n / A, here 10 %."""
    _, _, evidence = watch(course(np.random.default_rng(5), 120, 3000, memory=memory), 20)
    assert np.mean((evidence >= 1000).any(axis=0)) <= 0.1


def test_a_lasting_change_is_found_and_dated_and_a_fall_counts_only_where_both_sides_do():
    figures = course(np.random.default_rng(6), 110, 200)
    figures[80:] -= 2.0
    detectors, memory, evidence = watch(figures, 60)
    found = (evidence >= 1e4).argmax(axis=0)
    assert np.mean((evidence >= 1e4).any(axis=0)) > 0.95
    assert np.median(found) < 20 + 15
    dates = np.array([detectors.began(memory, j) for j in range(200)])
    assert np.median(dates[:, 0]) == pytest.approx(20, abs=1.5)
    assert 0.1 < np.median(dates[:, 1]) < 4
    _, _, rises = watch(figures, 60, both=False)
    assert np.mean((rises >= 1e4).any(axis=0)) < 0.02


def test_noise_of_rows_has_no_memory_that_other_metrics_could_lend_it():
    figures = course(np.random.default_rng(13), 60, 40, memory=0.8)
    figures[:, 0] = np.random.default_rng(14).standard_normal(60)
    lent = learn(figures, explained(40)).memory
    alone = learn(figures, explained(40)._replace(independent=np.array([1.0] + [0.0] * 39))).memory
    assert lent[0] > 0.7
    assert alone[0] < 0.4
    assert alone[1:] == lent[1:]


def test_one_wild_window_is_no_change():
    figures = course(np.random.default_rng(7), 80, 50)
    figures[70] = 50.0
    _, _, evidence = watch(figures, 60)
    assert evidence.max() < 1e4


def test_a_leap_of_rows_by_lot_is_found_in_one_window_and_one_of_other_figures_is_not():
    figures = course(np.random.default_rng(15), 81, 50)
    figures[80] += 10.0
    _, _, of_rows = watch(figures, 60, many=1.0)
    _, _, of_others = watch(figures, 60)
    assert np.median(of_rows[-1]) > 1e5
    assert np.median(of_others[-1]) < 1e3
    assert of_others[-1].max() < 1e5


def test_a_stream_with_a_memory_is_not_made_of_rows_by_lot():
    figures = course(np.random.default_rng(16), 60, 40, memory=0.6)
    assert set(learn(figures, explained(40, many=1.0)).most) == {4.0}
    assert set(learn(course(np.random.default_rng(16), 60, 40), explained(40, many=1.0)).most) == {7.0}


def test_the_less_of_a_figure_rows_explain_the_heavier_its_tails():
    figures = course(np.random.default_rng(17), 60, 4)
    nothing, some, most, whole = learn(figures, explained(4)._replace(many=np.array([0.0, 0.3, 0.6, 1.0]))).df
    assert nothing <= 10.0 < some < min(most, whole)


def test_residuals_are_compared_by_student_t_with_all_before_them():
    figures = np.array([[0.0], [1.0], [-1.0], [0.5], [-0.5], [2.0], [-2.0], [0.0], [1.0], [-1.0]])
    start = learn(figures, explained(1))
    assert start.memory == [0.0] or start.memory[0] > 0
    detectors = Detectors(start, np.array([True]))
    _, e_values = detectors.advance(detectors.begin(), np.array([3.0]), 0.0)
    residuals = figures[1:, 0] - start.memory[0] * figures[:-1, 0]
    t = (3.0 - start.memory[0] * -1.0 - residuals.mean()) / np.sqrt(residuals.var(ddof=1) * (1 + start.inefficiency[0] / 9))
    z = min(stats.norm.ppf(stats.t.cdf(t, start.df[0])), 4.0) / np.sqrt(start.inefficiency[0])
    offered = np.abs(WAGERS) <= 1.5
    assert e_values[0] == pytest.approx(np.mean(np.exp(WAGERS * z - np.array(start.price[0]))[offered]))


@pytest.mark.parametrize("reference", [24, 60])
def test_a_bet_on_rare_and_large_events_pays_what_they_cost(reference):
    """Figures that are about 0 in nine windows of ten; at the price of normal figures twice as many reach the threshold."""
    rng = np.random.default_rng(11)
    figures = (rng.random((reference + 100, 1000)) < 0.1) * rng.exponential(1.0, (reference + 100, 1000))
    figures += 0.03 * rng.standard_normal(figures.shape)
    _, _, evidence = watch(figures / figures[:reference].std(axis=0), reference)
    assert np.mean((evidence >= 300).any(axis=0)) <= 0.06


def test_a_bet_costs_what_it_would_have_won_on_the_reference_and_never_less_than_on_normal_figures():
    rng = np.random.default_rng(12)
    figures = np.column_stack([rng.standard_normal(60), rng.exponential(1.0, 60) ** 2])
    normal, skewed = (np.array(price) for price in learn(figures, explained(2)).price)
    assert (normal >= WAGERS**2 / 2).all()
    assert skewed[2] > normal[2] + 0.1
    assert skewed[len(BETS) + 2] == pytest.approx(1.5**2 / 2)


def test_a_window_that_says_nothing_of_a_metric_leaves_it_as_it_was():
    detectors, memory, _ = watch(course(np.random.default_rng(8), 40, 2), 30)
    after, e_values = detectors.advance(memory, np.array([np.nan, 1.0]), 10.0)
    assert e_values[0] == pytest.approx(1.0)
    for before, now in zip(memory, after, strict=True):
        np.testing.assert_array_equal(before[0], now[0])
    assert after.windows[1] == memory.windows[1] + 1


def test_who_was_blamed_rests_and_forgets_all_but_the_reference():
    figures = course(np.random.default_rng(9), 80, 2)
    figures[60:, 0] += 5
    detectors, memory, _ = watch(figures, 60)
    after = detectors.after_alarm(memory, np.array([True, False]), 3.0)
    assert detectors.evidence(after).tolist() == [0.0, 0.0]
    assert after.mean[0] == detectors.begin().mean[0]
    assert after.mean[1] == memory.mean[1]
    for _ in range(3):
        after, _ = detectors.advance(after, np.array([5.0, 0.0]), 0.0)
        assert detectors.evidence(after)[0] == 0.0
    after, _ = detectors.advance(after, np.array([5.0, 0.0]), 0.0)
    assert detectors.evidence(after)[0] > 0.0


def test_a_rest_goes_on_when_another_metric_is_blamed_and_nothing_is_learned_meanwhile():
    detectors, memory, _ = watch(course(np.random.default_rng(8), 40, 2), 30)
    before = detectors.after_alarm(memory, np.array([True, False]), 3.0)
    memory, _ = detectors.advance(before, np.array([5.0, 0.0]), 1.0)
    assert (memory.mean[0], memory.windows[0]) == (before.mean[0], before.windows[0])
    assert memory.windows[1] == before.windows[1] + 1
    assert detectors.after_alarm(memory, np.array([False, True]), 3.0).rest.tolist() == [2.0, 3.0]


def test_a_memory_survives_being_packed():
    detectors, memory, _ = watch(course(np.random.default_rng(10), 40, 3), 30)
    again = unpack(pack(memory), like=detectors.begin())
    for before, now in zip(memory, again, strict=True):
        np.testing.assert_array_equal(before, now)


def test_a_metric_that_never_varied_is_credited_with_the_noise_of_its_rows():
    detectors = Detectors(learn(np.zeros((30, 1)), explained(1, floor=1.0, independent=1.0)), np.array([True]))
    _, e_values = detectors.advance(detectors.begin(), np.array([1.0]), 0.0)
    assert e_values[0] < 2.0


def test_a_fault_that_never_occurred_has_nothing_to_correlate_however_its_blocks_differ_in_size():
    """Blocks of 335 and 336 rows give figures that differ by next to nothing, and in runs."""
    figures = np.repeat([1e-5, -1e-5], 30)[:, None]
    assert learn(figures, explained(1, floor=1.0, independent=1.0)).inefficiency == [pytest.approx(1.0, abs=1e-6)]
    assert learn(figures, explained(1, floor=1.0)).inefficiency[0] > 2.0
