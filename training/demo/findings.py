"""What a replay showed, as one dict: the report's content, for programs and for the page. Pure but for reading."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import numpy as np
import pyarrow as pa

from cluster.bundle import Bundle
from cluster.errors import NotEnoughData
from cluster.history import read_history
from cluster.ledger import Closed, Event, Judged, Ledger, Trained
from cluster.margin import disagree, is_hard
from cluster.records import Promotion, RetrainRequest
from cluster.schema import FeatureSchema, Floats, Matrix, encode_labels, format_duration
from cluster.settings import Settings
from monitoring.verdicts import WindowVerdicts
from training.demo.replay import Outcome
from training.judging.evaluate import metric_value

_LEAST_SHARE: Final = 0.01


class Served(NamedTuple):
    """The journal's rows of the replay, as arrays."""

    times: Floats
    y: Floats
    scores: Matrix
    by_ensemble: Any
    matrix: Matrix
    history: pa.Table


def served(settings: Settings, schema: FeatureSchema, static: Bundle) -> Served:
    """Read the journal back; `static` is the bundle that was champion first, whose encoding its answers need."""
    history = read_history(settings.places.journal(settings.model), schema)
    scores = np.array(history.column("scores").combine_chunks().flatten().to_numpy(), dtype=np.float32).reshape(history.num_rows, -1)
    y = encode_labels(schema.label, history.column(schema.label.name))
    by_ensemble = history.column("by_ensemble").to_numpy(zero_copy_only=False)
    return Served(history.column("event_time").to_numpy(), y, scores, by_ensemble, static.encoder.table(history), history)


def unjournaled(outcome: Outcome, seen: Served) -> int:
    """Acknowledged rows that the journal lacks, or has with another score."""
    kept = dict(
        zip(
            zip(seen.history.column("request_id").to_pylist(), seen.history.column("row").to_pylist(), strict=True),
            seen.scores[:, 0],
            strict=True,
        )
    )
    missing = 0
    for request_id, answers in outcome.acknowledged.items():
        for row, score in enumerate(answers):
            found = kept.get((request_id, row))
            missing += found is None or abs(float(found) - score) > 1e-6
    return missing


def by_month(schema: FeatureSchema, seen: Served, scores: Matrix) -> dict[str, float]:
    """AUC of each month that has both classes; one with less than a hundredth of the rows says nothing and is left out."""
    months = np.array([f"{dt.datetime.fromtimestamp(t, dt.UTC):%Y-%m}" for t in seen.times])
    found = {}
    for month in np.unique(months):
        rows = (months == month) & ~np.isnan(seen.y)
        if rows.sum() < _LEAST_SHARE * len(months):
            continue
        try:
            found[str(month)] = round(metric_value(schema.label, "roc_auc", seen.y[rows], scores[rows]), 4)
        except NotEnoughData:
            continue
    return found


def collect(
    settings: Settings,
    schema: FeatureSchema,
    static: Bundle,
    outcome: Outcome,
    records: list[WindowVerdicts],
    *,
    wall_s: Mapping[str, float],
) -> dict[str, Any]:
    """The whole report."""
    seen = served(settings, schema, static)
    months = np.array([f"{dt.datetime.fromtimestamp(t, dt.UTC):%Y-%m}" for t in seen.times])
    labelled = ~np.isnan(seen.y)
    events = Ledger(settings.places.ledger(settings.model), clock=lambda: 0.0).events()
    return {
        "model": settings.model,
        "generated": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        "rows_served": outcome.rows_served,
        "requests": outcome.requests,
        "http_errors": outcome.http_errors,
        "errors": outcome.errors,
        "acknowledged_not_in_journal": unjournaled(outcome, seen),
        "labels_sent": outcome.labels_sent,
        "labels_joined": int(labelled.sum()),
        "alarms": [_alarm(record) for record in records if record.alarm is not None],
        **_decisions(events),
        "static_auc_by_month": by_month(schema, seen, static.answer(seen.matrix)),
        "loop_auc_by_month": by_month(schema, seen, seen.scores),
        "rows_by_month": {str(m): int((months == m).sum()) for m in np.unique(months)},
        "late_rate_by_month": {str(m): round(float(seen.y[labelled & (months == m)].mean()), 4) for m in np.unique(months[labelled])},
        "drift": [_drift(record, verdict) for record in records for verdict in record.verdicts],
        "latency_ms": _latency(outcome),
        "cascade": _cascade(schema, static, seen),
        "wall_s": {name: round(seconds, 1) for name, seconds in wall_s.items()},
        "budget": {
            "one_false_alarm_in": format_duration(settings.monitoring.one_false_alarm_in),
            "window": format_duration(settings.monitoring.window),
        },
    }


