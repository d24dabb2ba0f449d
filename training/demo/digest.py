"""From the figures of a demo to what a person should know first: the headline, the decisions in order, the drift grid.

Pure: reads the same dict that is written as `report.json`. Knows nothing of HTML or charts.
"""

from __future__ import annotations

import datetime as dt
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from cluster.schema import parse_duration
from monitoring.drift import threshold_of

Report = Mapping[str, Any]
Series = dict[str, float]
"""Figures by month, 'YYYY-MM'."""

NOISE: Final = 0.003
"""Two trainings of one model on the flights differ by up to .0027 in AUC through their seed alone; less is no gain."""
_TOP: Final = 10
_MOST_COLUMNS: Final = 40
_NUMBERS: Final = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")


class DriftRow(NamedTuple):
    """One metric over time."""

    kind: str
    name: str
    shares: list[float | None]
    """Highest evidence in each span as a share of the alarm threshold; None where nothing was judged."""
    alarms: list[int]
    """Spans in which this metric was blamed for an alarm."""
    peak: float
    peak_at: str
    value: float | None
    expected: float | None
    unit: str


class DriftGrid(NamedTuple):
    """The metrics with the most evidence, over equal spans of time."""

    start: dt.datetime
    span: dt.timedelta
    columns: int
    rows: list[DriftRow]
    metrics: int
    """How many metrics were judged, shown or not."""
    windows: int
    """How many windows were judged."""


class Event(NamedTuple):
    """One line of the history of decisions."""

    at: str | None
    """None for what was set before the replay began."""
    kind: str
    """`alarm`, `promoted`, `refused`, `abandoned`, `under way` or `moved`: a pointer set outside a retrain."""
    title: str
    lines: list[str]
    details: list[str]
    """Figures and rules behind it, for who wants them."""


def moment(text: str) -> dt.datetime:
    """An ISO 8601 time as an aware datetime; without an offset it is UTC.

    >>> moment("2013-04-01T00:00:00Z").isoformat()
    '2013-04-01T00:00:00+00:00'
    """
    at = dt.datetime.fromisoformat(text)
    return at if at.tzinfo else at.replace(tzinfo=dt.UTC)


def finite(value: object) -> bool:
    """Is it a number that can be shown?"""
    return isinstance(value, int | float) and math.isfinite(value)


def series(report: Report, key: str) -> Series:
    """Figures by month in order of time, without those that are missing."""
    return {month: float(value) for month, value in sorted((report.get(key) or {}).items()) if finite(value)}


def number_word(count: int) -> str:
    """Small numbers in letters, as in running text.

    >>> number_word(9), number_word(13)
    ('nine', '13')
    """
    return _NUMBERS[count] if 0 <= count < len(_NUMBERS) else f"{count:,}"


def counted(count: int, noun: str) -> str:
    """A number with its noun.

    >>> counted(1, "alarm"), counted(0, "alarm")
    ('one alarm', 'no alarms')
    """
    return f"{number_word(count)} {noun}" + ("" if count == 1 else "s")


def headline(report: Report) -> str:
    """What happened, in one sentence that is true whatever happened."""
    rows, model = report.get("rows_served") or 0, report.get("model") or "rows"
    noun = "flights" if model == "flights" else "rows"
    months = len(series(report, "loop_auc_by_month") or series(report, "rows_by_month"))
    over = f" over {counted(months, 'month')}" if months else ""
    return f"The loop served {rows:,} {noun}{over} {_faults(report)}; {gain(report)}."


def _faults(report: Report) -> str:
    failed, lost = report.get("http_errors") or 0, report.get("acknowledged_not_in_journal") or 0
    if not failed and not lost:
        return "without an error"
    told = [f"with {counted(failed, 'failed request')}"] if failed else []
    told += [f"with {counted(lost, 'acknowledged row')} missing from the journal"] if lost else []
    return " and ".join(told)


def gain(report: Report) -> str:
    """What retraining did to the mean monthly AUC; no gain is claimed inside `NOISE`."""
    means = mean_auc(report)
    retrains = report.get("retrains") or []
    if means is None:
        return "too few labels arrived to say whether retraining helped"
    static, loop = means
    if not retrains:
        return f"nothing was retrained, and the mean monthly AUC was {loop:.3f}"
    if not any(run.get("outcome") == "promoted" for run in retrains):
        return f"no retrained model was promoted, and the mean monthly AUC stayed at {loop:.3f}"
    if abs(loop - static) < NOISE:
        return f"retraining hardly moved the mean monthly AUC ({static:.3f} without it, {loop:.3f} with it: no more than chance)"
    if loop > static:
        return f"retraining lifted the mean monthly AUC from {static:.3f} to {loop:.3f}"
    return f"retraining did harm: the mean monthly AUC fell from {static:.3f} to {loop:.3f}"


