"""Figures by group against Fairlearn and AIF360, what is judged, and false alarms and power on data with known truth."""

from __future__ import annotations

from typing import Any

import fairlearn.metrics as fairlearn_metrics
import msgspec
import numpy as np
import pandas
import pytest
from scipy import stats
from sklearn import metrics as sklearn_metrics

from cluster.errors import DataError, NotEnoughData
from cluster.fairness_settings import Fairness
from cluster.schema import Floats, Label, Matrix
from monitoring import fairness, tallies
from monitoring.fairness import OVERALL, Attribute, Comparison, FairnessReport, Group
from monitoring.group_figures import calibration_error
from monitoring.groups import POOLED
from training.judging import evaluate

BINARY = Label(name="late", classes=(0, 1), threshold=0.4)
LETTER = Label(name="letter", task="multiclass", classes=("a", "b", "c"))
PRICE = Label(name="price", task="regression")


def rows(n: int = 1200, *, seed: int = 0) -> tuple[Floats, Matrix, dict[str, Any]]:
    """Labels, scores that are a little right, and a sex and a race that both matter."""
    rng = np.random.default_rng(seed)
    sex, race = rng.choice(["f", "m"], n), rng.choice(["black", "other", "white"], n, p=[0.2, 0.1, 0.7])
    p = np.clip(rng.beta(2, 3, n) + 0.15 * (sex == "m") - 0.1 * (race == "black"), 0.01, 0.99)
    return (rng.random(n) < p).astype(np.float64), p.astype(np.float32).reshape(-1, 1), {"sex": sex, "race": race}


def assess(y: Floats, scores: Matrix, groups: dict[str, Any], *, label: Label = BINARY, **settings: Any) -> FairnessReport:
    return fairness.assess(label, y, scores, groups, Fairness(**settings), rng=np.random.default_rng(3))


def attribute(report: FairnessReport, name: str) -> Attribute:
    return next(a for a in report.attributes if a.name == name)


def group(report: FairnessReport, attribute_name: str, name: str) -> Group:
    return next(g for g in attribute(report, attribute_name).groups if g.name == name)


def comparison(report: FairnessReport, attribute_name: str, metric: str, a: str, b: str) -> Comparison:
    return next(c for c in attribute(report, attribute_name).comparisons if (c.metric, {c.group, c.other}) == (metric, {a, b}))


def test_binary_figures_equal_those_of_fairlearn_and_scikit_learn_on_the_rows_of_the_group():
    y, scores, groups = rows()
    report = assess(y, scores, groups)
    for name in ("f", "m"):
        own = groups["sex"] == name
        truth, answer = y[own], (scores[own, 0] >= np.float32(0.4)).astype(int)
        figures = {metric: interval.estimate for metric, interval in group(report, "sex", name).figures.items()}
        assert figures == pytest.approx(
            {
                "selection_rate": fairlearn_metrics.selection_rate(truth, answer),
                "tpr": fairlearn_metrics.true_positive_rate(truth, answer),
                "fpr": fairlearn_metrics.false_positive_rate(truth, answer),
                "base_rate": truth.mean(),
                "accuracy": sklearn_metrics.accuracy_score(truth, answer),
                "mean_score": scores[own, 0].astype(np.float64).mean(),
                "calibration": scores[own, 0].astype(np.float64).mean() - truth.mean(),
            },
            abs=1e-12,
        )


def test_gaps_equal_those_of_aif360():
    from aif360.sklearn import metrics as aif360_metrics  # it logs, and takes a second

    y, scores, groups = rows()
    report = assess(y, scores, groups)
    index = pandas.Index((groups["sex"] == "m").astype(int), name="sex")
    truth, answer = (pandas.Series(values.astype(int), index=index) for values in (y, scores[:, 0] >= np.float32(0.4)))
    theirs = {"prot_attr": "sex", "priv_group": 1}
    gaps = {metric: comparison(report, "sex", metric, "f", "m") for metric in ("selection_rate", "tpr", "fpr")}
    sign = 1 if gaps["tpr"].group == "f" else -1
    tpr, fpr = sign * gaps["tpr"].difference.estimate, sign * gaps["fpr"].difference.estimate
    ratio = gaps["selection_rate"].ratio
    assert ratio is not None
    parity = aif360_metrics.statistical_parity_difference(truth, answer, **theirs)
    assert sign * gaps["selection_rate"].difference.estimate == pytest.approx(parity, abs=1e-9)
    assert ratio.estimate**sign == pytest.approx(aif360_metrics.disparate_impact_ratio(truth, answer, **theirs), abs=1e-9)
    assert tpr == pytest.approx(aif360_metrics.equal_opportunity_difference(truth, answer, **theirs), abs=1e-9)
    assert (tpr + fpr) / 2 == pytest.approx(aif360_metrics.average_odds_difference(truth, answer, **theirs), abs=1e-9)