def _alarm(record: WindowVerdicts) -> dict[str, Any]:
    assert record.alarm is not None
    kind, _, name = record.alarm.blamed[0].partition(":")
    return {
        "at": _iso(record.window_end),
        "bundle": record.bundle,
        "kind": kind,
        "name": name,
        "message": record.alarm.message,
        "evidence": record.alarm.evidence,
    }


def _drift(record: WindowVerdicts, verdict: Any) -> dict[str, Any]:
    return {
        "at": _iso(record.window_end),
        "bundle": record.bundle,
        "kind": verdict.kind,
        "name": verdict.name,
        "value": verdict.value,
        "expected": verdict.expected,
        "unit": verdict.unit,
        "evidence": verdict.evidence,
        "alarm": verdict.alarm,
    }


def _decisions(events: list[Event]) -> dict[str, list[dict[str, Any]]]:
    """Retrains, promotions and refusals, from the ledger."""
    retrains: dict[str, dict[str, Any]] = {}
    promotions, refusals = [], []
    now: float | None = None
    for event in events:
        if isinstance(event, RetrainRequest):
            now = event.now
            retrains[event.run] = {
                "at": _iso(event.now),
                "run": event.run,
                "reason": event.reason,
                "version": None,
                "rows": None,
                "seconds": None,
            }
            retrains[event.run] |= {"outcome": "under way", "explanation": ""}
        elif isinstance(event, Trained):
            retrains[event.run] |= {"version": event.version, "rows": event.rows, "seconds": round(event.seconds, 1)}
        elif isinstance(event, Judged) and not event.verdict.passed:
            refusals.append(_refusal(event, now))
        elif isinstance(event, Promotion):
            at = _iso(now) if now is not None else None
            promotions.append({"at": at, "version": event.version, "previous": event.previous, "by": event.by, "reason": event.reason})
        elif isinstance(event, Closed):
            retrains[event.run] |= {"outcome": event.outcome, "explanation": event.reason}
            now = None  # a pointer moved later was not moved by this retrain
    return {"retrains": list(retrains.values()), "promotions": promotions, "refusals": refusals}


def _refusal(event: Judged, now: float | None) -> dict[str, Any]:
    verdict = event.verdict
    improvement = verdict.improvement
    return {
        "at": _iso(now) if now is not None else None,
        "version": event.version,
        "reasons": verdict.reasons,
        "metric": verdict.metric,
        "champion": verdict.champion,
        "challenger": verdict.challenger,
        "improvement": {"estimate": improvement.estimate, "lower": improvement.lower, "upper": improvement.upper} if improvement else None,
    }


def _latency(outcome: Outcome) -> dict[str, float]:
    p50, p99, most = np.percentile(outcome.latencies_ms or [0.0], [50, 99, 100])
    return {"p50": round(float(p50), 2), "p99": round(float(p99), 2), "max": round(float(most), 2)}


def _cascade(schema: FeatureSchema, static: Bundle, seen: Served) -> dict[str, float]:
    """Who answered, and how often the first champion's student and ensemble decide alike on the rows its student answers."""
    student = static.student(seen.matrix)
    alone = ~is_hard(schema.label, student, static.cascade.threshold, static.cascade.sureness)
    agreement = 1.0
    if alone.any():
        agreement = 1.0 - float(disagree(schema.label, student[alone], static.ensemble(seen.matrix[alone])).mean())
    return {"student_share": round(1.0 - float(seen.by_ensemble.mean()), 4), "agreement": round(agreement, 4)}


def _iso(seconds: float) -> str:
    return dt.datetime.fromtimestamp(seconds, dt.UTC).isoformat()
