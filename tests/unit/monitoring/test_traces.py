from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from cluster.ledger import Attempt, Closed, Event, Judged, Ledger, Trained
from cluster.records import GateVerdict, Interval, Promotion, RetrainRequest, Verdict
from cluster.tracing import Span, Tracer
from cluster.tracing_settings import Tracing
from monitoring import traces
from monitoring.drift import Alarm
from monitoring.traces import of_retrains, of_verdicts, retrain, retrains, window
from monitoring.verdicts import VerdictLog, WindowVerdicts
from tests.unit.monitoring import world

DAY = 86400.0
START = 1_370_044_800.0  # 2013-06-01
REQUEST = RetrainRequest(run="trips-1", reason="alarm: wind moved", now=START + 9 * DAY, since=START, train_until=START + 2 * DAY, seed=7)
GATE = GateVerdict(
    passed=True,
    reasons=["log_loss is better by 0.02 (0.01 to 0.03)", "enough rows: 900"],
    metric="log_loss",
    rows=900,
    champion=0.5,
    challenger=0.48,
    improvement=Interval(estimate=0.02, lower=0.01, upper=0.03),
)
TRAINED = Trained(run="trips-1", version="2", rows=4000, seconds=12.3456)
JUDGED = Judged(run="trips-1", version="2", champion="1", verdict=GATE)
MOVED = Promotion(pointer="champion", version="2", previous="1", by="steward", reason="better")


def attempt(number: int) -> Attempt:
    return Attempt(run="trips-1", number=number)


def end(outcome: str, reason: str) -> Closed:
    return Closed(run="trips-1", outcome=outcome, reason=reason, now=REQUEST.now)


def book(root: Path, *events: Event) -> Ledger:
    """A ledger whose entries are written at 100, 101, 102 ..."""
    times: Iterator[float] = iter(range(100, 200))
    ledger = Ledger(str(root), clock=lambda: next(times))
    for event in events:
        ledger.append(event)
    return ledger


def spans_of(root: Path, *events: Event) -> list[Span]:
    (run,) = retrains("trips", book(root, *events).entries())
    return retrain(run)


def metadata(span: Span) -> Any:
    return msgspec.json.decode(str(span.attributes["metadata"]))


def verdicts(day: int, *, alarm: bool = False, judged: bool = True) -> WindowVerdicts:
    raised = Alarm(blamed=["feature_drift:wind"], began=START, evidence=200.0, threshold=180.0, message="wind moved by 3")
    start = START + day * DAY
    one = Verdict(
        model="trips",
        bundle="1",
        kind="quality",
        name="wind",
        window_start=start,
        window_end=start + DAY,
        rows=9,
        value=0,
        expected=0,
        unit="",
    )
    return WindowVerdicts(
        sequence=day,
        model="trips",
        bundle="1",
        look="drift",
        window_start=start,
        window_end=start + DAY,
        rows=900,
        verdicts=[one] if judged else [],
        evidence=200.0 if alarm else 3.25,
        threshold=180.0,
        alarm=raised if alarm else None,
    )


# Retrains


def test_a_promoted_run_is_a_trace_of_its_steps_at_the_times_of_its_entries(tmp_path: Path) -> None:
    spans = spans_of(tmp_path, REQUEST, attempt(1), TRAINED, attempt(1), JUDGED, MOVED, end("promoted", "log_loss is better"))
    assert [(s.name, s.part, s.kind, s.start, s.end, s.error) for s in spans] == [
        ("retrain", "", "CHAIN", 100, 106, None),
        ("train", "train", "CHAIN", 101, 102, None),
        ("judge", "judge", "EVALUATOR", 103, 104, None),
        ("conclude", "conclude", "CHAIN", 104, 106, None),
    ]
    assert {span.trace for span in spans} == {"retrain/trips/trips-1"}


