"""The simulation of the guarantee, on populations whose truth is known."""

import numpy as np
import pytest

from benchmarks import guarantee
from benchmarks.guarantee import Margins, Truth
from benchmarks.report import Line
from benchmarks.scored import World
from cluster.schema import Label
from cluster.serving_settings import Cascade
from training.composing.conformal import Scored

LABEL = Label(name="late", classes=(0, 1))


def population(rng: np.random.Generator, rows: int) -> Margins:
    """Disagreement has the chance 0.1 * (1 - margin)."""
    margins = rng.random(rows)
    return Margins(margins, rng.random(rows) < 0.1 * (1 - margins))


def world(rng: np.random.Generator, rows: int) -> World:
    """The ensemble flips the student's decision with the chance 0.1 * (1 - margin)."""

    def scored(count: int) -> Scored:
        student = rng.random((count, 1)).astype(np.float32)
        flips = rng.random(count) < 0.1 * (1 - np.abs(2 * student[:, 0] - 1))
        return Scored(student, np.where(flips[:, None], 1 - student, student))

    none = Scored(np.empty((0, 1), np.float32), np.empty((0, 1), np.float32))
    return World(LABEL, 1.0, scored(2000), scored(rows), (np.empty(0), np.empty(0)), none, np.empty(0))


def test_who_knows_the_truth_answers_as_many_rows_as_any_threshold_may():
    found = population(np.random.default_rng(0), 300)
    tried = [guarantee.truth(found, threshold) for threshold in found.margins]
    assert guarantee.best_in_hindsight(found, 0.03) == max(one for one in tried if one.rate <= 0.03)
    assert guarantee.best_in_hindsight(Margins(np.ones(10), np.ones(10, dtype=bool)), 0.03) == Truth(0.0, 0.0)
    tied = Margins(np.array([0.9, 0.9, 0.5]), np.array([False, True, False]))
    assert guarantee.best_in_hindsight(tied, 0.4) == Truth(1.0, 1 / 3)


def test_a_promise_about_a_known_population_is_broken_no_more_often_than_allowed_and_leaves_little_unused():
    rng, chosen = np.random.default_rng(1), Cascade(max_disagreement=0.03, confidence=0.9)
    whole = world(rng, 20_000)
    for found in (
        guarantee.try_rule(whole, chosen, draws=60, rng=rng),
        guarantee.try_margins(population(rng, 2000), population(rng, 20_000), chosen, draws=60, rng=rng),
    ):
        told = guarantee.summarize(found, chosen)
        assert told["from"] <= told["allowed %"] == pytest.approx(10)
        assert 20 < told["student %"] < 60  # the truth allows 60
        assert told["disagree %"] < 3


def test_a_summary_counts_broken_promises_with_the_binomial_interval():
    told = guarantee.summarize([Truth(0.5, 0.01)] * 18 + [Truth(0.7, 0.03)] * 2, Cascade())
    assert (told["broken %"], told["promised %"]) == (10.0, 2.0)
    assert told["student %"] == pytest.approx(52)
    assert [told["from"], told["to"]] == pytest.approx([1.2349, 31.6983], abs=1e-3)  # Clopper & Pearson


def test_the_monitor_is_heard_in_the_second_window_of_a_promise_that_is_always_broken_and_never_of_one_always_kept():
    assert guarantee.listen(np.full(10, 25), 0.02) == 2
    assert guarantee.listen(np.zeros(200, dtype=np.int64), 0.02) is None


def test_what_is_heard_grows_with_the_rate():
    rng = np.random.default_rng(2)
    kept, broken = (guarantee.hear(rate, 0.02, streams=20, rng=rng) for rate in (0.005, 0.15))
    assert (kept["found %"], kept["audited rows"]) == (0.0, 0.0)
    assert broken["found %"] == 100.0
    assert broken["audited rows"] < 500


def test_a_shift_makes_rows_that_are_scored_differently_more_frequent():
    scored = Scored(np.zeros((4, 1)), np.array([[0.1], [0.4], [0.3], [0.2]]))
    chances = guarantee.shifted(scored, 2.0)
    assert chances.sum() == pytest.approx(1)
    assert chances.argsort().tolist() == [0, 3, 2, 1]
    np.testing.assert_allclose(guarantee.shifted(scored, 0.0), 0.25)


def test_targets_are_what_is_allowed_and_what_is_held_against_it_is_the_lower_bound():
    figures = guarantee.summarize([Truth(0.5, 0.01)] * 20, Cascade())
    calm = guarantee.hear(0.0, 0.02, streams=5, rng=np.random.default_rng(3))
    lines = [Line(who="ours", role="ours", case="c", figures=figures), Line(who="none", role="variant", case="c", figures=figures)]
    heard = [Line(who="no change", role="limit", case="c", figures=calm), Line(who="shifted", role="variant", case="c", figures=calm)]
    found = guarantee.targets_of(lines, heard)
    assert [target.wanted for target in found] == pytest.approx([5, 100 / 9])
    assert [(target.found, target.is_met) for target in found] == [(0.0, True)] * 2


def test_audits_are_simulated_beside_the_same_rows_unchanged():
    rng = np.random.default_rng(4)
    lines = guarantee.audit_lines("c", world(rng, 5000), Cascade(max_disagreement=0.05), streams=3, rng=rng)
    assert [line.role for line in lines] == ["limit", "variant", "variant"]
    rates = [line.figures["disagree %"] for line in lines]
    assert rates == sorted(rates)
    hopeless = guarantee.audit_lines("c", world(rng, 5000), Cascade(max_disagreement=0.0001), streams=3, rng=rng)
    assert hopeless == []
