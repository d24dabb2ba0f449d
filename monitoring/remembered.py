"""What a monitor knows from the verdict log alone: what has been judged, how far the tests have got, what was told. Pure."""

from __future__ import annotations

import math
from collections import Counter

from monitoring import drift, impossible
from monitoring.said import Live
from monitoring.verdicts import WindowVerdicts
from monitoring.windows import Key


class Remembered:
    """Grows by records, in order of judging."""

    def __init__(self) -> None:
        self._judged: set[tuple[Key, str]] = set()
        self._through: dict[str, float] = {"drift": -math.inf, "performance": -math.inf}
        self._states: dict[str, drift.State] = {}
        self._live: dict[str, Live] = {}
        """By bundle, in the order in which they were first judged."""
        self.sequence = 0
        """Of the next record."""
        self.labelled = 0
        """Labelled rows that were judged."""
        self.impossible = Counter[str]()
        """Values that cannot be, of all judged windows, by rule."""
        self.ends: dict[str, float] = {}
        """By bundle, the end of its newest window."""
        self.alarms: list[WindowVerdicts] = []
        self.told: list[WindowVerdicts] = []
        """Records that somebody is to be told of: alarms, and impossible values that are news."""
        self.latest: dict[tuple[str, str], WindowVerdicts] = {}
        """The last record with verdicts on a distribution, by bundle and look."""

    @property
    def windows(self) -> int:
        """Windows judged for drift."""
        return sum(look == "drift" for _, look in self._judged)

    def accepts(self, key: Key, look: str) -> bool:
        """Whether a window has not been judged at a look, and none after it."""
        return key.start >= self._through[look] and (key, look) not in self._judged

    def state(self, version: str) -> drift.State:
        """A bundle's detectors."""
        return self._states.get(version, drift.State())

    def live(self, version: str) -> Live:
        """What is remembered of a bundle beside them."""
        return self._live.get(version, Live())

    def before(self, version: str) -> str | None:
        """The bundle that was first judged just before this one."""
        order = list(self._live)
        place = order.index(version) if version in order else len(order)
        return order[place - 1] if place else None

    def take(self, record: WindowVerdicts) -> None:
        """One more record; one that is known changes nothing."""
        key = Key(record.window_start, record.bundle)
        if (key, record.look) in self._judged:
            return
        self._judged.add((key, record.look))
        self._through[record.look] = max(self._through[record.look], record.window_start)
        self.sequence = max(self.sequence, record.sequence + 1)
        self._states[record.bundle] = record.state
        self._live[record.bundle] = record.live
        self.labelled += record.labelled
        self.impossible.update(impossible.values_of(record.verdicts))
        self.ends[record.bundle] = max(self.ends.get(record.bundle, -math.inf), record.window_end)
        if record.alarm is not None:
            self.alarms.append(record)
        if record.is_told:
            self.told.append(record)
        if record.is_judged:
            self.latest[record.bundle, record.look] = record
