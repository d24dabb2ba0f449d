from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from cluster.bundle import Bundle
from cluster.journal import Writer
from cluster.ledger import Attempt, Closed, Event, Judged, Ledger, Trained
from cluster.records import GateVerdict, Interval, LabelEntry, Labels, Prediction, Promotion, RetrainRequest
from cluster.settings import Settings
from tests.builders import MODEL, make_bundle, make_settings
from training.demo.findings import collect
from training.demo.replay import Outcome

MONTHS = [dt.datetime(2013, month, 10, tzinfo=dt.UTC).timestamp() for month in (4, 5, 6)]
MILES = [50.0, 300.0, 600.0, 900.0, 1200.0, 2000.0]
LATE = {4: [0, 0, 1, 0, 1, 1], 5: [0, 1, 0, 1, 0, 1], 6: [1, 1, 1, 1, 1, 1]}
SCORES = {4: [0.1, 0.2, 0.3, 0.4, 0.5, 0.6], 5: [0.6, 0.5, 0.4, 0.3, 0.2, 0.1], 6: [0.5] * 6}


class Run(tuple[Settings, Bundle, Outcome]):
    __slots__ = ()


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Three months of six rows each; the first row of May has no label; the ensemble answered two rows of April."""
    settings = make_settings(tmp_path)
    make_bundle(tmp_path / "bundle", threshold=0.0)
    writer = Writer(settings.places.journal(MODEL), clock_ns=lambda: 1)
    outcome = Outcome(requests=3, rows_served=18, labels_sent=17, latencies_ms=[1.0, 2.0, 9.0])
    for (month, labels), start in zip(LATE.items(), MONTHS, strict=True):
        columns: dict[str, Any] = {"miles": MILES, "wind": [None] * 6, "carrier": ["UA"] * 6, "sex": ["f"] * 6}
        by_ensemble = bytes([1, 1, 0, 0, 0, 0]) if month == 4 else bytes(6)
        scores = np.array(SCORES[month], dtype=np.float32)
        block = Prediction(
            bundle="1", event_times=[start + i for i in range(6)], columns=columns, scores=scores.tobytes(), by_ensemble=by_ensemble
        )
        request = writer.append(block)
        outcome.acknowledged[request] = [float(score) for score in SCORES[month]]
        told = [LabelEntry(request_id=request, row=i, label=y) for i, y in enumerate(labels) if (month, i) != (5, 0)]
        writer.append(Labels(entries=told))
    return Run((settings, Bundle(tmp_path / "bundle", version="1"), outcome))


def report_of(run: Run, *events: Event) -> dict[str, Any]:
    settings, static, outcome = run
    book = Ledger(settings.places.ledger(MODEL), clock=lambda: 0.0)
    for event in events:
        book.append(event)
    return collect(settings, static.schema, static, outcome, [], wall_s={"replay": 1.234})


def test_what_was_acknowledged_is_all_in_the_journal(run: Run) -> None:
    report = report_of(run)
    assert report["acknowledged_not_in_journal"] == 0
    assert (report["rows_served"], report["requests"], report["http_errors"]) == (18, 3, 0)
    assert (report["labels_sent"], report["labels_joined"]) == (17, 17)
    assert report["wall_s"] == {"replay": 1.2}
    assert report["latency_ms"] == {"p50": 2.0, "p99": 8.86, "max": 9.0}


def test_a_row_that_the_journal_lacks_or_has_with_another_score_is_counted(run: Run) -> None:
    outcome = run[2]
    first = next(iter(outcome.acknowledged))
    outcome.acknowledged[first][2] += 0.01
    outcome.acknowledged[first].append(0.5)
    outcome.acknowledged["never-heard-of"] = [0.1, 0.2]
    assert report_of(run)["acknowledged_not_in_journal"] == 4


def test_months_are_told_apart_and_one_of_a_single_class_has_no_auc(run: Run) -> None:
    report = report_of(run)
    assert report["rows_by_month"] == {"2013-04": 6, "2013-05": 6, "2013-06": 6}
    assert report["late_rate_by_month"] == {"2013-04": 0.5, "2013-05": 0.6, "2013-06": 1.0}
    assert report["loop_auc_by_month"] == {
        "2013-04": round(float(roc_auc_score(LATE[4], SCORES[4])), 4),
        "2013-05": round(float(roc_auc_score(LATE[5][1:], SCORES[5][1:])), 4),
    }
    assert (
        report["static_auc_by_month"]
        == {  # the student rises with miles
            "2013-04": round(float(roc_auc_score(LATE[4], MILES)), 4),
            "2013-05": round(float(roc_auc_score(LATE[5][1:], MILES[1:])), 4),
        }
    )


def test_the_cascade_is_told_from_who_answered_and_from_the_first_bundle(run: Run) -> None:
    assert report_of(run)["cascade"] == {"student_share": round(16 / 18, 4), "agreement": 1.0}


def test_retrains_promotions_and_refusals_come_from_the_ledger(run: Run) -> None:
    def request(name: str, now: float) -> RetrainRequest:
        return RetrainRequest(run=name, reason="alarm: wind", now=now, since=0.0, train_until=now, seed=7)

    def verdict(*, passed: bool) -> GateVerdict:
        gain = Interval(estimate=0.01, lower=0.005 if passed else -0.01, upper=0.02)
        return GateVerdict(passed=passed, reasons=["so it is"], metric="roc_auc", rows=9, champion=0.7, challenger=0.71, improvement=gain)

    def promotion(version: str, previous: str | None, by: str) -> Promotion:
        return Promotion(pointer="champion", version=version, previous=previous, by=by, reason="so it is")

    report = report_of(
        run,
        promotion("1", None, "homeostat demo"),
        request("late-1", MONTHS[0]),
        Attempt(run="late-1", number=1),
        Trained(run="late-1", version="2", rows=100, seconds=3.46),
        Judged(run="late-1", version="2", champion="1", verdict=verdict(passed=False)),
        Closed(run="late-1", outcome="refused", reason="so it is", now=MONTHS[0]),
        request("late-2", MONTHS[1]),
        Trained(run="late-2", version="3", rows=200, seconds=4.0),
        Judged(run="late-2", version="3", champion="1", verdict=verdict(passed=True)),
        promotion("3", "1", "steward"),
        Closed(run="late-2", outcome="promoted", reason="so it is", now=MONTHS[1]),
        promotion("1", "3", "homeostat rollback"),
        request("late-3", MONTHS[2]),
    )
    assert [(r["run"], r["version"], r["rows"], r["seconds"], r["outcome"]) for r in report["retrains"]] == [
        ("late-1", "2", 100, 3.5, "refused"),
        ("late-2", "3", 200, 4.0, "promoted"),
        ("late-3", None, None, None, "under way"),
    ]
    assert [(p["at"], p["version"], p["previous"], p["by"]) for p in report["promotions"]] == [
        (None, "1", None, "homeostat demo"),
        ("2013-05-10T00:00:00+00:00", "3", "1", "steward"),
        (None, "1", "3", "homeostat rollback"),
    ]
    assert [(r["at"], r["version"], r["reasons"], r["improvement"]["lower"]) for r in report["refusals"]] == [
        ("2013-04-10T00:00:00+00:00", "2", ["so it is"], -0.01)
    ]
