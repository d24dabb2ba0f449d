"""Alarms with their evidence, and how the evidence went, for the page. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from cluster.records import Verdict
from monitoring.dashboard import wording
from monitoring.dashboard.facts import Facts
from monitoring.dashboard.health import standing_alarms
from monitoring.dashboard.spread import Spread, spreads
from monitoring.verdicts import WindowVerdicts

_MOST_SHOWN: Final = 5


class AlarmView(NamedTuple):
    """An alarm, told once or more often: while a change lasts, the same is blamed again."""

    id: str
    headline: str
    raised: float
    """End of the window that raised it, the last time."""
    told: int
    """How often in the span that is shown."""
    first: float
    """When it was raised the first time."""
    began: float
    bundle: str
    rows: int
    evidence: float
    threshold: float
    message: str
    harm: str
    """What it probably costs; empty where that was not told."""
    stands: bool
    verdicts: list[Verdict]
    """Of the metrics that are blamed, in that window."""
    spreads: list[Spread]
    """Of the columns that are blamed, where their cells were kept and the bundle can be read."""


class Evidence(NamedTuple):
    """Evidence over windows, as shares of what raises an alarm."""

    times: tuple[float, ...]
    shares: tuple[float, ...]
    alarms: tuple[float, ...]


def evidence(records: Sequence[WindowVerdicts]) -> Evidence:
    """By the end of each judged window; where several bundles or looks were judged, the most."""
    judged = [record for record in records if record.verdicts and record.threshold]
    most: dict[float, float] = {}
    for record in judged:
        most[record.window_end] = max(record.evidence / record.threshold, most.get(record.window_end, 0.0))
    times = tuple(sorted(most))
    alarms = sorted({record.window_end for record in judged if record.alarm is not None})
    return Evidence(times, tuple(most[at] for at in times), tuple(alarms))


def alarm_views(facts: Facts, records: Sequence[WindowVerdicts]) -> list[AlarmView]:
    """What was blamed most recently first."""
    standing = {record.file_name for record in standing_alarms(facts)}
    groups: dict[tuple[str, frozenset[str]], list[WindowVerdicts]] = {}
    for record in reversed(records):
        if record.alarm is not None:
            groups.setdefault((record.bundle, frozenset(record.alarm.blamed)), []).append(record)
    return [_view(facts, group, stands=group[0].file_name in standing) for group in list(groups.values())[:_MOST_SHOWN]]


def _view(facts: Facts, group: Sequence[WindowVerdicts], *, stands: bool) -> AlarmView:
    record = group[0]
    alarm, bundle = record.alarm, facts.bundles.get(record.bundle)
    assert alarm is not None
    began = min(one.alarm.began for one in group if one.alarm is not None)
    headline = f"{wording.blamed(alarm.blamed)} since {wording.date(began)}"
    return AlarmView(
        id=f"alarm-{record.sequence}",
        headline=headline[:1].upper() + headline[1:],
        raised=record.window_end,
        told=len(group),
        first=group[-1].window_end,
        began=began,
        bundle=record.bundle,
        rows=record.rows,
        evidence=alarm.evidence,
        threshold=alarm.threshold,
        message=wording.sentence(alarm.message),
        harm=wording.sentence(record.harm.told) if record.harm else "",
        stands=stands,
        verdicts=[verdict for verdict in record.verdicts if f"{verdict.kind}:{verdict.name}" in alarm.blamed],
        spreads=spreads(bundle.profile, record.cells) if bundle and bundle.profile else [],
    )
