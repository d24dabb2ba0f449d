"""The monitor is killed at random fifty times while the journal grows; what it says in the end is what one look at the whole journal says."""

from __future__ import annotations

import itertools
import math
import multiprocessing
import shutil
import time
from collections import defaultdict
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from cluster.journal import Writer, scan
from cluster.records import LabelEntry, Labels, Pointer, Prediction
from cluster.settings import Settings
from monitoring import verdicts
from monitoring.core import MonitorCore
from tests.processes import wait_until
from tests.unit.monitoring import explained
from tests.unit.monitoring.world import DAY, Stream, audit, prediction, profile_of, seal, settings

KILLS = 50
DAYS = range(30, 60)
LATENESS_S, DELAY_S = 7200.0, DAY  # of `world.settings` and `world.SCHEMA`
WAITS_S = {"drift": LATENESS_S, "performance": LATENESS_S + DELAY_S}


def locate(pointers: dict[str, Pointer], version: str) -> Pointer:
    return pointers[version]


def watch(root: str, pointers: dict[str, Pointer], looks: Any) -> None:
    """What the child does until it is killed; `looks` counts in shared memory, without a lock that could die with it."""
    core = MonitorCore(settings(Path(root)), locate=partial(locate, pointers))
    while True:
        looks.value += 1
        core.poll()


def has_looked(looks: Any, wanted: int) -> bool:
    return bool(looks.value >= wanted)


