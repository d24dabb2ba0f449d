from __future__ import annotations

import numpy as np
import pytest
from msgspec.structs import replace

from cluster.fairness_settings import Fairness
from cluster.records import Interval
from cluster.schema import Label
from monitoring.fairness import Comparison, FairnessReport, assess
from monitoring.tallies import Shares
from training.judging.fairness_rules import rules

BINARY = Label(name="late", classes=(0, 1))
LIMITED = Fairness(max_selection_rate_difference=0.1)


def report_of(women: float, men: float, *, n: int = 2000, settings: Fairness = LIMITED) -> FairnessReport:
    """Half of the rows women, half men, answered positive at exactly these rates."""
    sex = np.array(["women"] * (n // 2) + ["men"] * (n // 2))
    place = np.tile((np.arange(n // 2) + 0.5) / (n // 2), 2)
    scores = np.where(place < np.where(sex == "women", women, men), 0.9, 0.1).astype(np.float32).reshape(-1, 1)
    return assess(BINARY, np.full(n, np.nan), scores, {"sex": sex}, settings, rng=np.random.default_rng(0))


def test_without_limits_there_are_no_rules():
    assert rules(report_of(0.1, 0.5), Fairness(), None) == []


def test_a_gap_that_is_shown_to_be_too_wide_fails_and_the_reason_has_the_figures():
    (rule,) = rules(report_of(0.1, 0.5), LIMITED, None)
    assert not rule.ok
    assert rule.reason == (
        "selection rate by sex: 'men' 0.5000 and 'women' 0.1000, a gap of 0.4000 (0.3631 to 0.4353, with 95% confidence); it exceeds 0.1"
    )


def test_a_gap_that_may_be_small_enough_passes_and_says_what_was_found():
    (rule,) = rules(report_of(0.30, 0.42), LIMITED, None)
    assert rule.ok
    assert "a gap of 0.1200 (0.0" in rule.reason
    assert rule.reason.endswith("no gap is shown to exceed 0.1")


def test_the_gap_counts_whichever_way_it_points():
    for first, second in ((0.1, 0.5), (0.5, 0.1)):
        assert not rules(report_of(first, second), LIMITED, None)[0].ok


def test_a_challenger_that_narrows_the_champions_gap_is_let_through():
    (rule,) = rules(report_of(0.1, 0.4), LIMITED, report_of(0.1, 0.5))
    assert rule.ok
    assert "is smaller than the champion's 0.4000 between 'men' and 'women'" in rule.reason


def test_a_challenger_as_uneven_as_the_champion_is_not():
    (rule,) = rules(report_of(0.1, 0.5), LIMITED, report_of(0.1, 0.5))
    assert not rule.ok
    assert rule.reason.endswith("and is not smaller than the champion's 0.4000")


def test_a_champion_whose_gap_is_not_shown_excuses_nothing():
    assert not rules(report_of(0.1, 0.4), LIMITED, report_of(0.1, 0.9, n=200, settings=Fairness(min_group_rows=150)))[0].ok


def test_what_cannot_be_compared_passes_and_says_so():
    (rule,) = rules(report_of(0.1, 0.9, n=100), LIMITED, None)
    assert rule.ok
    assert rule.reason.startswith("not judged: selection rate by sex: 0 groups of at least 100 rows")


def test_a_refused_attribute_is_named_for_each_limit():
    scores = np.full((120, 1), 0.3, dtype=np.float32)
    settings = Fairness(max_selection_rate_difference=0.1, max_tpr_difference=0.1)
    report = assess(BINARY, np.zeros(120), scores, {"age": np.arange(120).astype(str)}, settings, rng=np.random.default_rng(0))
    found = rules(report, settings, None)
    assert [rule.ok for rule in found] == [True, True]
    assert "not judged: true positive rate by age: 120 different values" in found[1].reason


def test_a_gap_in_one_class_names_the_class():
    label = Label(name="letter", task="multiclass", classes=("a", "b", "c"))
    sex = np.array(["f", "m"] * 300)
    scores = np.eye(3, dtype=np.float32)[np.where(sex == "f", 0, np.tile([1, 2], 300))]
    settings = Fairness(max_selection_rate_difference=0.2)
    report = assess(label, np.full(600, np.nan), scores, {"sex": sex}, settings, rng=np.random.default_rng(0))
    (rule,) = rules(report, settings, None)
    assert not rule.ok
    assert "for class 'a', a gap of 1.0000" in rule.reason


@pytest.mark.parametrize(("women", "men", "least", "most"), [(0.3, 0.3, 0, 0.01), (0.25, 0.35, 0.01, 0.05), (0.2, 0.4, 0.95, 1)])
def test_false_alarms_are_rarer_than_doubted_and_a_real_gap_is_found(women, men, least, most):
    """Of 1,000 sets of 2,000 rows: no gap, a gap just at the limit, and one of twice the limit."""
    rng, tries, report = np.random.default_rng(6), 1000, report_of(0.2, 0.4)
    drawn = [Shares(rng.binomial(1000, chance, tries).astype(np.float64), np.full(tries, 1000.0)) for chance in (women, men)]
    failed = 0
    for estimate, lower, upper in zip(*drawn[0].minus(drawn[1], confidence=report.level), strict=True):
        gap = Interval(estimate=float(estimate), lower=float(lower), upper=float(upper))
        pair = Comparison(metric="selection_rate", group="women", other="men", difference=gap)
        drawn_report = replace(report, attributes=[replace(report.attributes[0], comparisons=[pair])])
        failed += not rules(drawn_report, LIMITED, None)[0].ok
    assert report.level == pytest.approx(0.95)
    assert least <= failed / tries <= most