def mean_auc(report: Report) -> tuple[float, float] | None:
    """Mean AUC of the static model and of the loop over the months that both have."""
    static, loop = series(report, "static_auc_by_month"), series(report, "loop_auc_by_month")
    both = [month for month in static if month in loop]
    if not both:
        return None
    return sum(static[m] for m in both) / len(both), sum(loop[m] for m in both) / len(both)


def months_compared(report: Report) -> str:
    """In which months the loop was better or worse by more than `NOISE`, in words; empty when there is nothing to compare."""
    static, loop = series(report, "static_auc_by_month"), series(report, "loop_auc_by_month")
    changes = {month: loop[month] - static[month] for month in static if month in loop}
    if not changes:
        return ""
    better = [month for month, change in changes.items() if change >= NOISE]
    worse = [month for month, change in changes.items() if change <= -NOISE]
    same = len(changes) - len(better) - len(worse)
    parts = [f"better in {_named(better)}"] if better else []
    parts += [f"worse in {_named(worse)}"] if worse else []
    parts += [f"level (within {NOISE}) in {counted(same, 'month')}"] if same else []
    return f"Month by month, the loop was {'; '.join(parts)}."


def _named(months: Sequence[str]) -> str:
    return ", ".join(f"{dt.datetime.strptime(month, '%Y-%m').replace(tzinfo=dt.UTC):%B}" for month in months)


def decisions(report: Report) -> list[Event]:
    """Alarms, retrains with their outcomes, and pointers set otherwise, oldest first."""
    retrained = {run.get("version") for run in report.get("retrains") or []} - {None}
    events = [*_alarms(report.get("alarms") or []), *_retrains(report)]
    events += [_moved(move) for move in report.get("promotions") or [] if move.get("version") not in retrained or _rolled_back(move)]
    events += [_refused(refusal) for refusal in report.get("refusals") or [] if refusal.get("version") not in retrained]
    return sorted(events, key=lambda event: moment(event.at).timestamp() if event.at else 0.0)


def _alarms(alarms: Iterable[Mapping[str, Any]]) -> list[Event]:
    """One event a time and bundle: metrics blamed together are one alarm."""
    together: dict[tuple[str, str], list[Mapping[str, Any]]] = defaultdict(list)
    for alarm in alarms:
        together[alarm["at"], str(alarm.get("bundle"))].append(alarm)
    events = []
    for (at, bundle), group in together.items():
        lines = list(dict.fromkeys(_sentence(a.get("message") or f"{kind_word(a.get('kind'))} {a.get('name')}") for a in group))
        events.append(Event(at, "alarm", f"Alarm on version {bundle}", lines, []))
    return events


def _retrains(report: Report) -> list[Event]:
    refused = {refusal.get("version"): refusal for refusal in report.get("refusals") or []}
    promoted = {move.get("version"): move for move in report.get("promotions") or []}
    events = []
    for run in report.get("retrains") or []:
        version, outcome = run.get("version"), run.get("outcome") or "abandoned"
        said = run.get("explanation") or promoted.get(version, {}).get("reason") or ""
        lines, details = _judgement(refused[version]) if outcome == "refused" and version in refused else ([_sentence(said)], [])
        title = f"Retrained: version {version} {outcome}" if version else f"Retrain {outcome}"
        why = f"Why: {(run.get('reason') or 'not said').strip().rstrip('.')}."
        events.append(Event(run["at"], outcome, title, [line for line in (why, *_cost(run), *lines) if line], details))
    return events


def _cost(run: Mapping[str, Any]) -> list[str]:
    rows, seconds = run.get("rows"), run.get("seconds")
    if not rows:
        return []
    return [f"Trained on {rows:,} rows" + (f" in {seconds:,.0f} s." if seconds else ".")]


