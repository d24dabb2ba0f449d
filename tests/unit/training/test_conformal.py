from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binomtest

from cluster.errors import NotEnoughData
from cluster.schema import Floats, Label
from cluster.serving_settings import Cascade
from training.conformal import NEVER_ALONE, cascade_rule, disagree, upper_bound

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


def test_with_many_rows_the_threshold_nears_the_true_one():
    rule = cascade_rule(BINARY, *world(np.random.default_rng(1), 60_000), Cascade(max_disagreement=0.03))
    truth = 1 - (0.03 / 0.1) ** 0.5
    assert rule.threshold == pytest.approx(truth, abs=0.03)
    assert rule.student_share == pytest.approx(1 - rule.threshold, abs=0.01)
    assert rule.disagreement == pytest.approx(true_disagreement(rule.threshold), abs=0.003)


def test_a_student_that_always_agrees_answers_every_row():
    student, _ = world(np.random.default_rng(2), 2000)
    rule = cascade_rule(BINARY, student, student, Cascade())
    assert (rule.threshold, rule.student_share, rule.disagreement) == (0.0, 1.0, 0.0)


def test_a_student_that_never_agrees_answers_none():
    student, _ = world(np.random.default_rng(3), 2000)
    rule = cascade_rule(BINARY, student, 1 - student, Cascade())
    assert (rule.threshold, rule.student_share, rule.disagreement) == (NEVER_ALONE, 0.0, 0.0)


def test_too_few_rows_promise_nothing():
    student, _ = world(np.random.default_rng(4), 140)  # 149 are needed for 2 % at 95 %
    assert cascade_rule(BINARY, student, student, Cascade()).threshold == NEVER_ALONE


def test_no_rows_promise_nothing():
    assert cascade_rule(BINARY, np.empty((0, 1)), np.empty((0, 1)), Cascade()).threshold == NEVER_ALONE


def test_many_classes_disagree_on_the_most_likely_one():
    student, ensemble = np.array([[0.5, 0.3, 0.2], [0.1, 0.2, 0.7]]), np.array([[0.4, 0.35, 0.25], [0.5, 0.1, 0.4]])
    assert disagree(THREE, student, ensemble).tolist() == [False, True]


def test_regression_lets_the_student_answer_all_rows_or_none():
    rng = np.random.default_rng(5)
    teacher = rng.normal(size=(500, 1))
    assert cascade_rule(NUMBER, teacher + 0.05, teacher, Cascade(), label_std=1.0).threshold == 0.0
    assert cascade_rule(NUMBER, teacher + 0.2, teacher, Cascade(), label_std=1.0).threshold == NEVER_ALONE
    with pytest.raises(NotEnoughData, match="standard deviation of 'price'"):
        cascade_rule(NUMBER, teacher, teacher, Cascade())


@pytest.mark.parametrize(("events", "rows"), [(0, 10), (3, 200), (50, 50)])
def test_the_bound_is_clopper_and_pearsons(events, rows):
    expected = binomtest(events, rows).proportion_ci(0.9, method="exact").high  # two-sided 90 % has the one-sided 95 % bound
    assert upper_bound(events, rows, 0.95) == pytest.approx(expected)
