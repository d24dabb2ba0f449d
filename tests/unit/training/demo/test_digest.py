"""What a person should know first."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.training.demo.sample import at, sample
from training.demo import digest


def run(outcome: str) -> dict[str, object]:
    return {"at": at(30), "version": "2", "outcome": outcome, "reason": "schedule"}


def report(static: float, loop: float, *outcomes: str) -> dict[str, Any]:
    months = ("2013-04", "2013-05")
    return {
        "model": "flights",
        "rows_served": 1000,
        "retrains": [run(outcome) for outcome in outcomes],
        "static_auc_by_month": dict.fromkeys(months, static),
        "loop_auc_by_month": dict.fromkeys(months, loop),
    }


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (report(0.678, 0.700, "promoted"), "retraining lifted the mean monthly AUC from 0.678 to 0.700"),
        (report(0.700, 0.690, "promoted"), "retraining did harm: the mean monthly AUC fell from 0.700 to 0.690"),
        (
            report(0.700, 0.702, "promoted"),
            "retraining hardly moved the mean monthly AUC (0.700 without it, 0.702 with it: no more than chance)",
        ),
        (report(0.700, 0.700, "refused"), "no retrained model was promoted, and the mean monthly AUC stayed at 0.700"),
        (report(0.700, 0.700), "nothing was retrained, and the mean monthly AUC was 0.700"),
    ],
)
def test_the_headline_is_true_whatever_retraining_did(given, said):
    assert digest.headline(given) == f"The loop served 1,000 flights over two months without an error; {said}."


def test_the_headline_does_not_hide_errors():
    given = report(0.7, 0.7) | {"http_errors": 1, "acknowledged_not_in_journal": 20}
    assert "with one failed request and with 20 acknowledged rows missing from the journal;" in digest.headline(given)


def test_another_model_serves_rows_not_flights():
    assert digest.headline(report(0.7, 0.7) | {"model": "churn"}).startswith("The loop served 1,000 rows over two months")


def test_the_mean_takes_only_months_that_both_have():
    given = report(0.6, 0.7) | {"static_auc_by_month": {"2013-04": 0.6, "2013-06": 0.9}}
    assert digest.mean_auc(given) == (0.6, 0.7)


def test_months_better_and_worse_are_named():
    assert digest.months_compared(sample()) == (
        "Month by month, the loop was better in May, June, July, August, September, October; worse in December; level (within 0.003) in two months."
    )


def test_metrics_blamed_together_are_one_alarm():
    titles = [event.title for event in digest.decisions(sample())]
    assert titles.count("Alarm on version 1") == 1


def test_decisions_come_in_order_and_each_once():
    assert [event.title for event in digest.decisions(sample())] == [
        "First model: version 1",
        "Alarm on version 1",
        "Retrained: version 2 promoted",
        "Alarm on version 2",
        "Retrained: version 3 promoted",
        "Retrained: version 4 refused",
        "Retrain abandoned",
        "Retrained: version 5 refused",
    ]


def test_a_rollback_to_a_retrained_version_is_told_as_well():
    given = sample()
    given["promotions"].append({"at": at(250), "version": "2", "previous": "3", "by": "ada", "reason": "rolled back by hand"})
    assert digest.decisions(given)[-1].title == "Version 2 put in charge by ada"


@pytest.mark.parametrize(
    ("improvement", "said"),
    [
        (
            (-0.02, -0.03, -0.01),
            "The new model is worse: roc_auc changed by -0.0200, somewhere between -0.0300 and -0.0100 (positive is better).",
        ),
        (
            (0.02, 0.01, 0.03),
            "The new model is better at roc_auc, by +0.0200, somewhere between +0.0100 and +0.0300, but breaks another rule of the gate.",
        ),
    ],
)
def test_a_refusal_is_explained_by_its_interval(improvement, said):
    values = dict(zip(("estimate", "lower", "upper"), improvement, strict=True))
    given = {"refusals": [{"at": at(1), "version": "9", "metric": "roc_auc", "reasons": ["a rule"], "improvement": values}]}
    event = digest.decisions(given)[0]
    assert (event.lines, event.details) == ([said], ["A rule."])


def test_a_refusal_without_figures_gives_the_gates_own_reason():
    given = {"refusals": [{"at": None, "version": "9", "reasons": ["3 labelled rows"], "improvement": None}]}
    assert digest.decisions(given)[0].lines == ["3 labelled rows."]


def test_evidence_is_a_share_of_the_alarm_threshold():
    entries = [
        {
            "at": at(day),
            "kind": "quality",
            "name": "seats.missing",
            "evidence": 18.0 * day,
            "value": 0.1,
            "expected": 0.0,
            "alarm": day == 3,
        }
        for day in (1, 3)
    ]
    grid = digest.drift_grid({"drift": entries, "budget": {"one_false_alarm_in": "180d", "window": "1d"}})
    assert grid is not None
    assert grid.rows[0].shares == pytest.approx([0.1, None, 0.3])
    assert grid.rows[0].alarms == [2]
    assert grid.rows[0].peak_at == at(3)


def test_a_long_run_is_cut_into_at_most_forty_spans_and_ten_metrics():
    grid = digest.drift_grid(sample())
    assert grid is not None
    assert (grid.span.days, grid.columns, len(grid.rows), grid.metrics, grid.windows) == (7, 40, 10, 15, 275)


def test_nothing_judged_gives_no_grid():
    assert digest.drift_grid({"drift": []}) is None