def _judgement(refusal: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """Why a challenger was refused: in plain words where the figures allow, and the gate's own reasons."""
    reasons = [_sentence(reason) for reason in refusal.get("reasons") or []]
    gained = refusal.get("improvement") or {}
    if not all(finite(gained.get(key)) for key in ("estimate", "lower", "upper")):
        return reasons, []
    measure = refusal.get("metric") or "the metric"
    span = f"by {gained['estimate']:+.4f}, somewhere between {gained['lower']:+.4f} and {gained['upper']:+.4f}"
    if gained["upper"] <= 0:
        plain = f"The new model is worse: {measure} changed {span} (positive is better)."
    elif gained["lower"] <= 0:
        plain = f"The new model is not shown to be better: {measure} changed {span} (positive is better), which may be luck either way."
    else:
        plain = f"The new model is better at {measure}, {span}, but breaks another rule of the gate."
    return [plain], reasons


def _refused(refusal: Mapping[str, Any]) -> Event:
    lines, details = _judgement(refusal)
    return Event(refusal.get("at"), "refused", f"Version {refusal.get('version')} refused", lines, details)


def _rolled_back(move: Mapping[str, Any]) -> bool:
    return "roll" in str(move.get("reason")).lower()


def _moved(move: Mapping[str, Any]) -> Event:
    first = move.get("previous") is None
    title = f"First model: version {move.get('version')}" if first else f"Version {move.get('version')} put in charge by {move.get('by')}"
    return Event(move.get("at"), "moved", title, [_sentence(move["reason"])] if move.get("reason") else [], [])


def _sentence(text: str) -> str:
    """With a capital and a full stop; a column's or a metric's name keeps its own spelling."""
    text = text.strip()
    first = text.split(" ", 1)[0]
    if first.isalpha():
        text = text[:1].upper() + text[1:]
    return text + ("" if not text or text.endswith((".", "!", "?")) else ".")


def kind_word(kind: object) -> str:
    """A verdict's kind as people say it.

    >>> kind_word("feature_drift")
    'feature'
    """
    return {"feature_drift": "feature", "prediction_drift": "prediction"}.get(str(kind), str(kind))


def alarm_threshold(report: Report) -> float | None:
    """The evidence at which an alarm is raised, in windows; None when the report does not state its budget."""
    budget = report.get("budget") or {}
    spans = [parse_duration(budget.get(key)) for key in ("one_false_alarm_in", "window")]
    if not all(isinstance(span, dt.timedelta) and span for span in spans):
        return None
    return threshold_of(spans[0], spans[1])  # type: ignore[arg-type]


def drift_grid(report: Report) -> DriftGrid | None:
    """The ten metrics with the most evidence over at most forty spans of whole days; None when nothing was judged."""
    judged = [entry for entry in report.get("drift") or [] if entry.get("at")]
    if not judged:
        return None
    times = [moment(entry["at"]) for entry in judged]
    start = min(times).replace(hour=0, minute=0, second=0, microsecond=0)
    days = (max(times) - start).days + 1
    span = dt.timedelta(days=math.ceil(days / _MOST_COLUMNS))
    columns = math.ceil(days / span.days)
    scale = alarm_threshold(report) or max((float(e["evidence"]) for e in judged if finite(e.get("evidence"))), default=0.0) or 1.0
    metrics: dict[tuple[str, str], list[tuple[int, Mapping[str, Any]]]] = defaultdict(list)
    for at, entry in zip(times, judged, strict=True):
        metrics[str(entry.get("kind")), str(entry.get("name"))].append(((at - start) // span, entry))
    rows = [_row(kind, name, entries, columns, scale) for (kind, name), entries in metrics.items()]
    rows.sort(key=lambda row: (-len(row.alarms), -row.peak, row.name))
    return DriftGrid(start, span, columns, rows[:_TOP], len(rows), len(set(times)))


def _row(kind: str, name: str, entries: Sequence[tuple[int, Mapping[str, Any]]], columns: int, scale: float) -> DriftRow:
    shares: list[float | None] = [None] * columns
    peak, highest = -1.0, entries[0][1]
    for column, entry in entries:
        share = float(entry["evidence"]) / scale if finite(entry.get("evidence")) else 0.0
        shares[column] = max(share, shares[column] or 0.0)
        if share > peak:
            peak, highest = share, entry
    alarms = sorted({column for column, entry in entries if entry.get("alarm")})
    value, expected = highest.get("value"), highest.get("expected")
    return DriftRow(kind, name, shares, alarms, peak, highest["at"], value, expected, highest.get("unit") or "")
