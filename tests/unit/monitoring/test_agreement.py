"""The test of the cascade's promise, on audits whose truth is known."""

import msgspec
import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import beta, binom, binomtest

from cluster.bundle import CascadeRule
from monitoring import agreement
from monitoring.agreement import ODDS, Audits, Bet, Promise, Watch

MOST = 0.02
RULE = CascadeRule(threshold=0.5, max_disagreement=MOST, confidence=0.95, student_share=0.7, disagreement=0.01)


def watched(rng: np.random.Generator, rate: float, *, windows: int, rows: int = 20) -> list[Watch]:
    """The state after each window of audits that differ at a rate."""
    watch, seen = Watch(promised=MOST), []
    for window in range(windows):
        audits = Audits(rows=rows, differ=int(rng.binomial(rows, rate)))
        watch, _ = agreement.advance(watch, audits, window_start=float(window), cap=1e9)
        seen.append(watch)
    return seen


# What is promised


def test_a_promise_is_made_by_a_student_that_answers_and_says_when_answers_differ():
    assert agreement.promise_of(RULE, "binary") == Promise(most=0.02)
    assert agreement.promise_of(msgspec.structs.replace(RULE, threshold=1.01), "binary") is None
    assert agreement.promise_of(None, "binary") is None
    assert agreement.promise_of(RULE, "regression") is None  # an older bundle
    assert agreement.promise_of(msgspec.structs.replace(RULE, tolerance=0.3), "regression") == Promise(most=0.02, tolerance=0.3)


# Evidence


@pytest.mark.parametrize(("rows", "most"), [(1, 0.02), (7, 0.02), (60, 0.1), (5, 0.6)])
def test_the_mean_of_each_e_value_is_1_where_the_promise_is_just_kept_and_less_where_it_is_kept_better(rows, most):
    counts = np.arange(rows + 1)
    values = np.array([agreement.e_values(Audits(rows=rows, differ=int(k)), most) for k in counts])
    np.testing.assert_allclose(binom.pmf(counts, rows, most) @ values, 1.0)
    assert (binom.pmf(counts, rows, most / 2) @ values < 1.0).all()
    assert (binom.pmf(counts, rows, min(1.5 * most, 0.9)) @ values > 1.0).any()


def test_an_e_value_is_the_ratio_of_binomial_likelihoods():
    odds = np.array(ODDS) * MOST / (1 - MOST)
    expected = binom.pmf(9, 200, odds / (1 + odds)) / binom.pmf(9, 200, MOST)
    np.testing.assert_allclose(agreement.e_values(Audits(rows=200, differ=9), MOST), expected)


def test_a_kept_promise_seldom_gathers_evidence_however_often_one_looks():
    """Ville: the mean of the bets' products reaches 20 with a chance of at most 5 %."""
    rng, reached = np.random.default_rng(0), 0
    for _ in range(400):
        differ = np.cumsum(rng.random(2000) < MOST)
        capital = [agreement.e_values(Audits(rows=n, differ=int(differ[n - 1])), MOST).mean() for n in range(20, 2001, 20)]
        reached += max(capital) >= 20
    assert binomtest(reached, 400, 0.05, alternative="greater").pvalue > 0.01


def test_the_mean_evidence_after_n_windows_is_at_most_n():
    rng = np.random.default_rng(1)
    evidence = [watched(rng, MOST, windows=20)[-1].evidence for _ in range(400)]
    assert np.mean(evidence) - 20 < 3 * np.std(evidence) / 20