class Traffic:
    """A journal that grows: three gateways, two bundles, labels that come late, twice, corrected, or for nobody."""

    def __init__(self, root: str, stream: Stream, rng: np.random.Generator) -> None:
        self._root, self._stream, self._rng = root, stream, rng
        clock = itertools.count(1_800_000_000 * 10**9)
        self._new = partial(Writer, root, clock_ns=lambda: next(clock), segment_bytes=20_000)
        self._writers = [self._new() for _ in range(3)]
        self._waiting: list[tuple[str, slice]] = []

    def steps(self) -> Iterator[None]:
        """Write on by a request, again and again."""
        for day in DAYS:
            whole = self._stream.rows(day)
            for start in range(whole.start, whole.stop, 20):
                self._predict(slice(start, min(start + 20, whole.stop)), day)
                yield
            if day % 4 == 0:  # long after its window was judged
                early = self._stream.rows(day - 2)
                self._predict(slice(early.start, early.start + 7), day)
                yield
            for request, rows in self._waiting:
                self._label(request, rows)
                yield
            self._waiting = self._waiting[-3:]  # these are labelled again a day later: corrected, or too late
            if day == DAYS[len(DAYS) // 2]:
                self._tear()
                yield

    def _predict(self, rows: slice, day: int) -> None:
        version = "2" if day >= 42 and self._rng.random() < (0.5 if day < 45 else 0.95) else "1"
        sent = prediction(self._stream, rows, version=version)
        if self._rng.random() < 0.1:
            sent.columns["miles"][int(self._rng.integers(len(sent.event_times)))] = 99.0  # beyond the range of the YAML
        request = self._writer().append(sent)
        self._waiting.append((request, rows))
        if self._rng.random() < 0.3:
            self._writer().append(audit(request, self._stream, rows, [0], differ=int(self._rng.integers(2))))

    def _label(self, request: str, rows: slice) -> None:
        truth = self._stream.y[rows]
        entries = [LabelEntry(request_id=request, row=i, label=int(y)) for i, y in enumerate(truth) if self._rng.random() < 0.9]
        if self._rng.random() < 0.2:
            entries += [LabelEntry(request_id=request, row=0, label=int(1 - truth[0]))]  # corrected
            entries += [LabelEntry(request_id=request, row=len(truth) + 3, label=1), LabelEntry(request_id="no-such-1", row=0, label=1)]
        if entries:
            self._writer().append(Labels(entries=entries))
            if self._rng.random() < 0.2:
                self._writer().append(Labels(entries=entries))  # sent twice

    def _writer(self) -> Writer:
        return self._writers[int(self._rng.integers(len(self._writers)))]

    def _tear(self) -> None:
        """A gateway dies in the middle of a write; another takes its place."""
        dead = self._writers[0]
        dead.close()
        with max(Path(self._root).glob(f"{dead.writer}-*.seg")).open("ab") as file:
            file.write(b"HF\x01\x01" + bytes(50))  # less than a frame
        self._writers[0] = self._new()


class Recount:
    """The rules in plain words, one entry at a time, in the order of reception: nothing of the monitor's is used."""

    def __init__(self, root: str) -> None:
        self.rows = self.late = self.label_entries = self.audited = 0
        self.by_window: dict[tuple[str, str, float], int] = defaultdict(int)
        self.labelled: dict[tuple[str, float], set[tuple[str, int]]] = defaultdict(set)
        self._places: dict[tuple[str, int], tuple[str, float]] = {}
        self._watermark = -math.inf
        """Of all that was received before the entry."""
        for entry in sorted(scan(root), key=lambda entry: entry.received_ns):
            if entry.kind == "prediction":
                self._predicted(entry.request_id, entry.prediction())
            elif entry.kind == "labels":
                self._told(entry.labels())
            else:
                self.audited += len(entry.audit().rows)

    def is_open(self, start: float, look: str) -> bool:
        return self._watermark < start + DAY + WAITS_S[look]

    def _predicted(self, request: str, found: Prediction) -> None:
        for i, at in enumerate(found.event_times):
            start = math.floor(at / DAY) * DAY
            self.rows += 1
            self.late += not self.is_open(start, "drift")
            for look in WAITS_S:
                self.by_window[look, found.bundle, start] += self.is_open(start, look)
            if self.is_open(start, "performance"):
                self._places[request, i] = (found.bundle, start)
        self._watermark = max([self._watermark, *found.event_times])

    def _told(self, labels: Labels) -> None:
        for label in labels.entries:
            self.label_entries += 1
            home = self._places.get((label.request_id, label.row))
            if home is not None and self.is_open(home[1], "performance"):
                self.labelled[home].add((label.request_id, label.row))


def offline(root: Path, chosen: Settings, pointers: dict[str, Pointer]) -> tuple[MonitorCore, list[verdicts.WindowVerdicts]]:
    """One look at a copy of the whole journal, by a monitor that never died."""
    other = settings(root)
    shutil.copytree(chosen.places.journal("trips"), other.places.journal("trips"))
    core = MonitorCore(other, locate=partial(locate, pointers))
    core.poll()
    return core, verdicts.read(other.places.verdicts("trips"))


def held(core: MonitorCore) -> dict[Any, Any]:
    """Everything that the collector holds of open windows, to the bit."""
    collector, found = core._collector, dict[Any, Any]()
    for key, window in collector.windows.items():
        assert window.summary is not None
        assert window.sample is not None
        summary, sample = window.summary, window.sample
        sketches = [a.tobytes() for a in (summary.cells, summary.quality, summary.sums, sample.marks, sample.matrix, sample.scores)]
        found["drift", key] = (window.rows, window.by_ensemble, summary.rows, sketches, window.firsts, collector.audits.get(key))
    for key, window in collector.labels.items():
        rows = collector.rows_of(key, "performance")
        assert rows is not None
        found["performance", key] = (window.rows, rows.scores.tobytes(), rows.y.tobytes())
    return found


def test_killed_fifty_times_the_monitor_says_to_the_bit_what_an_offline_recount_says(tmp_path: Path) -> None:
    rng = np.random.default_rng(8)
    stream = Stream(rng, 60, rows=150)
    chosen = settings(tmp_path / "var")
    pointers = {
        "1": seal(tmp_path / "one", profile_of(stream, 30)),
        "2": explained.seal(tmp_path / "two", profile_of(stream, 25), stream, 25, version="2"),  # tried and explained as well
    }
    root = chosen.places.journal("trips")
    steps = Traffic(root, stream, rng).steps()
    spawn = multiprocessing.get_context("forkserver")
    spawn.set_forkserver_preload(["tests.integration.test_monitor_kills", "xgboost"])
    for kill in range(KILLS):
        looks = spawn.RawValue("i", 0)
        child = spawn.Process(target=watch, args=(str(tmp_path / "var"), pointers, looks), daemon=True)
        child.start()
        for _ in range(int(rng.integers(5, 25))):
            next(steps, None)
        wanted = int(rng.integers(1, 5))
        wait_until(partial(has_looked, looks, wanted), timeout_s=120, what=f"look {wanted} of child {kill}")
        for _ in range(int(rng.integers(0, 8))):
            next(steps, None)
            time.sleep(rng.uniform(0, 0.01))
        child.kill()
        child.join()
        assert child.exitcode == -9, f"child {kill} ended by itself"
    judged_by_the_killed = len(verdicts.read(chosen.places.verdicts("trips")))
    for _ in steps:
        pass

    last = MonitorCore(chosen, locate=partial(locate, pointers))
    last.poll()
    log = verdicts.read(chosen.places.verdicts("trips"))
    once, log_once = offline(tmp_path / "copy", chosen, pointers)
    assert judged_by_the_killed > 10  # they did something before they died
    assert log == log_once
    assert {verdict.kind for record in log for verdict in record.verdicts} >= {"stability", "attribution", "explanation", "data_quality"}
    assert last.told == once.told
    assert any(record.news for record in log)
    assert last.status() == once.status()
    assert held(last) == held(once)

    plain, status = Recount(root), last.status()
    assert status["rows"] == plain.rows
    assert status["rows_late"] == plain.late > 0
    assert status["label_entries"] == plain.label_entries
    assert status["rows_audited"] == plain.audited
    assert status["labels_joined"] == sum(len(found) for found in plain.labelled.values())
    closed = {key: rows for key, rows in plain.by_window.items() if rows and not plain.is_open(key[2], key[0])}
    assert {(r.look, r.bundle, r.window_start): r.rows for r in log} == closed
    known = {key: len(found) for key, found in plain.labelled.items() if not plain.is_open(key[1], "performance")}
    assert {(r.bundle, r.window_start): r.labelled for r in log if r.labelled} == known
