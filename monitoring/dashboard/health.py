"""Is the model well? One sentence and its reason, from the facts alone; the first thing on the page. Pure.

What is bad is said before what is unknown: an alarm that stands does not become doubtful because rows stopped coming.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Sequence
from typing import Final, Literal, NamedTuple

from cluster.records import Verdict
from monitoring.dashboard.facts import Facts
from monitoring.dashboard.watched import told
from monitoring.dashboard.wording import ago, blamed, date, kind, plural, sentence, span
from monitoring.standing import standing
from monitoring.verdicts import WindowVerdicts
from monitoring.wording import count, name, percent

_BEHIND_BYTES: Final = 32 << 20
"""Of the journal, not read yet; what the monitor reads at one look."""
_SILENT_WINDOWS: Final = 2
_FEWEST_REQUESTS: Final = 20
_FAILING: Final = 0.01
_HOUR: Final = 3600.0

State = Literal["well", "look", "unknown"]


class Health(NamedTuple):
    """The verdict on the model."""

    state: State
    headline: str
    reasons: list[str]
    """Sentences, the weightiest first."""


def judge(facts: Facts) -> Health:
    """The verdict: `look` when something needs a person, `unknown` when nobody can say, else `well`."""
    bad, blind = list(_bad(facts)), list(_blind(facts))
    if bad:
        return Health("look", f"Look: {bad[0][0]}", [reason for _, reason in bad] + [f"Also, {said}." for said, _ in blind])
    if blind:
        return Health("unknown", f"Cannot tell: {blind[0][0]}", [reason for _, reason in blind])
    return Health("well", "Well", [_calm(facts)])


def standing_alarms(facts: Facts) -> list[WindowVerdicts]:
    """Alarms about the champion that still stand, the newest first."""
    mine = [record for record in facts.records if record.bundle == facts.champion_version]
    newest = max((record.window_end for record in mine), default=0.0)
    return standing(mine, newest, window_s=facts.settings.monitoring.window.total_seconds())


def _bad(facts: Facts) -> Iterator[tuple[str, str]]:
    """What is said after "Look:", and why."""
    if facts.problems:
        yield "some of its records cannot be read", f"{facts.problems[0]}."
    hour = facts.traffic.total(facts.now - _HOUR, facts.now)
    asked = hour.answered + hour.failed
    if facts.logs_all and asked >= _FEWEST_REQUESTS and hour.failed > _FAILING * asked:
        yield (
            f"{percent(hour.failed / asked)} of requests fail",
            f"In the last hour {count(hour.failed)} of {count(asked)} requests failed.",
        )
    for verdict in told(facts, facts.records):
        if verdict.alarm:  # outside the budget: a limit of the YAML, each with a confidence of its own
            yield _broken(verdict), sentence(f"{kind(verdict.kind)}, {name(verdict.name)}: {verdict.message or 'it breaks its limit'}")
    if alarms := standing_alarms(facts):
        yield _alarmed(alarms), _why(alarms)


def _broken(verdict: Verdict) -> str:
    """What a broken limit means, in a few words."""
    known = {
        "fairness": "groups are treated too differently",
        "correctness": f"it fails the check '{verdict.name}'",
        "data_quality": f"{verdict.name.rpartition('.')[0]} holds values that cannot be",
        "attribution": f"its answers rest on {verdict.name} otherwise than they did",
    }
    return known.get(verdict.kind, f"{kind(verdict.kind)} {name(verdict.name)} breaks its limit")


def _alarmed(alarms: Sequence[WindowVerdicts]) -> str:
    """All that standing alarms blame, since the first of it began."""
    told = [record.alarm for record in alarms if record.alarm is not None]
    keys = dict.fromkeys(key for alarm in told for key in alarm.blamed)
    return f"{blamed(list(keys))} since {date(min(alarm.began for alarm in told))}"


def _why(alarms: Sequence[WindowVerdicts]) -> str:
    newest, more = alarms[0].alarm, len(alarms) - 1
    assert newest is not None
    others = f" {plural(more, 'earlier alarm')} {'stands' if more == 1 else 'stand'} too." if more else ""
    return f"{sentence(newest.message)}{others}"


def _blind(facts: Facts) -> Iterator[tuple[str, str]]:
    """What is said after "Cannot tell:", and why."""
    if facts.champion_version is None and not facts.problems:
        yield "there is no champion", "No version has been promoted, so nothing answers and nothing is watched."
        return
    behind = facts.number("journal_lag_bytes")
    if behind > _BEHIND_BYTES:
        yield "the monitor is behind", f"{behind / (1 << 20):,.0f} MiB of the journal have not been read yet."
    yield from _silence(facts)
    yield from _unjudged(facts)


def _silence(facts: Facts) -> Iterator[tuple[str, str]]:
    window = facts.settings.monitoring.window
    if facts.journal.written is None:
        yield "nothing has been asked of it yet", "The journal is empty."
    elif (silent_s := facts.now - facts.journal.written) > _SILENT_WINDOWS * window.total_seconds():
        yield f"no rows for {span(silent_s)}", f"The last row came {ago(silent_s)}; a window is {span(window.total_seconds())}."


def _unjudged(facts: Facts) -> Iterator[tuple[str, str]]:
    mine = [record for record in facts.records if record.bundle == facts.champion_version and record.look == "drift"]
    if facts.journal.written is None:
        return
    if not mine:
        wait: dt.timedelta = facts.settings.monitoring.window + facts.settings.monitoring.lateness
        yield (
            f"no window of version {facts.champion_version} has been judged yet",
            f"A window is judged once rows {span(wait.total_seconds())} past its beginning have come.",
        )
    elif not mine[-1].is_judged:
        least = facts.settings.monitoring.min_rows
        yield (
            "too few rows",
            f"The last window had {plural(mine[-1].rows, 'row')}; fewer than {count(least)} are not judged (monitoring.min_rows).",
        )


def _calm(facts: Facts) -> str:
    mine = [record for record in facts.records if record.bundle == facts.champion_version]
    judged = sum(record.look == "drift" and record.is_judged for record in mine)
    last = max(mine, key=lambda record: record.sequence)
    part = last.evidence / last.threshold if last.threshold else 0.0
    return (
        f"No alarm about version {facts.champion_version} stands after {plural(judged, 'window')}; "
        f"the evidence of change is at {percent(part)} of what raises one."
    )
