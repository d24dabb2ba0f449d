"""What a replica did, one tuple a request: noted on the hot path, read off it by whoever exports it. Pure."""

from __future__ import annotations

from typing import NamedTuple


class Event(NamedTuple):
    """One request that was answered."""

    time: float
    """Seconds since 1970 when it was begun."""
    model: str
    """Empty when the request named none that is served."""
    route: str
    """Of the table, never the path as sent: that would be as many series as callers like."""
    method: str
    status: int
    seconds: float
    bundle: str
    """Empty when no rows were answered."""
    student: int
    """Rows the student answered."""
    ensemble: int
    """Rows the ensemble answered."""
    degraded: int
    """Rows the student answered in the ensemble's place."""


class Swap(NamedTuple):
    """A bundle that began to answer."""

    model: str
    role: str
    version: str
    seconds: float
    """From the look at the pointer to the first request it may answer."""


class Meter:
    """Collects events until they are drained. One thread appends, another drains: both are single operations on a list."""

    def __init__(self) -> None:
        self._events: list[Event] = []
        self.note = self._events.append

    def drain(self) -> list[Event]:
        """All events noted since the last call."""
        events = self._events
        taken = events[: len(events)]
        del events[: len(taken)]
        return taken


def answered_by(event: Event) -> str:
    """Who answered a request: `student`, `ensemble`, `both`, `degraded`, or `nobody` when it holds no rows."""
    if event.degraded:
        return "degraded"
    if event.ensemble:
        return "both" if event.student else "ensemble"
    return "student" if event.student else "nobody"