def test_a_run_says_why_it_was_begun_and_what_became_of_it(tmp_path: Path) -> None:
    whole, train, judge, conclude = spans_of(tmp_path, REQUEST, attempt(1), TRAINED, attempt(1), JUDGED, end("promoted", "it is better"))
    assert whole.attributes["input.value"] == "alarm: wind moved"
    assert whole.attributes["output.value"] == "promoted: it is better"
    assert metadata(whole) == {
        "model": "trips",
        "run": "trips-1",
        "outcome": "promoted",
        "version": "2",
        "champion_before": "1",
        "attempts": 2,
        "trained_from": "2013-06-01T00:00:00+00:00",
        "trained_until": "2013-06-03T00:00:00+00:00",
        "judged_until": "2013-06-10T00:00:00+00:00",
        "seed": 7,
    }
    assert train.attributes["output.value"] == "version 2 of 4000 rows"
    assert metadata(train) == {"model": "trips", "run": "trips-1", "attempts": 1, "version": "2", "rows": 4000, "seconds": 12.346}
    assert judge.attributes["output.value"] == "\n".join(GATE.reasons)
    assert metadata(judge) == {
        "model": "trips",
        "run": "trips-1",
        "attempts": 1,
        "passed": True,
        "metric": "log_loss",
        "rows": 900,
        "champion": 0.5,
        "challenger": 0.48,
        "improvement": [0.01, 0.02, 0.03],
    }
    assert conclude.attributes["output.value"] == "promoted"


def test_a_refusal_is_no_error(tmp_path: Path) -> None:
    worse = msgspec.structs.replace(JUDGED, verdict=msgspec.structs.replace(GATE, passed=False, improvement=None, champion=None))
    spans = spans_of(tmp_path, REQUEST, attempt(1), TRAINED, attempt(1), worse, end("refused", "too few rows"))
    assert [span.error for span in spans] == [None] * 4
    assert spans[0].attributes["output.value"] == "refused: too few rows"
    assert metadata(spans[2])["improvement"] is None


def test_training_that_was_abandoned_is_an_error_of_the_run_and_of_that_step(tmp_path: Path) -> None:
    spans = spans_of(tmp_path, REQUEST, attempt(1), attempt(2), end("abandoned", "DataError: the source is gone"))
    reason = "DataError: the source is gone"
    assert [(s.name, s.start, s.end, s.error) for s in spans] == [("retrain", 100, 103, reason), ("train", 101, 103, reason)]
    assert metadata(spans[0])["version"] is None
    assert metadata(spans[1])["attempts"] == 2
    assert spans[1].attributes["output.value"] == "nothing"


def test_judging_that_was_abandoned_leaves_the_training_without_error(tmp_path: Path) -> None:
    spans = spans_of(tmp_path, REQUEST, attempt(1), TRAINED, attempt(1), attempt(2), end("abandoned", "it was killed"))
    assert [(s.name, s.error) for s in spans] == [("retrain", "it was killed"), ("train", None), ("judge", "it was killed")]


def test_a_run_that_is_under_way_has_no_spans_yet_and_pointers_moved_by_hand_have_none(tmp_path: Path) -> None:
    entries = book(tmp_path, MOVED, REQUEST, attempt(1), TRAINED).entries()
    assert retrains("trips", entries) == []


def test_what_is_said_too_late_of_a_run_changes_nothing(tmp_path: Path) -> None:
    entries = book(tmp_path, REQUEST, end("abandoned", "killed"), TRAINED, JUDGED).entries()
    (run,) = retrains("trips", entries)
    assert (run.trained, run.judged, run.ended) == (None, None, 101)


# Verdicts


def test_a_calm_window_says_how_much_evidence_there_is() -> None:
    span = window(verdicts(0), judged=500.0)
    assert (span.name, span.kind, span.start, span.end, span.error) == ("drift verdict", "EVALUATOR", 500.0, 500.0, None)
    assert span.trace == "verdict/trips/" + verdicts(0).file_name
    assert span.attributes["output.value"] == "no alarm"
    assert span.attributes["input.value"] == "900 rows from 2013-06-01T00:00:00+00:00 to 2013-06-02T00:00:00+00:00"
    assert metadata(span) == {
        "model": "trips",
        "bundle": "1",
        "look": "drift",
        "window_start": "2013-06-01T00:00:00+00:00",
        "window_end": "2013-06-02T00:00:00+00:00",
        "rows": 900,
        "labelled": 0,
        "alarm": False,
        "blamed": [],
        "began": None,
        "evidence": 3.25,
        "threshold": 180.0,
        "metrics": 1,
    }