def test_the_calibration_error_of_a_group_is_the_one_of_the_evaluation_on_its_rows():
    y, scores, groups = rows()
    found = group(assess(y, scores, groups), "sex", "f")
    own = groups["sex"] == "f"
    assert found.ece == pytest.approx(evaluate.metric_value(BINARY, "ece", y[own], scores[own]), abs=1e-12)


def test_a_calibrated_model_stays_below_what_chance_allows_as_often_as_promised():
    rng = np.random.default_rng(2)
    below = 0
    for _ in range(200):
        given = rng.beta(2, 5, 300)
        error, chance = calibration_error(given, (rng.random(300) < given).astype(np.float64), confidence=0.9, rng=rng)
        below += error <= chance
    assert 0.85 <= below / 200 <= 0.95


def test_a_model_that_is_off_in_one_group_has_more_error_there_than_chance_allows():
    y, scores, groups = rows()
    scores = np.where(groups["sex"].reshape(-1, 1) == "f", np.clip(scores + 0.2, 0, 1), scores).astype(np.float32)
    report = assess(y, scores, groups)
    women, men = group(report, "sex", "f"), group(report, "sex", "m")
    assert women.ece is not None
    assert women.ece_by_chance is not None
    assert men.ece is not None
    assert men.ece_by_chance is not None
    assert women.ece > women.ece_by_chance
    assert men.ece < men.ece_by_chance
    assert women.figures["calibration"].lower > 0.1


def test_classes_are_looked_at_one_against_the_rest():
    rng = np.random.default_rng(0)
    y, scores, sex = (
        rng.integers(0, 3, 600).astype(np.float64),
        rng.dirichlet([1, 1, 2], 600).astype(np.float32),
        rng.choice(["f", "m"], 600),
    )
    report = assess(y, scores, {"sex": sex}, label=LETTER)
    own = sex == "f"
    truth, answer = y[own] == 2, scores[own].argmax(axis=1) == 2
    figures = {metric: interval.estimate for metric, interval in group(report, "sex", "f").figures.items()}
    assert figures["selection_rate[c]"] == pytest.approx(answer.mean())
    assert figures["tpr[c]"] == pytest.approx(sklearn_metrics.recall_score(truth, answer))
    assert figures["fpr[c]"] == pytest.approx(fairlearn_metrics.false_positive_rate(truth, answer))
    assert figures["accuracy"] == pytest.approx((scores[own].argmax(axis=1) == y[own]).mean())
    assert figures["calibration"] == pytest.approx(scores[own].max(axis=1).astype(np.float64).mean() - figures["accuracy"])


def test_numbers_are_looked_at_by_their_mean_and_their_error():
    rng = np.random.default_rng(0)
    y, sex = rng.normal(1e6, 3, 300), rng.choice(["f", "m"], 300)
    scores = (y + rng.normal(0.5 * (sex == "m"), 1)).reshape(-1, 1).astype(np.float32)
    report = assess(y, scores, {"sex": sex}, label=PRICE, max_calibration_difference=0.1)
    error = scores[:, 0].astype(np.float64) - y
    men = group(report, "sex", "m")
    assert men.figures["mae"].estimate == pytest.approx(np.abs(error[sex == "m"]).mean())
    alone = stats.ttest_1samp(error[sex == "m"], 0).confidence_interval(0.95)
    assert (men.figures["calibration"].lower, men.figures["calibration"].upper) == pytest.approx((alone.low, alone.high))
    gap = comparison(report, "sex", "calibration", "f", "m")
    both = stats.ttest_ind(error[sex == gap.group], error[sex == gap.other], equal_var=False).confidence_interval(0.95)
    assert (gap.difference.lower, gap.difference.upper) == pytest.approx((both.low, both.high))
    assert men.ece is None
    assert gap.ratio is None


