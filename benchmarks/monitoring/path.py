"""The monitoring path, alone in this process: rows are journaled, and what watching them costs is counted in processor seconds.

Writing the journal is the gateway's work and not in any figure. Started by `benchmarks.monitoring.alone`:

python -m benchmarks.monitoring.path FOLDER BUNDLE ENTRY_ROWS
"""

from __future__ import annotations

import itertools
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.monitoring.journaled import POLL_ROWS, before, entries, pieces
from benchmarks.monitoring.watched import DAY_S, FIRST_DAY, SCORE, WINDOWS, pointer_of, settings_of
from cluster.journal import Writer, scan
from cluster.records import Pointer, Record
from cluster.settings import Settings
from monitoring import drift, looks, view
from monitoring.batches import Batch
from monitoring.core import MonitorCore
from monitoring.sketches import merge, prediction_columns
from monitoring.view import View
from monitoring.windows import Names

_FIRST_NS: Final = 1_800_000_000 * 10**9


class Cost(Record, frozen=True, kw_only=True):
    """What one way to read the same rows took."""

    rows: int
    cpu_s: float
    judging_s: float = 0.0
    """Of it, the looks at the journal in which a window was over."""
    judged: int = 0
    """Windows that were judged."""


class Watch:
    """A journal that is written here, and a monitor that reads it."""

    def __init__(self, settings: Settings, pointer: Pointer, entry_rows: int) -> None:
        shutil.rmtree(settings.places.root, ignore_errors=True)
        clock = itertools.count(_FIRST_NS)
        self.root = settings.places.journal(settings.model)
        self._writer = Writer(self.root, clock_ns=lambda: next(clock))
        self._entry_rows = entry_rows
        self._core = MonitorCore(settings, locate=lambda _: pointer)

    def journal(self, rows: pa.Table) -> None:
        """What a gateway does before it answers."""
        for entry in entries(rows, self._entry_rows):
            self._writer.append(entry)

    def look(self) -> float:
        """Read, sketch and judge what has been written since the last look; returns processor seconds."""
        began = time.process_time()
        self._core.poll()
        return time.process_time() - began

    @property
    def judged(self) -> int:
        """Windows so far."""
        return int(str(self._core.status()["windows_judged"]))


def live(watch: Watch, rows: pa.Table) -> Cost:
    """The monitor looks after every `POLL_ROWS`, as it does while rows come. A small window before, for which it loads the bundle, is not counted."""
    for piece in before(rows):
        watch.journal(piece)
    watch.look()
    judged, spent = watch.judged, {False: 0.0, True: 0.0}
    for piece, is_over in pieces(rows):
        watch.journal(piece)
        spent[is_over] += watch.look()
    return Cost(rows=rows.num_rows, cpu_s=sum(spent.values()), judging_s=spent[True], judged=watch.judged - judged)


def backlog(watch: Watch, rows: pa.Table) -> Cost:
    """One look at all of it, as after a monitor was killed."""
    for piece, _ in pieces(rows):
        watch.journal(piece)
    return Cost(rows=rows.num_rows, cpu_s=watch.look(), judged=watch.judged)


def reading(journal: str, rows: int, *, seen: View | None = None) -> Cost:
    """Frames and their hash chain alone; or their rows encoded as well, as a bundle sees them."""
    began = time.process_time()
    batch = Batch(seen, Names())
    for entry in scan(journal):
        if seen is not None:
            batch.add(entry, entry.packed())
    if seen is not None:
        batch.encoded()
    return Cost(rows=rows, cpu_s=time.process_time() - began)


def encoded(settings: Settings, seen: View, rows: pa.Table) -> Cost:
    """Sketches and the test of matrices that are in memory, a window at a time in pieces of `POLL_ROWS`."""
    scores = rows.column(SCORE).to_numpy().astype(np.float32)[:, None]
    whole = np.column_stack([seen.encoder.table(rows), prediction_columns(seen.schema.label.task, scores)])
    size, state = len(whole) // WINDOWS, drift.State()
    threshold = drift.threshold_of(settings.monitoring.one_false_alarm_in, settings.monitoring.window)
    began = time.process_time()
    for window in range(WINDOWS):
        rows_of = whole[window * size : (window + 1) * size]
        summary = merge(seen.sketcher.summarise(rows_of[first : first + POLL_ROWS]) for first in range(0, size, POLL_ROWS))
        found = looks.drift_looks(seen.profile, seen.sketcher, summary, min_rows=settings.monitoring.min_rows)
        state, _, _ = drift.judge(seen.profile, state, found, window_start=DAY_S * (FIRST_DAY + window), threshold=threshold)
    return Cost(rows=len(whole), cpu_s=time.process_time() - began, judged=WINDOWS)


def measure(folder: Path, bundle: Path, entry_rows: int) -> dict[str, Cost]:
    """All ways, once each."""
    settings, pointer, rows = settings_of(folder / "places"), pointer_of(bundle), pq.read_table(folder / "rows.parquet")
    found = {"live": live(Watch(settings, pointer, entry_rows), rows)}
    watch = Watch(settings, pointer, entry_rows)
    found["backlog"] = backlog(watch, rows)
    seen = view.load(pointer, Path(settings.places.root))
    found["reading"] = reading(watch.root, rows.num_rows)
    found["encoding"] = reading(watch.root, rows.num_rows, seen=seen)
    found["encoded"] = encoded(settings, seen, rows)
    shutil.rmtree(settings.places.root, ignore_errors=True)
    return found


def main(arguments: Sequence[str]) -> None:
    """Measure and print."""
    folder, bundle, entry_rows = arguments
    sys.stdout.buffer.write(msgspec.json.encode(measure(Path(folder), Path(bundle), int(entry_rows))))


if __name__ == "__main__":
    main(sys.argv[1:])