@pytest.mark.parametrize(("rate", "within"), [(0.04, 2000), (0.08, 400), (0.3, 80)])
def test_a_broken_promise_is_found_the_sooner_the_worse_it_is_broken(rate, within):
    rng = np.random.default_rng(2)
    for _ in range(5):
        seen = watched(rng, rate, windows=within // 20)
        assert max(watch.evidence for watch in seen) >= 180 / 0.1


def test_the_run_of_evidence_begins_where_the_change_did():
    rng = np.random.default_rng(3)
    watch = Watch(promised=MOST)
    for window in range(60):
        differ = int(rng.binomial(50, 0.01 if window < 40 else 0.1))
        watch, _ = agreement.advance(watch, Audits(rows=50, differ=differ), window_start=float(window), cap=1e9)
    began = watch.leader.began
    assert began is not None
    assert began == pytest.approx(40, abs=2)
    assert watch.leader.since.rows == 50 * (60 - int(began))
    assert watch.counted.rows == 3000


def test_one_window_gives_no_more_than_the_cap():
    watch, e = agreement.advance(Watch(promised=MOST), Audits(rows=100, differ=60), window_start=0.0, cap=30.0)
    assert (e, watch.evidence, watch.leader.surge) == (30.0, 30.0, 30.0)


def test_a_promise_broken_on_every_row_of_a_large_window_is_evidence_without_end_and_no_overflow():
    assert np.isfinite(agreement.e_values(Audits(rows=100_000, differ=100_000), MOST)).all()


def test_a_resting_test_counts_and_gathers_nothing():
    rested, e = agreement.advance(Watch(promised=MOST, rest=2), Audits(rows=10, differ=10), window_start=0.0, cap=1e9)
    assert (rested.rest, rested.counted, rested.evidence, e) == (1, Audits(rows=10, differ=10), 0.0, 1.0)


def test_after_an_alarm_about_the_cascade_it_counts_anew_and_after_others_it_goes_on_counting():
    watch = Watch(promised=MOST, counted=Audits(rows=10, differ=1), bets=[Bet(evidence=5.0)] * len(ODDS))
    assert agreement.after_alarm(watch, rest=28, is_blamed=True) == Watch(promised=MOST, rest=28)
    assert agreement.after_alarm(watch, rest=28, is_blamed=False) == Watch(promised=MOST, counted=Audits(rows=10, differ=1))


# The rate and its bounds


@pytest.mark.parametrize(("rows", "differ"), [(1, 0), (1, 1), (40, 0), (40, 40), (300, 7), (20_000, 900)])
def test_the_bounds_are_where_the_mixture_is_1_over_alpha(rows, differ):
    found = agreement.interval(Audits(rows=rows, differ=differ))
    assert found.estimate == differ / rows
    assert 0 <= found.lower <= found.estimate <= found.upper <= 1

    def mixture(p: float) -> float:
        """Of likelihood ratios against p, by numerical integration over the prior."""

        def ratio(q: float) -> float:
            return float(beta.pdf(q, 0.5, 5.0) * np.exp(binom.logpmf(differ, rows, q) - binom.logpmf(differ, rows, p)))

        spread = 8 * (differ / rows * (1 - differ / rows) / rows) ** 0.5
        near = (max(differ / rows - spread, 0), min(differ / rows + spread, 1)) if spread else (0, 1)
        return float(quad(ratio, *near, limit=200)[0])

    for bound in {found.lower, found.upper} - {0.0, 1.0}:
        assert mixture(bound) == pytest.approx(20, rel=1e-3)


def test_the_bounds_hold_at_all_numbers_of_rows_together():
    rng, missed = np.random.default_rng(4), 0
    looks = np.unique(np.geomspace(5, 1500, 25).astype(int))
    for _ in range(150):
        differ = np.cumsum(rng.random(1500) < 0.03)
        found = [agreement.interval(Audits(rows=int(n), differ=int(differ[n - 1]))) for n in looks]
        missed += any(not bounds.lower <= 0.03 <= bounds.upper for bounds in found)
    assert binomtest(missed, 150, 0.05, alternative="greater").pvalue > 0.01


def test_nothing_audited_says_nothing():
    found = agreement.interval(Audits())
    assert (found.lower, found.upper) == (0.0, 1.0)


# Words


def test_people_are_told_the_rate_its_bounds_and_the_promise():
    calm = Watch(promised=MOST, counted=Audits(rows=2000, differ=20))
    assert agreement.describe(calm) == (
        "the student disagrees with the ensemble on 1.0% (0.4% to 1.9%) of the rows it answers (2,000 audited); 2.0% was promised"
    )
    run = Bet(evidence=50.0, surge=50.0, began=1_370_044_800.0, since=Audits(rows=1000, differ=40))
    said = agreement.describe(msgspec.structs.replace(calm, bets=[run] * len(ODDS)))
    assert "on 4.0% (2.3% to 6.4%) of the rows it answers (1,000, audited since 2013-06-01); 2.0% was promised" in said