def test_a_group_against_all_is_what_it_is_against_the_rest_scaled_by_what_is_not_its_own():
    y, scores, groups = rows()
    report = assess(y, scores, groups)
    for metric in ("selection_rate", "tpr", "calibration"):
        own, all_rows = group(report, "race", "white").figures[metric], report.overall.figures[metric]
        found = comparison(report, "race", metric, "white", OVERALL)
        assert found.difference.estimate == pytest.approx(own.estimate - all_rows.estimate, abs=1e-12)
        assert found.difference.lower < found.difference.estimate < found.difference.upper
        if metric == "calibration":
            assert found.ratio is None
        else:
            assert found.ratio is not None
            assert found.ratio.estimate == pytest.approx(own.estimate / all_rows.estimate)


def test_attributes_are_crossed_and_every_pair_of_groups_is_compared():
    y, scores, groups = rows()
    report = assess(y, scores, groups, min_group_rows=40)
    assert [a.name for a in report.attributes] == ["sex", "race", "sex x race"]
    crossed = attribute(report, "sex x race")
    assert {g.name for g in crossed.groups} == {f"{s} & {r}" for s in ("f", "m") for r in ("black", "other", "white")}
    pairs = [{c.group, c.other} for c in crossed.comparisons if c.metric == "selection_rate" and c.other != OVERALL]
    assert len(pairs) == 15
    assert report.pairs == 1 + 3 + 15


def test_the_level_of_a_pair_shares_the_doubt_between_all_that_are_judged():
    y, scores, groups = rows()
    report = assess(y, scores, {"race": groups["race"]}, min_group_rows=40, max_tpr_difference=0.1, max_fpr_difference=0.1)
    assert report.pairs == 3
    assert report.level == pytest.approx(1 - 0.05 / 6)
    letters = np.tile([0.0, 1.0, 2.0], 400), np.eye(3, dtype=np.float32)[np.tile([0, 1, 2], 400)]
    report = assess(*letters, {"sex": groups["sex"]}, label=LETTER, max_tpr_difference=0.1, max_calibration_difference=0.1)
    assert report.level == pytest.approx(1 - 0.05 / 4)  # three classes and one calibration


def test_small_groups_are_counted_and_pooled_and_not_compared():
    y, scores, _ = rows(300)
    race = np.array(["white"] * 140 + ["black"] * 120 + ["x"] * 25 + ["y"] * 15)
    found = attribute(assess(y, scores, {"race": race}), "race")
    assert found.small == {"x": 25, "y": 15}
    assert [(g.name, g.rows, g.judged) for g in found.groups] == [("white", 140, True), ("black", 120, True), (POOLED, 40, False)]
    assert {c.other for c in found.comparisons if c.metric == "accuracy"} == {"black", OVERALL}


def test_a_figure_of_too_few_cases_is_shown_and_not_compared():
    y, scores, _ = rows(400)
    sex = np.array(["f", "m"] * 200)
    y[sex == "f"] = 0.0
    y[:40:2] = 1.0  # 20 positives among 200
    report = assess(y, scores, {"sex": sex})
    assert "tpr" in group(report, "sex", "f").figures
    assert {c.metric for c in attribute(report, "sex").comparisons if {c.group, c.other} == {"f", "m"}} == {
        "selection_rate",
        "fpr",
        "accuracy",
        "calibration",
    }


def test_rows_whose_group_is_not_known_are_a_group_of_their_own():
    y, scores, _ = rows(300)
    sex = np.array(["f"] * 100 + ["m"] * 80 + [None] * 40 + [float("nan")] * 40 + [""] * 40, dtype=object)
    report = assess(y, scores, {"sex": sex}, min_group_rows=80)
    assert {g.name: g.rows for g in attribute(report, "sex").groups} == {"missing": 120, "f": 100, "m": 80}


