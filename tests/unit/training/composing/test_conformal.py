from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binomtest

from cluster.errors import NotEnoughData
from cluster.margin import disagree, is_hard
from cluster.schema import Floats, Label
from cluster.serving_settings import Cascade
from training.composing.conformal import NEVER_ALONE, Scored, cascade_rule, last_passed, learn_sureness, sequence, upper_bound

BINARY = Label(name="late", classes=(0, 1))
THREE = Label(name="kind", task="multiclass", classes=("a", "b", "c"))
NUMBER = Label(name="price", task="regression")


def world(rng: np.random.Generator, n: int) -> tuple[Floats, Floats]:
    """The ensemble flips the student's decision with probability 0.3 * (1 - margin)^2, a known truth."""
    student = rng.random((n, 1))
    flips = rng.random(n) < 0.3 * (1 - np.abs(2 * student[:, 0] - 1)) ** 2
    return student, np.where(flips[:, None], 1 - student, student)


def true_disagreement(threshold: float) -> float:
    """Mean of 0.3 * (1 - m)^2 over margins uniform on [threshold, 1]."""
    return 0.1 * (1 - threshold) ** 2


def test_the_promise_is_broken_no_more_often_than_its_confidence_allows():
    rng, chosen, broken = np.random.default_rng(0), Cascade(max_disagreement=0.03, confidence=0.9), 0
    for _ in range(150):
        rule = cascade_rule(BINARY, *world(rng, 1500), chosen)
        broken += rule.threshold <= 1 and true_disagreement(rule.threshold) > 0.03
    assert binomtest(broken, 150, 0.1, alternative="greater").pvalue > 0.01


def test_a_pilot_of_another_world_does_not_break_the_promise():
    rng, chosen, broken, shares = np.random.default_rng(10), Cascade(max_disagreement=0.03, confidence=0.9), 0, []
    for _ in range(150):
        student, ensemble = world(rng, 1500)
        liar = Scored(student[:400] ** 2, student[:400] ** 2)  # another distribution, where the two always agree
        rule = cascade_rule(BINARY, student, ensemble, chosen, pilot=liar)
        broken += rule.threshold <= 1 and true_disagreement(rule.threshold) > 0.03
        shares.append(rule.student_share)
    assert binomtest(broken, 150, 0.1, alternative="greater").pvalue > 0.01
    assert np.mean(shares) < 0.05  # it says: begin with all rows


def test_the_order_of_the_tests_is_the_pilots_and_begins_where_it_is_surest():
    margins = np.concatenate([np.full(300, 0.9), np.full(300, 0.5), np.full(300, 0.1)])
    differs = np.zeros(900, dtype=bool)
    differs[600:] = True
    found = sequence(margins, differs, Cascade(), rows=900)
    assert found == [0.5, 0.1, 0.0]
    margins[600:] = 0.0
    assert sequence(margins, differs, Cascade(), rows=900) == [0.5, 0.0]
    assert sequence(np.empty(0), np.empty(0, dtype=bool), Cascade(), rows=900) == [0.0]


def test_the_first_failure_ends_the_tests_even_where_a_later_one_would_pass():
    margins = np.repeat([0.9, 0.5, 0.1], [300, 300, 20_000])
    differs = np.zeros(20_600, dtype=bool)
    differs[300:400] = True
    assert upper_bound(100, 20_600, 0.95) < 0.02
    assert last_passed([0.9, 0.5, 0.1], margins, differs, Cascade()) == 0.9
    assert last_passed([0.5, 0.1], margins, differs, Cascade()) == NEVER_ALONE


def test_with_many_rows_the_threshold_nears_the_true_one():
    rule = cascade_rule(BINARY, *world(np.random.default_rng(1), 60_000), Cascade(max_disagreement=0.03))
    truth = 1 - (0.03 / 0.1) ** 0.5
    assert rule.threshold == pytest.approx(truth, abs=0.03)
    assert rule.student_share == pytest.approx(1 - rule.threshold, abs=0.01)
    assert rule.disagreement == pytest.approx(true_disagreement(rule.threshold), abs=0.003)
    assert rule.rows == pytest.approx(48_000 * rule.student_share)
    assert rule.upper_bound is not None
    assert rule.disagreement < rule.upper_bound <= 0.03


def test_a_student_that_always_agrees_answers_every_row():
    student, _ = world(np.random.default_rng(2), 2000)
    rule = cascade_rule(BINARY, student, student, Cascade())
    assert (rule.threshold, rule.student_share, rule.disagreement, rule.rows) == (0.0, 1.0, 0.0, 1600)


def test_a_student_that_never_agrees_answers_none():
    student, _ = world(np.random.default_rng(3), 2000)
    rule = cascade_rule(BINARY, student, 1 - student, Cascade())
    assert (rule.threshold, rule.student_share, rule.disagreement, rule.upper_bound) == (NEVER_ALONE, 0.0, 0.0, None)


