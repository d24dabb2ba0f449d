"""What is said of a window beside the tested metrics, and what is remembered of a bundle between windows to say it. Pure."""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from cluster.records import Record
from monitoring.agreement import Audits
from monitoring.confidence import Course


class Figure(NamedTuple):
    """One figure, with its bounds where there are any. Becomes a `cluster.records.Verdict`."""

    kind: str
    name: str
    value: float | None
    unit: str
    rows: int
    expected: float | None = None
    lower: float | None = None
    upper: float | None = None
    alarm: bool = False
    message: str = ""


class Live(Record, frozen=True, kw_only=True):
    """What is remembered of one bundle; kept in each record of the verdict log."""

    courses: dict[str, Course] = msgspec.field(default_factory=dict)
    """Means over windows, by what they are of."""
    counts: dict[str, Audits] = msgspec.field(default_factory=dict)
    """Rows tried since the bundle's start, and those that differed, by what was tried."""
    reaches: dict[str, tuple[float, float]] = msgspec.field(default_factory=dict)
    """Of windows whose labels are awaited, by start: how far they lie from the reference (`monitoring.reach.Reach`)."""

    def seen(self, key: str, figure: float) -> Live:
        """With one more window of a course."""
        return msgspec.structs.replace(self, courses=self.courses | {key: self.courses.get(key, Course()).then(figure)})

    def tried(self, key: str, found: Audits) -> Live:
        """With more rows of a count."""
        return msgspec.structs.replace(self, counts=self.counts | {key: self.counts.get(key, Audits()) + found})

    def lies(self, start: float, reach: tuple[float, float]) -> Live:
        """With a window whose labels are still to come."""
        return msgspec.structs.replace(self, reaches=self.reaches | {f"{start:.0f}": reach})

    def labelled(self, start: float) -> Live:
        """Without a window whose labels are in."""
        return msgspec.structs.replace(self, reaches={key: reach for key, reach in self.reaches.items() if key != f"{start:.0f}"})
