"""The monitor without Ray: tails the journal, judges windows that are over, writes verdicts, rebuilds itself.

Truth is in the journal and the verdict log; everything here can be lost. A new `MonitorCore` reads both from the
beginning and stands where the old one stood: what it says depends on when entries were received, not on when it read them.
"""

from __future__ import annotations

import copy
import gc
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final
from zlib import crc32

import msgspec
import numpy as np

from cluster import storage
from cluster.bundle import Bundle
from cluster.journal import FRAME_OVERHEAD, Entry, Tail
from cluster.records import Pointer, Verdict
from cluster.settings import Settings
from monitoring import brought, drift, harm, impossible, live, looks, performance, view
from monitoring.agreement import Audits, Promise
from monitoring.brought import Brought, Models
from monitoring.closings import NEVER, Closings
from monitoring.collector import Collector, Key, Rows, Window
from monitoring.impossible import Rule
from monitoring.said import Figure, Live
from monitoring.sketches import Summary
from monitoring.slices import Slice
from monitoring.verdicts import LookKind, VerdictLog, WindowVerdicts

_CHUNK_BYTES: Final = 32 << 20
_CHUNK_FRAMES: Final = 10_000
_BESIDE: Final = ("cascade", impossible.KIND)


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
        self._settings = settings
        self._model = settings.model
        self._monitoring = settings.monitoring
        self._window_s = settings.monitoring.window.total_seconds()
        lateness_s, delay_s = settings.monitoring.lateness.total_seconds(), settings.columns.label.delay.total_seconds()
        self._waits_s = {"drift": lateness_s, "performance": lateness_s + delay_s}
        self._closings = Closings(window_s=self._window_s, waits_s=self._waits_s)
        self._threshold = drift.threshold_of(settings.monitoring.one_false_alarm_in, settings.monitoring.window)
        self._is_audited = settings.serving.cascade.audit_share > 0
        self._locate = locate
        self._cache = cache or Path(settings.places.work(settings.model)) / "monitor"
        self._views: dict[str, view.View] = {}
        self._brought: dict[str, Brought] = {}
        self._pointers: dict[str, Pointer] = {}
        self._models = Models(self._pointer, self._cache)
        self._journal = settings.places.journal(settings.model)
        self._tail = Tail(self._journal)
        self._scout: Tail | None = None
        self._read_to: dict[str, int] = {}
        self._unread: list[Entry] = []
        self._log = VerdictLog(settings.places.verdicts(settings.model))
        self._states: dict[str, drift.State] = {}
        self._live: dict[str, Live] = {}
        """By bundle, in the order in which they were first judged."""
        self._through: dict[str, float] = {"drift": -math.inf, "performance": -math.inf}
        self._judged: set[tuple[Key, str]] = set()
        self._sequence = 0
        self._joined = 0
        self._rules: dict[str, tuple[Rule, ...]] = {}
        self._impossible = 0
        self.alarms: list[WindowVerdicts] = []
        self.told: list[WindowVerdicts] = []
        """Records that somebody is to be told of: alarms, and impossible values that are news."""
        self.latest: dict[tuple[str, str], WindowVerdicts] = {}
        """The last record with verdicts, by bundle and look."""
        for record in self._log.read():
            self._remember(record)
        self._rows_logged = sum(record.rows for record in self._log.read() if record.look == "drift")  # read again, they are not late
        self._collector = Collector(
            self._view,
            window_s=self._window_s,
            accepts=self._accepts,
            closings=self._closings,
            slices_of=self._slices,
            rules_of=self._rules_of,
        )

    def poll(self) -> None:
        """Take in what the journal has gained and judge the windows that are over.

        Raises
        ------
        JournalCorrupt, StorageError, RegistryError
            Nothing is lost: the next call takes up where this one failed.
        """
        self._read_all()
        until = self._closings.watermark
        if self._due_windows(until):
            self._read_all()  # segments are not read at one moment: what was written before the entry that closes a window is here now
        self._collector.forget_early()
        self._judge_all(until)

    def _read_all(self) -> None:
        """Take in all that has been written to any segment."""
        self._take()  # what an earlier call had read and could not use
        while self._take_next() > _CHUNK_BYTES // 2:  # less: the budget was not used up, every segment was read to its end
            pass
        self._scout = None

    def _take_next(self) -> int:
        """Read and take one chunk; returns its bytes."""
        for entry in self._tail.read(most_bytes=_CHUNK_BYTES):
            self._unread.append(entry)  # one by one: what was read before an error is kept
        size = sum(FRAME_OVERHEAD + len(entry.body) for entry in self._unread)
        if size > _CHUNK_BYTES // 2:
            self._look_ahead()
        self._take()
        return size

    def _look_ahead(self) -> None:
        """Learn which windows are closed by what lies behind this chunk, before its rows are taken."""
        if self._scout is None:
            self._scout = copy.deepcopy(self._tail)
        ahead = True
        while ahead:
            entries = list(self._scout.read(most_bytes=_CHUNK_BYTES))
            self._collector.scout(entries)
            ahead = bool(entries)

    def _take(self) -> None:
        if len(self._unread) > _CHUNK_FRAMES:
            self._collector.scout(self._unread)
        while self._unread:
            chunk = self._unread[:_CHUNK_FRAMES]
            with _no_cyclic_collection():
                self._collector.take(chunk)
            for entry in chunk:
                segment, offset = entry.request_id.rsplit("-", 1)
                end = int(offset, 16) + FRAME_OVERHEAD + len(entry.body)
                self._read_to[segment] = max(end, self._read_to.get(segment, 0))
            del self._unread[:_CHUNK_FRAMES]

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
            "labels_joined": self._joined + joined,
            "labels_waiting": waiting,
            "watermark": watermark if math.isfinite(watermark) else None,
            "windows_judged": sum(look == "drift" for _, look in self._judged),
            "windows_open": len(self._collector.windows),
            "looks": self._sequence,
            "alarms": len(self.alarms),
            "impossible_values": self._impossible,
            "journal_lag_bytes": self._lag(),
            "bundle": newest.bundle if newest else None,
        }

    def _lag(self) -> int:
        root = storage.local_path(self._journal, need="the journal")
        sizes = {path.stem: path.stat().st_size for path in root.glob("*.seg")} if root.is_dir() else {}
        return sum(max(size - self._read_to.get(segment, 256), 0) for segment, size in sizes.items())  # 256: an empty segment's header

    def _view(self, version: str) -> view.View:
        if version not in self._views:
            pointer = self._pointer(version)
            loaded = view.load(pointer, self._cache)
            self._brought[version] = brought.read(storage.fetch_folder(pointer.uri, self._cache), loaded.schema)
            self._views[version] = loaded
        return self._views[version]

    def _pointer(self, version: str) -> Pointer:
        """Asked once: a version never moves."""
        if version not in self._pointers:
            self._pointers[version] = self._locate(version)
        return self._pointers[version]

    def _slices(self, version: str) -> tuple[Slice, ...]:
        self._view(version)
        return self._brought[version].slices

    def _rules_of(self, version: str) -> tuple[Rule, ...]:
        if version not in self._rules:
            self._rules[version] = impossible.rules_of(self._view(version).schema, self._settings.columns)
        return self._rules[version]

    def _accepts(self, key: Key, look: str) -> bool:
        return key.start >= self._through[look] and (key, look) not in self._judged

    def _due(self, key: Key, look: str) -> float:
        return key.start + self._window_s + self._waits_s[look]

    def _judge_all(self, until: float) -> None:
        for _, key, look in self._due_windows(until):
            record = self._look_at_drift(key) if look == "drift" else self._look_at_performance(key)
            self._remember(self._log.append(record))
            self._collector.close(key, look)

    def _due_windows(self, until: float) -> list[tuple[float, Key, LookKind]]:
        """In order of due time, so that the verdicts do not depend on how often the journal was read."""
        due: list[tuple[float, Key, LookKind]] = [(self._due(key, "drift"), key, "drift") for key in self._collector.windows]
        due += [(self._due(key, "performance"), key, "performance") for key in self._collector.labels]
        return sorted((when, key, look) for when, key, look in due if when <= until and self._closings.of(key.start, look) < NEVER)

    def _look_at_drift(self, key: Key) -> WindowVerdicts:
        window, seen = self._collector.windows[key], self._view(key.bundle)
        assert isinstance(window.summary, Summary)
        few = window.rows < self._monitoring.min_rows
        found = [] if few else looks.drift_looks(seen.profile, seen.sketcher, window.summary, min_rows=self._monitoring.min_rows)
        found += looks.agreement_looks(self._promise(key.bundle), self._collector.audits.get(key, Audits()))
        record = self._record(key, "drift", found, rows=window.rows)
        broken, news, remembered = self._impossible_in(key, window, window.summary)
        record = msgspec.structs.replace(record, news=news)
        if few:
            return self._harmed(self._with_said(record, broken, remembered), window.summary)
        model, why, before = self._models.get(key.bundle), self._models.reasons(key.bundle), self._before(key.bundle)
        rows = self._collector.rows_of(key, "drift")
        told, remembered = live.once_over(self._scene(key), window, rows, remembered, model=model, before=before, why=why)
        return self._harmed(self._with_said(record, broken + told, remembered), window.summary)

    def _harmed(self, record: WindowVerdicts, summary: Summary) -> WindowVerdicts:
        """With what an alarm before the labels probably costs."""
        if record.alarm is None:
            return record
        seen, learned = self._view(record.bundle), self._brought[record.bundle].losses
        label = seen.schema.label
        columns = harm.by_column(record.alarm, label, seen.profile, learned, seen.sketcher, summary)
        return _with_harm(record, harm.of_scores(record.verdicts, harm.metric_of(label), by_column=columns))

    def _impossible_in(self, key: Key, window: Window, summary: Summary) -> tuple[list[Figure], list[str], Live]:
        rules, remembered = self._rules_of(key.bundle), self._live.get(key.bundle, Live())
        profile = self._view(key.bundle).profile
        return impossible.judge(
            rules, profile, summary.quality, window.firsts, window.rows, remembered, start=key.start, window_s=self._window_s
        )

    def _look_at_performance(self, key: Key) -> WindowVerdicts:
        seen, window, rows = self._view(key.bundle), self._collector.labels.get(key, Window()), self._collector.rows_of(key, "performance")
        known = np.zeros(0, np.bool_) if rows is None else ~np.isnan(rows.y)
        if rows is None or known.sum() < self._monitoring.min_rows:
            return self._with_said(
                self._record(key, "performance", [], rows=window.rows, labelled=int(known.sum())), [], self._forgotten(key)
            )
        scores, y = rows.scores[known], rows.y[known]
        found = looks.performance_looks(seen.profile, seen.schema.label, scores, y)
        record = self._record(key, "performance", found, rows=window.rows, labelled=len(y))
        measured = performance.measure(seen.schema.label, scores, y)
        told = {verdict.name for verdict in record.verdicts}
        more = [self._measured(record, name, value, seen) for name, value in measured.items() if name not in told]
        record = self._with_said(_with_verdicts(record, record.verdicts + more), *self._labelled(key, rows))
        if record.alarm is None:
            return record
        loss = float(performance.loss(seen.schema.label, scores, y).mean())
        return _with_harm(record, harm.of_labels(seen.schema.label, seen.profile, loss, len(y)))

    def _labelled(self, key: Key, rows: Rows) -> tuple[list[Figure], Live]:
        return live.once_labelled(self._scene(key), rows, self._live.get(key.bundle, Live()))

    def _forgotten(self, key: Key) -> Live:
        return self._live.get(key.bundle, Live()).labelled(key.start)

    def _scene(self, key: Key) -> live.Scene:
        """With chance of its own, the same whenever the window is judged."""
        rng = np.random.default_rng([int(abs(key.start)), crc32(key.bundle.encode())])
        return live.Scene(self._settings, self._view(key.bundle), self._brought[key.bundle], key.start, rng)

    def _before(self, version: str) -> Bundle | None:
        """The bundle that was first judged just before this one."""
        order = list(self._live)
        place = order.index(version) if version in order else len(order)
        return self._models.get(order[place - 1]) if place else None

    def _with_said(self, record: WindowVerdicts, figures: list[Figure], remembered: Live) -> WindowVerdicts:
        told = [
            Verdict(
                model=self._model,
                bundle=record.bundle,
                window_start=record.window_start,
                window_end=record.window_end,
                **figure._asdict(),
            )
            for figure in figures
        ]
        return msgspec.structs.replace(record, verdicts=record.verdicts + told, live=remembered)

    def _record(self, key: Key, look: LookKind, found: list[drift.Look], *, rows: int, labelled: int = 0) -> WindowVerdicts:
        state, findings, alarm = self._states.get(key.bundle, drift.State()), list[drift.Finding](), None
        if found:
            profile, promise = self._view(key.bundle).profile, self._promise(key.bundle)
            state, findings, alarm = drift.judge(profile, state, found, window_start=key.start, threshold=self._threshold, promise=promise)
        record = WindowVerdicts(
            sequence=self._sequence,
            model=self._model,
            bundle=key.bundle,
            look=look,
            window_start=key.start,
            window_end=key.start + self._window_s,
            rows=rows,
            labelled=labelled,
            evidence=self._evidence(key.bundle, state) if alarm is None else alarm.evidence,
            threshold=self._threshold,
            alarm=alarm,
            cells={} if alarm is None else self._cells(key, alarm),
            state=state,
        )
        return _with_verdicts(record, [self._verdict(record, finding) for finding in findings])

    def _cells(self, key: Key, alarm: drift.Alarm) -> dict[str, list[int]]:
        """How the window's rows lay in the columns that an alarm blames, while their histograms are held."""
        window, seen = self._collector.windows.get(key), self._view(key.bundle)
        if window is None or window.summary is None:
            return {}
        told = [metric for metric in seen.profile.metrics if metric.key in alarm.blamed and metric.kind != "association"]
        blamed = {metric.column for metric in told if metric.column >= 0}
        return {seen.profile.columns[j].name: seen.sketcher.cells_of(window.summary, j).tolist() for j in sorted(blamed)}

    def _promise(self, version: str) -> Promise | None:
        """What a bundle's cascade promises, while rows are audited."""
        return self._view(version).promise if self._is_audited else None

    def _evidence(self, version: str, state: drift.State) -> float:
        return drift.total(self._view(version).profile, state, self._promise(version))

    def _verdict(self, record: WindowVerdicts, finding: drift.Finding) -> Verdict:
        look = finding.look
        label = self._view(record.bundle).schema.label
        rows = record.labelled if record.look == "performance" else record.rows
        return Verdict(
            model=self._model,
            bundle=record.bundle,
            kind=look.reference.kind,
            name=look.reference.name,
            window_start=record.window_start,
            window_end=record.window_end,
            rows=rows if look.audits is None else look.audits.rows,
            value=look.value,
            expected=looks.expected(label, look.reference),
            unit=look.unit,
            e_value=finding.e_value,
            evidence=finding.evidence,
            alarm=finding.blamed,
            message=look.size,
        )

    def _measured(self, record: WindowVerdicts, name: str, value: float, seen: view.View) -> Verdict:
        """A metric that is told and not tested."""
        return Verdict(
            model=self._model,
            bundle=record.bundle,
            kind="performance",
            name=name,
            window_start=record.window_start,
            window_end=record.window_end,
            rows=record.labelled,
            value=value,
            expected=seen.profile.performance.get(name),
            unit=name,
        )

    def _remember(self, record: WindowVerdicts) -> None:
        key = Key(record.window_start, record.bundle)
        if (key, record.look) in self._judged:
            return
        self._judged.add((key, record.look))
        self._through[record.look] = max(self._through[record.look], record.window_start)
        self._sequence = max(self._sequence, record.sequence + 1)
        self._states[record.bundle] = record.state
        self._live[record.bundle] = record.live
        self._joined += record.labelled
        if record.alarm is not None:
            self.alarms.append(record)
        if record.is_told:
            self.told.append(record)
        self._impossible += impossible.values_of(record.verdicts)
        if any(verdict.kind not in _BESIDE for verdict in record.verdicts):  # these alone say nothing of a window's distribution
            self.latest[record.bundle, record.look] = record


@contextmanager
def _no_cyclic_collection() -> Iterator[None]:
    """Decoding makes many objects and no cycles; looking for cycles meanwhile took 40 % of the time."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


def _with_verdicts(record: WindowVerdicts, verdicts: list[Verdict]) -> WindowVerdicts:
    return msgspec.structs.replace(record, verdicts=verdicts)


def _with_harm(record: WindowVerdicts, found: harm.Harm) -> WindowVerdicts:
    assert record.alarm is not None
    told = msgspec.structs.replace(record.alarm, message=f"{record.alarm.message}; {found.short}")
    return msgspec.structs.replace(record, alarm=told, harm=found)