def test_too_few_rows_promise_nothing():
    student, _ = world(np.random.default_rng(4), 140)  # 149 are needed for 2 % at 95 %
    assert cascade_rule(BINARY, student, student, Cascade()).threshold == NEVER_ALONE


def test_no_rows_promise_nothing():
    assert cascade_rule(BINARY, np.empty((0, 1)), np.empty((0, 1)), Cascade()).threshold == NEVER_ALONE


def test_many_classes_are_promised_the_same():
    rng = np.random.default_rng(6)
    student = rng.dirichlet([0.3, 0.3, 0.3], size=3000)
    lead = np.sort(student, axis=1)
    moves = rng.random(3000) < 0.2 * (1 - (lead[:, 2] - lead[:, 1]))
    ensemble = np.where(moves[:, None], np.roll(student, 1, axis=1), student)
    rule = cascade_rule(THREE, student, ensemble, Cascade(max_disagreement=0.05))
    assert 0.3 < rule.threshold < 0.6
    assert 0.2 < rule.student_share < 0.7
    assert rule.upper_bound is not None
    assert rule.upper_bound <= 0.05


# Regression


def prices(rng: np.random.Generator, n: int) -> tuple[Floats, Floats]:
    """The two are apart by normal noise that grows with the number: 1 % of it."""
    student = rng.uniform(1, 10, size=(n, 1))
    return student, student * (1 + 0.01 * rng.standard_normal((n, 1)))


def test_where_errors_grow_with_the_number_the_student_answers_the_low_ones():
    rng = np.random.default_rng(7)
    rule = cascade_rule(NUMBER, *prices(rng, 5000), Cascade(), label_std=1.0)  # apart: by more than 0.1
    assert rule.tolerance == 0.1
    assert rule.sureness is not None
    student, ensemble = prices(rng, 50_000)
    alone = ~is_hard(NUMBER, student, rule.threshold, rule.sureness)
    assert student[alone].max() < student[~alone].min() + 0.5
    assert alone.mean() == pytest.approx(rule.student_share, abs=0.03)
    assert 0.3 < rule.student_share < 0.6
    assert disagree(NUMBER, student[alone], ensemble[alone], tolerance=0.1).mean() < 0.02


def test_the_promise_about_numbers_is_broken_no_more_often_than_its_confidence_allows():
    rng, chosen, broken = np.random.default_rng(8), Cascade(max_disagreement=0.03, confidence=0.9), 0
    student, ensemble = prices(rng, 100_000)
    differs = disagree(NUMBER, student, ensemble, tolerance=0.1)
    for _ in range(100):
        rule = cascade_rule(NUMBER, *prices(rng, 1200), chosen, label_std=1.0)
        alone = ~is_hard(NUMBER, student, rule.threshold, rule.sureness)
        broken += bool(alone.any() and differs[alone].mean() > 0.03)
    assert binomtest(broken, 100, 0.1, alternative="greater").pvalue > 0.01


def test_where_all_numbers_are_alike_the_student_answers_all_rows_or_none():
    rng = np.random.default_rng(5)
    teacher = rng.normal(size=(500, 1))
    near = cascade_rule(NUMBER, teacher + 0.05, teacher, Cascade(), label_std=1.0)
    assert (near.threshold, near.sureness) == (0.0, None)
    assert cascade_rule(NUMBER, teacher + 0.2, teacher, Cascade(), label_std=1.0).threshold == NEVER_ALONE
    with pytest.raises(NotEnoughData, match="standard deviation of 'price'"):
        cascade_rule(NUMBER, teacher, teacher, Cascade())


def test_sureness_is_the_share_of_agreement_by_bins_of_equally_many_rows():
    number, differs = np.arange(100.0).reshape(-1, 1), np.zeros(100, dtype=bool)
    differs[90:] = True
    found = learn_sureness(number, differs)
    assert found is not None
    assert (found.edges, found.values) == ([49.5], [1 - 0.5 / 51, 1 - 10.5 / 51])
    assert learn_sureness(number[:99], differs[:99]) is None
    flat = learn_sureness(np.zeros((1000, 1)), np.zeros(1000, dtype=bool))
    assert flat is not None
    assert flat.edges == [0.0]
    assert flat.values[1] == pytest.approx(1 - 0.5 / 1001)


@pytest.mark.parametrize(("events", "rows"), [(0, 10), (3, 200), (50, 50)])
def test_the_bound_is_clopper_and_pearsons(events, rows):
    expected = binomtest(events, rows).proportion_ci(0.9, method="exact").high  # two-sided 90 % has the one-sided 95 % bound
    assert upper_bound(events, rows, 0.95) == pytest.approx(expected)
