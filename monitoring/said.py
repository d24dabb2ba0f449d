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
    e_value: float = 1.0
    evidence: float = 0.0


class Trail(Record, frozen=True, kw_only=True):
    """What is remembered of how large one feature's contributions are, from window to window (`monitoring.reasons`)."""

    previous: float | None = None
    """The standardised figure of the window before; None: there was none."""
    evidence: float = 0.0
    """Of a change, against a limit for the mean over features."""
    rest: int = 0
    """Windows for which it still stands that this feature has changed; meanwhile nothing gathers."""

    def then(self, standardised: float, e_value: float) -> Trail:
        """With one more window."""
        evidence = 0.0 if self.rest else (self.evidence + 1.0) * e_value
        return Trail(previous=standardised, evidence=evidence, rest=max(self.rest - 1, 0))

    def told(self, rest: int) -> Trail:
        """After a change was found, in this feature (`rest` above 0) or in others."""
        return Trail(previous=self.previous, rest=max(rest, self.rest))


class Live(Record, frozen=True, kw_only=True):
    """What is remembered of one bundle; kept in each record of the verdict log."""

    courses: dict[str, Course] = msgspec.field(default_factory=dict)
    """Means over windows, by what they are of."""
    counts: dict[str, Audits] = msgspec.field(default_factory=dict)
    """Rows tried since the bundle's start, and those that differed, by what was tried."""
    reaches: dict[str, tuple[float, float]] = msgspec.field(default_factory=dict)
    """Of windows whose labels are awaited, by start: how far they lie from the reference (`monitoring.reach.Reach`)."""

    faults: dict[str, float] = msgspec.field(default_factory=dict)
    """By rule of `monitoring.impossible`, the start of the last window that broke it."""
    trails: dict[str, Trail] = msgspec.field(default_factory=dict)
    """By feature, how large its contributions were."""

    def seen(self, key: str, figure: float) -> Live:
        """With one more window of a course."""
        return msgspec.structs.replace(self, courses=self.courses | {key: self.courses.get(key, Course()).then(figure)})

    def tried(self, key: str, found: Audits) -> Live:
        """With more rows of a count."""
        return msgspec.structs.replace(self, counts=self.counts | {key: self.counts.get(key, Audits()) + found})

    def faulted(self, rule: str, start: float) -> Live:
        """With a window that broke a rule."""
        return msgspec.structs.replace(self, faults=self.faults | {rule: start})

    def followed(self, trails: dict[str, Trail]) -> Live:
        """With one more window of attributions."""
        return msgspec.structs.replace(self, trails=trails)

    def lies(self, start: float, reach: tuple[float, float]) -> Live:
        """With a window whose labels are still to come."""
        return msgspec.structs.replace(self, reaches=self.reaches | {f"{start:.0f}": reach})

    def labelled(self, start: float) -> Live:
        """Without a window whose labels are in."""
        return msgspec.structs.replace(self, reaches={key: reach for key, reach in self.reaches.items() if key != f"{start:.0f}"})
