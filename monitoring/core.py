"""The monitor without Ray: tails the journal, judges windows that are over, writes verdicts, rebuilds itself.

Truth is in the journal and the verdict log; everything here can be lost. A new `MonitorCore` reads both from the
beginning and stands where the old one stood: what it says depends on when entries were received, not on when it read them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

from cluster.records import Pointer
from cluster.settings import Settings
from monitoring.agreement import Audits
from monitoring.closings import NEVER, Closings
from monitoring.collector import Collector
from monitoring.impossible import rules_of
from monitoring.judging import Judge
from monitoring.library import Library
from monitoring.reading import Reading
from monitoring.remembered import Remembered
from monitoring.standing import standing
from monitoring.verdicts import LookKind, VerdictLog, WindowVerdicts
from monitoring.windows import Key, Window


class MonitorCore:
    """Watches one model.

    Parameters
    ----------
    settings
        The model's.
    locate
        Where a version's bundle is.
    cache
        Folder for bundles that lie in an object store; needed only then.
    """

    def __init__(self, settings: Settings, *, locate: Callable[[str], Pointer], cache: Path | None = None) -> None:
        places, model, watch = settings.places, settings.model, settings.monitoring
        lateness_s, delay_s = watch.lateness.total_seconds(), settings.columns.label.delay.total_seconds()
        self._model = model
        self._window_s = watch.window.total_seconds()
        self._waits_s = {"drift": lateness_s, "performance": lateness_s + delay_s}
        self._stated = dict.fromkeys((rule.name for rule in rules_of(settings.columns, settings.columns)), 0)
        self._closings = Closings(window_s=self._window_s, waits_s=self._waits_s)
        self._log = VerdictLog(places.verdicts(model))
        self._remembered = Remembered()
        for record in self._log.read():
            self._remembered.take(record)
        self._rows_logged = sum(record.rows for record in self._log.read() if record.look == "drift")  # read again, they are not late
        library = Library(settings, locate=locate, cache=cache or Path(places.work(model)) / "monitor")
        self._judge = Judge(settings, library, self._remembered)
        self._collector = Collector(
            library.view,
            window_s=self._window_s,
            accepts=self._remembered.accepts,
            closings=self._closings,
            slices_of=library.slices,
            rules_of=library.rules,
        )
        self._reading = Reading(places.journal(model), self._collector)

    @property
    def alarms(self) -> list[WindowVerdicts]:
        """Records that hold an alarm, in order of judging."""
        return self._remembered.alarms

    @property
    def told(self) -> list[WindowVerdicts]:
        """Records that somebody is to be told of: alarms, and impossible values that are news."""
        return self._remembered.told

    @property
    def latest(self) -> dict[tuple[str, str], WindowVerdicts]:
        """The last record with verdicts, by bundle and look."""
        return self._remembered.latest

    @property
    def impossible(self) -> dict[str, int]:
        """Values that cannot be, of all judged windows, by rule of the YAML (`monitoring.impossible`); 0 for one that was never broken."""
        return self._stated | self._remembered.impossible

    def standing(self, version: str) -> list[WindowVerdicts]:
        """Alarms about a bundle that still stand, the newest first."""
        mine = [record for record in self.alarms if record.bundle == version]
        return standing(mine, self._remembered.ends.get(version, 0.0), window_s=self._window_s)

    def poll(self) -> None:
        """Take in what the journal has gained and judge the windows that are over.

        Raises
        ------
        JournalCorrupt, StorageError, RegistryError
            Nothing is lost: the next call takes up where this one failed.
        """
        self._reading.read_all()
        until = self._closings.watermark
        if self._due_windows(until):
            self._reading.read_all()  # segments are not read at one moment: what was written before what closes a window is here now
        self._collector.forget_early()
        self._judge_all(until)

    def catch_up(self) -> dict[str, object]:
        """Process all that has been written so far; returns the status."""
        self.poll()
        return self.status()

    def status(self) -> dict[str, object]:
        """Counts and marks, JSON-compatible."""
        joined, waiting = self._collector.joined()
        newest = max(self.latest.values(), key=lambda record: record.sequence, default=None)
        watermark = self._closings.watermark
        return {
            "model": self._model,
            "rows": self._collector.rows,
            "rows_late": max(self._collector.rows_late - self._rows_logged, 0),
            "rows_unjudged": self._collector.rows_unjudged,
            "label_entries": self._collector.label_entries,
            "rows_audited": self._collector.rows_audited,
            "labels_joined": self._remembered.labelled + joined,
            "labels_waiting": waiting,
            "watermark": watermark if math.isfinite(watermark) else None,
            "windows_judged": self._remembered.windows,
            "windows_open": len(self._collector.windows),
            "looks": self._remembered.sequence,
            "alarms": len(self.alarms),
            "impossible_values": self._remembered.impossible.total(),
            "journal_lag_bytes": self._reading.lag(),
            "bundle": newest.bundle if newest else None,
        }

    def _judge_all(self, until: float) -> None:
        for _, key, look in self._due_windows(until):
            self._remembered.take(self._log.append(self._look(key, look)))
            self._collector.close(key, look)

    def _look(self, key: Key, look: LookKind) -> WindowVerdicts:
        collector, rows = self._collector, self._collector.rows_of(key, look)
        if look == "drift":
            return self._judge.once_over(key, collector.windows[key], rows, collector.audits.get(key, Audits()))
        return self._judge.once_labelled(key, collector.labels.get(key, Window()), rows)

    def _due_windows(self, until: float) -> list[tuple[float, Key, LookKind]]:
        """In order of due time, so that the verdicts do not depend on how often the journal was read."""
        due: list[tuple[float, Key, LookKind]] = [(self._due(key, "drift"), key, "drift") for key in self._collector.windows]
        due += [(self._due(key, "performance"), key, "performance") for key in self._collector.labels]
        return sorted((when, key, look) for when, key, look in due if when <= until and self._closings.of(key.start, look) < NEVER)

    def _due(self, key: Key, look: str) -> float:
        return key.start + self._window_s + self._waits_s[look]
