"""The ledger as sentences: who or what decided what, and why. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal, NamedTuple

from cluster.ledger import Attempt, Closed, Event, Judged, Trained
from cluster.records import GateVerdict, Promotion, RetrainRequest
from monitoring.dashboard.facts import Decision
from monitoring.dashboard.wording import plural, span
from monitoring.wording import number, percent

Tone = Literal["good", "bad", ""]
_OUTCOMES: Final[dict[str, Tone]] = {"promoted": "good", "refused": "bad", "abandoned": "bad"}


class Line(NamedTuple):
    """One decision."""

    number: int
    written: float
    title: str
    text: str
    tone: Tone = ""
    more: tuple[str, ...] = ()
    """What a person may want to look up."""


def decisions(entries: Sequence[Decision]) -> list[Line]:
    """The newest first."""
    return [_line(entry) for entry in reversed(entries)]


def _line(entry: Decision) -> Line:
    title, text, tone, more = _told(entry.event)
    return Line(entry.number, entry.written, title, text, tone, tuple(more))


def _told(event: Event) -> tuple[str, str, Tone, list[str]]:
    match event:
        case Promotion():
            return _promoted(event)
        case RetrainRequest():
            return "Retrain asked for", event.reason, "", [f"run {event.run}"]
        case Attempt():
            return f"Attempt {event.number}", f"of run {event.run}", "", []
        case Trained():
            return f"Version {event.version} trained", f"on {plural(event.rows, 'row')}, in {span(event.seconds)}", "", [f"run {event.run}"]
        case Judged():
            return _judged(event.version, event.champion, event.verdict)
        case Closed():
            return f"Run {event.outcome}", event.reason, _OUTCOMES.get(event.outcome, ""), [f"run {event.run}"]


def _promoted(event: Promotion) -> tuple[str, str, Tone, list[str]]:
    why = f"{event.reason}, by {event.by}"
    if event.version is None:
        return f"Version {event.previous} is {event.pointer} no more", why, "", []
    share = "" if event.share is None else f", for {percent(event.share)} of requests"
    instead = f" instead of {event.previous}" if event.previous else ""
    tone: Tone = "good" if event.pointer == "champion" else ""
    return f"Version {event.version} became {event.pointer}{instead}{share}", why, tone, []


def _judged(version: str, champion: str, verdict: GateVerdict) -> tuple[str, str, Tone, list[str]]:
    told = f"{verdict.metric}: version {champion} {number(verdict.champion)}, version {version} {number(verdict.challenger)}"
    tone: Tone = "good" if verdict.passed else "bad"
    passed = "passed" if verdict.passed else "refused by"
    return f"Version {version} {passed} the gate", f"{told}, on {plural(verdict.rows, 'row')}", tone, list(verdict.reasons)
