"""The page a person reads after the demo: one HTML file that needs nothing but itself.

Made from the same dict that is written as `report.json`. What is missing from it is left out of the page.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from cluster.schema import parse_duration
from training.demo import charts, digest
from training.demo.digest import Report, finite

_STAGES: Final = {
    "train": "train the first model",
    "serve": "start the service",
    "replay": "replay the flights",
    "retrain": "of it, retrain and judge",
    "report": "write this report",
    "total": "in all",
}
_DASH: Final = "–"


def render(report: Report) -> str:
    """The page as HTML; the same report gives the same bytes.

    Parameters
    ----------
    report
        The figures of one run, as written to `report.json`; lists may be empty and months missing.
    """
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {
        "figure": figure,
        "percent": percent,
        "day": day,
        "month": month,
        "seconds": seconds,
        "milliseconds": milliseconds,
        "kind": digest.kind_word,
        "span": span,
    }
    return environment.get_template("page.html").render(**_view(report))


def _view(report: Report) -> dict[str, Any]:
    grid = digest.drift_grid(report)
    return {
        "model": report.get("model") or "model",
        "generated": report.get("generated") or "",
        "headline": digest.headline(report),
        "months_compared": digest.months_compared(report),
        "key_figures": list(_key_figures(report)),
        "months": _months(report),
        "decisions": digest.decisions(report),
        "grid": grid,
        "threshold": digest.alarm_threshold(report),
        "budget": report.get("budget") or {},
        "charts": _charts(report, grid),
        "serving": list(_serving(report)),
        "bundles": report.get("bundles") or [],
        "metrics": sorted({name for bundle in report.get("bundles") or [] for name in bundle.get("metrics") or {}}),
        "wall": [(_STAGES.get(stage, stage), value) for stage, value in (report.get("wall_s") or {}).items() if finite(value)],
        "peak_memory_mib": report.get("peak_memory_mib"),
    }


def _key_figures(report: Report) -> Iterator[tuple[str, str, str]]:
    """Figure, what it counts, and `good`, `bad` or nothing."""
    for key, name in (("http_errors", "failed requests"), ("acknowledged_not_in_journal", "acknowledged rows lost")):
        count = report.get(key) or 0
        yield f"{count:,}", name, "bad" if count else "good"
    if means := digest.mean_auc(report):
        yield f"{means[1] - means[0]:+.3f}", f"mean monthly AUC by retraining: {means[0]:.3f} became {means[1]:.3f}", ""
    alarms = sum(event.kind == "alarm" for event in digest.decisions(report))
    yield f"{alarms:,}", "drift alarm" if alarms == 1 else "drift alarms", ""
    outcomes = [run.get("outcome") for run in report.get("retrains") or []]
    judged = [
        f"{outcomes.count(outcome)} {outcome}" for outcome in ("promoted", "refused", "abandoned", "under way") if outcome in outcomes
    ]
    yield f"{len(outcomes):,}", "retrain" + ("" if len(outcomes) == 1 else "s") + (f": {', '.join(judged)}" if judged else ""), ""
    p50 = (report.get("latency_ms") or {}).get("p50")
    if finite(p50):
        yield milliseconds(p50), "median answer time", ""


def _months(report: Report) -> list[dict[str, Any]]:
    columns = {key: digest.series(report, f"{key}_by_month") for key in ("rows", "late_rate", "static_auc", "loop_auc")}
    months = sorted({month for values in columns.values() for month in values})
    return [{"month": month} | {key: values.get(month) for key, values in columns.items()} for month in months]


def _charts(report: Report, grid: digest.DriftGrid | None) -> dict[str, list[str]]:
    """Each chart in a wide and a narrow drawing; the page shows the one that fits."""
    static, loop = digest.series(report, "static_auc_by_month"), digest.series(report, "loop_auc_by_month")
    late = digest.series(report, "late_rate_by_month")
    promotions = [(p["at"], str(p.get("version"))) for p in report.get("promotions") or [] if p.get("at") and p.get("previous") is not None]
    refusals = [(r["at"], str(r.get("version"))) for r in report.get("refusals") or [] if r.get("at")]
    made: dict[str, list[str]] = {}
    for layout in (charts.WIDE, charts.NARROW):
        if static or loop:
            made.setdefault("auc", []).append(charts.auc_by_month(static, loop, promotions, refusals, layout))
        if late:
            made.setdefault("late", []).append(charts.late_rate_by_month(late, layout))
        if grid:
            made.setdefault("drift", []).append(charts.drift_map(grid, promotions, layout))
    return made


def _serving(report: Report) -> Iterator[tuple[str, str, str]]:
    """Name, figure and what it means."""
    latency, cascade = report.get("latency_ms") or {}, report.get("cascade") or {}
    rows: list[tuple[str, object, Callable[[Any], str], str]] = [
        ("Requests", report.get("requests"), _count, "HTTP requests sent by the replay; each carries one or many rows."),
        ("Rows served", report.get("rows_served"), _count, "Rows that got a prediction."),
        ("Failed requests", report.get("http_errors"), _count, "Requests answered with an error or not at all."),
        (
            "Acknowledged, not in the journal",
            report.get("acknowledged_not_in_journal"),
            _count,
            "An answer leaves only once its rows are in the journal, so this must be 0.",
        ),
        ("Labels joined", report.get("labels_joined"), _count, "True outcomes that arrived later and found their prediction."),
        ("Median answer time", latency.get("p50"), milliseconds, "Half of the requests were answered faster."),
        ("99th percentile", latency.get("p99"), milliseconds, "One request in a hundred took longer."),
        ("Slowest answer", latency.get("max"), milliseconds, "The longest anyone waited."),
        (
            "Answered by the student",
            cascade.get("student_share"),
            percent,
            "The small distilled model answers when it is sure; the ensemble answers the rest. This saves computing.",
        ),
        ("Agreement with the ensemble", cascade.get("agreement"), percent, "Of the rows compared, how often both models decide the same."),
    ]
    return ((name, write(value), meaning) for name, value, write, meaning in rows if finite(value))


def _count(value: int) -> str:
    return f"{value:,}"


def figure(value: object, digits: int = 3) -> str:
    """A number with fixed digits; a dash when there is none."""
    return f"{value:,.{digits}f}" if finite(value) else _DASH


def percent(value: Any) -> str:
    """A share as a percentage with one digit.

    >>> percent(0.256)
    '25.6 %'
    """
    return f"{100 * value:.1f} %" if finite(value) else _DASH


def milliseconds(value: Any) -> str:
    """Milliseconds in the unit a person would choose.

    >>> milliseconds(4.2), milliseconds(1500)
    ('4.2 ms', '1.5 s')
    """
    if not finite(value):
        return _DASH
    return f"{value / 1000:.1f} s" if value >= 1000 else f"{value:.1f} ms"


def seconds(value: Any) -> str:
    """Seconds, in minutes from two minutes on.

    >>> seconds(8.04), seconds(385)
    ('8.0 s', '6 min 25 s')
    """
    if value < 120:
        return f"{value:.1f} s"
    minutes, rest = divmod(round(value), 60)
    return f"{minutes} min {rest} s"


def span(text: Any) -> str:
    """A duration of the settings in words; what is none is shown as it is.

    >>> span("180d"), span("1d"), span("6h")
    ('180 days', '1 day', '6h')
    """
    length = parse_duration(text)
    if not isinstance(length, dt.timedelta) or length % dt.timedelta(days=1):
        return str(text)
    return f"{length.days} day" + ("" if length.days == 1 else "s")


def day(text: str) -> str:
    """The day of an ISO 8601 time.

    >>> day("2013-05-04T06:00:00Z")
    '4 May 2013'
    """
    at = digest.moment(text)
    return f"{at.day} {at:%b %Y}"


def month(text: str) -> str:
    """A month in words.

    >>> month("2013-04")
    'April 2013'
    """
    return f"{digest.moment(text + '-01'):%B %Y}"