def test_rows_without_a_label_count_for_what_was_answered_only():
    y, scores, groups = rows()
    unknown = np.full(len(y), np.nan)
    known = assess(y, scores, groups)
    report = assess(unknown, scores, groups)
    women = group(report, "sex", "f")
    assert women.figures["selection_rate"] == group(known, "sex", "f").figures["selection_rate"]
    assert set(women.figures) == {"selection_rate", "mean_score"}
    assert (women.labelled, women.ece) == (0, None)


def test_an_attribute_of_many_values_is_refused_by_name():
    y, scores, groups = rows()
    report = assess(y, scores, {"sex": groups["sex"], "age": np.array([str(i % 70) for i in range(len(y))])})
    assert [a.name for a in report.attributes] == ["sex"]
    assert "70 different values, and at most 50 are groups" in report.refused["age"]


def test_a_crossing_of_many_cells_is_refused_and_its_parts_are_not():
    y, scores, groups = rows()
    report = assess(y, scores, {"sex": groups["sex"], "region": np.array([str(i % 40) for i in range(len(y))])})
    assert [a.name for a in report.attributes] == ["sex", "region"]
    assert list(report.refused) == ["sex x region"]


def test_a_group_of_one_row_has_no_interval_of_a_mean_and_the_report_is_json():
    y, scores, _ = rows(201)
    sex = np.array(["f"] * 200 + ["x"])
    report = assess(y, scores, {"sex": sex})
    assert "mean_score" not in group(report, "sex", POOLED).figures
    assert attribute(report, "sex").comparisons == []  # not even with all rows: but for one they are the group's own
    assert msgspec.json.decode(msgspec.json.encode(report), type=FairnessReport) == report


def test_a_group_that_is_never_answered_positive_has_no_ratio_below_it():
    y, scores, groups = rows()
    scores[groups["sex"] == "f"] = 0.1
    report = assess(y, scores, groups)
    found = comparison(report, "sex", "selection_rate", "f", "m")
    assert (found.ratio is None) == (found.other == "f")


def test_without_protected_attributes_only_all_rows_are_looked_at():
    y, scores, _ = rows(100)
    report = assess(y, scores, {})
    assert (report.attributes, report.pairs, report.overall.rows) == ([], 0, 100)


def test_no_rows_and_lengths_that_differ_are_refused():
    y, scores, groups = rows(100)
    with pytest.raises(NotEnoughData, match="without rows"):
        assess(y[:0], scores[:0], {})
    with pytest.raises(DataError, match="the groups of 'sex' are of 99 rows and the labels of 100"):
        assess(y, scores, {"sex": groups["sex"][:99]})


@pytest.mark.parametrize("rate", [0.05, 0.3])
def test_among_equal_groups_a_gap_is_shown_no_more_often_than_doubted(rate):
    """Six groups, 15 pairs, 4,000 sets of rows at once: any interval that excludes zero is a false alarm."""
    rng = np.random.default_rng(4)
    sizes, tries = np.array([150, 200, 400, 800, 1500, 3000]), 4000
    hits = rng.binomial(sizes, rate, (tries, 6)).astype(np.float64)
    a, b = np.triu_indices(6, 1)
    these, those = (tallies.Shares(hits[:, i].ravel(), np.tile(sizes[i].astype(np.float64), tries)) for i in (a, b))
    _, lower, upper = these.minus(those, confidence=1 - 0.05 / 15)
    false_alarms = ((lower > 0) | (upper < 0)).reshape(tries, 15).any(axis=1).mean()
    assert 0.01 < false_alarms <= 0.05


def test_the_calibration_of_rare_events_covers_the_truth():
    """Poisson-binomial outcomes: the binomial interval is a little wide, never narrow."""
    rng = np.random.default_rng(5)
    given = rng.beta(0.3, 9, (1, 250))
    came_true = (rng.random((4000, 250)) < given).sum(axis=1).astype(np.float64)
    found = tallies.Calibrations(np.full(4000, given.sum()), tallies.Shares(came_true, np.full(4000, 250.0)))
    _, lower, upper = found.figures(confidence=0.95)
    assert 0.95 <= ((lower <= 0) & (upper >= 0)).mean() < 0.995
