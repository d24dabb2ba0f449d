"""The whole page as plain values that a template only lays out. Pure: facts in, views out.

Names are as they came; whoever lays them out escapes them.
"""

from __future__ import annotations

import datetime as dt
import math
from dataclasses import dataclass
from typing import Final

from cluster.records import Verdict
from monitoring.dashboard import alarms, watched, wording
from monitoring.dashboard.alarms import AlarmView, Evidence
from monitoring.dashboard.bundles import Importance
from monitoring.dashboard.decisions import Line, decisions
from monitoring.dashboard.facts import Facts
from monitoring.dashboard.figure import EVER, Figure, Span
from monitoring.dashboard.health import Health, judge, standing_alarms
from monitoring.dashboard.traffic import Minute
from monitoring.dashboard.watched import Newest, Series
from monitoring.fairness import FairnessReport
from monitoring.wording import count, percent

_HOUR: Final = 3600.0
_MOST_BARS: Final = 60
_MOST_IMPORTANT: Final = 10


@dataclass(frozen=True)
class Views:
    """Everything that is shown."""

    model: str
    health: Health
    figures: list[Figure]
    """What is read at a glance."""
    evidence: Evidence
    alarms: list[AlarmView]
    budget: str
    """One false alarm in how long."""
    newest: Newest | None
    minutes: tuple[Minute, ...]
    """Traffic; empty where the log does not hold all requests."""
    refused: int
    failed: int
    logs_all: bool
    rows: tuple[tuple[float, int], ...]
    series: list[Series]
    told: dict[str, dict[str, list[Verdict]]]
    """What is said beside the tests, by section and kind."""
    labels: list[Figure]
    cascade: str | None
    protected: tuple[str, ...]
    fairness: FairnessReport | None
    attribution: tuple[Verdict, ...]
    """Contributions of the features that count most, and of those that have changed, the largest first."""
    importance: tuple[Importance, ...]
    importance_loss: str
    decisions: list[Line]
    journal: list[Figure]
    problems: list[str]


def build(facts: Facts, span: Span = EVER, *, live: bool = True) -> Views:
    """All views of one moment.

    Parameters
    ----------
    span
        Windows that begin in it are shown.
    live
        Show traffic of the last hour and all decisions; otherwise those of `span`, on the machine's clock.
    """
    records = [record for record in facts.records if span.holds(record.window_start)]
    champion, clock = facts.champion, Span(facts.now - _HOUR, facts.now) if live else span
    minutes = _last_hour(facts) if live else _logged(facts, span)
    traffic = facts.traffic.total(clock.since, clock.until)
    explained = champion.explained if champion else None
    told = watched.by_section(watched.told(facts, records))
    return Views(
        model=facts.settings.model,
        health=judge(facts),
        figures=_figures(facts),
        evidence=alarms.evidence(records),
        alarms=alarms.alarm_views(facts, records),
        budget=wording.span(facts.settings.monitoring.one_false_alarm_in.total_seconds()),
        newest=watched.newest(facts, records),
        minutes=minutes if facts.logs_all else (),
        refused=traffic.refused,
        failed=traffic.failed,
        logs_all=facts.logs_all,
        rows=watched.rows_by_window(records),
        series=watched.series(facts, records),
        told=told,
        labels=watched.labels(facts, records),
        cascade=watched.cascade(facts),
        protected=facts.settings.columns.protected,
        fairness=champion.fairness if champion else None,
        attribution=watched.largest(told["explanations"].get("attribution", []), most=_MOST_IMPORTANT),
        importance=tuple(explained.importance[:_MOST_IMPORTANT]) if explained else (),
        importance_loss=explained.loss if explained else "",
        decisions=decisions([entry for entry in facts.decisions if live or span.holds(entry.written)]),
        journal=_journal(facts),
        problems=facts.problems,
    )


def span_of_days(facts: Facts, days: int | None) -> Span:
    """The last so many days of the rows' own time; None is all of it."""
    if days is None or not facts.records:
        return EVER
    newest = max(record.window_end for record in facts.records)
    return Span(newest - dt.timedelta(days=days).total_seconds())


def _figures(facts: Facts) -> list[Figure]:
    champion, pointers = facts.champion, facts.pointers
    named = f"version {facts.champion_version}" if facts.champion_version else "none"
    made = [Figure("champion", named, f"made on {champion.created[:10]}" if champion else "")]
    if pointers and pointers.challenger:
        made.append(
            Figure("challenger", f"version {pointers.challenger.version}", f"answers {percent(pointers.challenger_share)} of requests")
        )
    else:
        made.append(Figure("challenger", "none", "no version is on trial"))
    standing, total = len(standing_alarms(facts)), sum(record.alarm is not None for record in facts.records)
    made.append(Figure("alarms", f"{standing} standing" if standing else "none stands", f"{count(total)} in all"))
    made += _asked(facts)
    metric = watched.main_metric(facts)
    return made if metric is None else [*made, metric]


def _asked(facts: Facts) -> list[Figure]:
    """Traffic and latency where the log holds them, else rows."""
    if not facts.logs_all:
        rows = facts.number("rows") or sum(rows for _, rows in watched.rows_by_window(facts.records))
        return [Figure("rows answered", count(rows), "in all")]
    hour = facts.traffic.total(facts.now - _HOUR, facts.now)
    failed = f"{count(hour.failed)} failed" if hour.failed else "none failed"
    return [
        Figure("requests in the last hour", count(hour.answered), failed),
        Figure("median answer time", wording.milliseconds(hour.p50_s), f"1 in 100 takes over {wording.milliseconds(hour.p99_s)}"),
    ]


def _last_hour(facts: Facts) -> tuple[Minute, ...]:
    """By the minute; the one that is not over yet is left out. Nothing where nobody asked."""
    until = facts.now - facts.now % 60
    minutes = facts.traffic.minutes(until - _HOUR, until)
    return tuple(minutes) if any(minute.answered or minute.failed for minute in minutes) else ()


def _logged(facts: Facts, span: Span) -> tuple[Minute, ...]:
    """What the log holds of a span, in at most some 60 parts."""
    known = facts.traffic.span()
    if known is None or (since := max(span.since, known[0])) >= (until := min(span.until, known[1])):
        return ()
    return tuple(facts.traffic.minutes(since, until, step=max(1, math.ceil((until - since) / 60 / _MOST_BARS))))


def _journal(facts: Facts) -> list[Figure]:
    files = facts.journal
    day, _, clock = wording.moment(files.written).partition(", ") if files.written else ("", "", "never")
    made = [
        Figure("last written", f"{clock} UTC" if day else clock, day),
        Figure("size", wording.size(files.bytes), wording.plural(files.segments, "segment")),
    ]
    if facts.status is None:
        return made
    return [
        *made,
        Figure("not read yet", wording.size(facts.number("journal_lag_bytes")), "by the monitor"),
        Figure("rows", count(facts.number("rows")), f"{count(facts.number('rows_late'))} came after their window was judged"),
        Figure("labels", count(facts.number("label_entries")), f"{count(facts.number('labels_joined'))} joined to their rows"),
        Figure("rows unjudged", count(facts.number("rows_unjudged")), "of bundles that cannot be read"),
        Figure("failed looks", count(facts.number("errors")), "of the monitor, since it started"),
    ]