def test_an_alarm_names_what_it_blames_and_since_when() -> None:
    span = window(verdicts(3, alarm=True), judged=500.0)
    assert span.attributes["output.value"] == "wind moved by 3"
    found = metadata(span)
    assert (found["alarm"], found["blamed"], found["began"]) == (True, ["feature_drift:wind"], "2013-06-01T00:00:00+00:00")


def test_a_window_with_too_few_rows_says_that_it_was_not_judged() -> None:
    assert window(verdicts(0, judged=False), judged=1.0).attributes["output.value"] == "not judged: too few rows"


# What is sent when


@pytest.fixture
def exporter(monkeypatch: pytest.MonkeyPatch) -> InMemorySpanExporter:
    """What every tracer that is opened sends to."""
    kept = InMemorySpanExporter()
    monkeypatch.setattr(kept, "shutdown", lambda: None)  # one tracer after the other uses it
    monkeypatch.setattr(traces, "open_tracer", lambda settings: Tracer(settings, exporter=kept) if settings.endpoint else None)
    return kept


def settings(root: Path, **tracing: Any) -> Any:
    return world.settings(root).model_copy(update={"tracing": Tracing(**tracing)})


def test_while_tracing_is_off_there_is_nothing_to_look(tmp_path: Path) -> None:
    assert of_verdicts(world.settings(tmp_path)) is None
    assert of_retrains(world.settings(tmp_path)) is None


def test_each_verdict_is_sent_once_by_a_process_with_the_time_it_was_written(tmp_path: Path, exporter: InMemorySpanExporter) -> None:
    chosen = settings(tmp_path, endpoint="http://127.0.0.1:6006")
    root = chosen.places.verdicts("trips")
    log, looking = VerdictLog(root), of_verdicts(chosen)
    assert looking is not None
    looking.look(0)
    log.append(verdicts(0))
    os.utime(Path(root) / verdicts(0).file_name, (777.0, 777.0))
    looking.look(0)  # the mark has not changed: nothing is read
    looking.look(1)
    log.append(verdicts(1, alarm=True))
    looking.look(2)
    looking.tracer.close()
    spans = exporter.get_finished_spans()
    assert [msgspec.json.decode(str((s.attributes or {})["metadata"]))["alarm"] for s in spans] == [False, True]
    assert spans[0].start_time == 777 * 10**9


def test_a_process_that_starts_again_sends_the_newest_with_the_same_ids(
    tmp_path: Path, exporter: InMemorySpanExporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(traces, "_NEWEST", 2)
    chosen = settings(tmp_path, endpoint="http://127.0.0.1:6006")
    log = VerdictLog(chosen.places.verdicts("trips"))
    for day in range(3):
        log.append(verdicts(day))
    for _ in range(2):
        looking = of_verdicts(chosen)
        assert looking is not None
        looking.look(3)
        looking.tracer.close()
    ids = [span.context.span_id for span in exporter.get_finished_spans() if span.context is not None]
    assert len(ids) == 4
    assert ids[:2] == ids[2:]


def test_a_retrain_is_sent_when_it_has_ended(tmp_path: Path, exporter: InMemorySpanExporter) -> None:
    chosen = settings(tmp_path, endpoint="http://127.0.0.1:6006")
    ledger, looking = book(Path(chosen.places.ledger("trips")), REQUEST, attempt(1), TRAINED, attempt(1), JUDGED), of_retrains(chosen)
    assert looking is not None
    looking.look(5)
    ledger.append(end("promoted", "better"))
    looking.look(6)
    looking.look(6)
    looking.tracer.close()
    assert [span.name for span in exporter.get_finished_spans()] == ["retrain", "train", "judge", "conclude"]
