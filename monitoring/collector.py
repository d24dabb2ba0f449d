"""Gathers journal entries into windows of event time, a bundle at a time, and joins labels and audits to rows.

Takes entries in any order of segments; what it holds is what a recount of the journal would give: what came too late for a
window is decided by when it was received (`monitoring.closings`). Rows are dropped when their window's performance has been
judged. Knows nothing of verdict logs, Ray or clocks.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

import numpy as np

from cluster import packed
from cluster.errors import BundleError, UnknownVersion
from cluster.journal import Entry, Kind
from cluster.schema import Floats
from monitoring import impossible, windows
from monitoring.agreement import Audits
from monitoring.batches import Batch, Encoded
from monitoring.closings import Closings, Stamps
from monitoring.impossible import Requests, Rule
from monitoring.joining import Joins
from monitoring.marks import marks_of
from monitoring.samples import Sample, smallest
from monitoring.sketches import prediction_columns
from monitoring.slices import Flags, Slice, flags
from monitoring.view import View
from monitoring.windows import LOOKS, Block, Index, Key, Names, Rows, Window

_log = logging.getLogger(__name__)
_CHUNK_ROWS: Final = 50_000


class Collector:
    """Counts, sketches and joins.

    Parameters
    ----------
    view_of
        Finds a bundle by version. `UnknownVersion` and `BundleError` make the bundle's rows count as unjudged; any
        other error leaves the collector as it was, so that the same entries can be taken again.
    window_s
        Length of a window, seconds.
    accepts
        Whether a window still takes rows for the look `drift` or `performance`; rows that come later only count.
    closings
        Told of all entries; asked when a window was over.
    slices_of
        The slices of a bundle whose rows are told apart.
    rules_of
        What a bundle's columns must not hold.
    """

    def __init__(
        self,
        view_of: Callable[[str], View],
        *,
        window_s: float,
        accepts: Callable[[Key, str], bool],
        closings: Closings,
        slices_of: Callable[[str], tuple[Slice, ...]],
        rules_of: Callable[[str], tuple[Rule, ...]],
    ) -> None:
        self._view_of = view_of
        self._window_s = window_s
        self._accepts = accepts
        self._closings = closings
        self._slices_of = slices_of
        self._rules_of = rules_of
        self._names = Names()
        self._joins = Joins(view_of, accepts=accepts, closings=closings)
        self._blind: set[str] = set()
        self.windows: dict[Key, Window] = {}
        self.labels: dict[Key, Window] = {}
        self.rows = 0
        self.rows_unjudged = 0
        self.rows_late = 0
        self.label_entries = 0
        self.rows_audited = 0

    @property
    def audits(self) -> Mapping[Key, Audits]:
        """Of open windows, rows that the ensemble scored as well."""
        return self._joins.audits

    @property
    def held(self) -> int:
        """Requests whose rows are kept."""
        return len(self._joins.places)

    def scout(self, entries: Iterable[Entry]) -> None:
        """Look which windows entries close that are taken later. Call it with all that lies ahead, before any of it is taken."""
        found = _of_kind("prediction", entries)
        sizes = [entry.rows for entry in found]
        self._closings.note(packed.times_of([entry.body for entry in found], sum(sizes)), sizes, [entry.received_ns for entry in found])

    def take(self, entries: Sequence[Entry]) -> None:
        """Take in entries that were not taken before."""
        batches = self._gather(_of_kind("prediction", entries))  # may raise; before anything is counted
        for batch in batches:
            self._closings.note(batch.times(), batch.sizes, batch.received_ns)
        for batch in batches:
            self._digest(batch)
        labels = [(label, entry.received_ns) for entry in _of_kind("labels", entries) for label in entry.labels().entries]
        self.label_entries += len(labels)
        self._joins.join(labels)
        for entry in _of_kind("audit", entries):
            audit = entry.audit()
            self.rows_audited += len(audit.rows)
            self._joins.audit(audit, entry.received_ns)

    def _gather(self, entries: Iterable[Entry]) -> list[Batch]:
        batches, newest = list[Batch](), dict[str, Batch]()
        for entry in entries:
            request = entry.packed()
            batch = newest.get(request.bundle)
            if batch is None or batch.rows >= _CHUNK_ROWS:
                batch = newest[request.bundle] = Batch(self._known(request.bundle), self._names)
                batches.append(batch)
            batch.add(entry, request)
        return batches

    def forget_early(self) -> None:
        """Drop labels and audits of rows that are not kept: those that were waiting when the journal was last read to its end as well.

        Call when it has been read to its end. Segments are not read at one moment, so a label may be seen a look before its row.
        """
        self._joins.forget_early()

    def rows_of(self, key: Key, look: str) -> Rows | None:
        """A window's rows with what was known of them when it closed for this look; None when there are none."""
        return windows.rows_of(self.labels.get(key, Window()), look, self._names)

    def close(self, key: Key, look: str) -> None:
        """Let go of a window that has been judged at this look."""
        if look == "drift":
            self.windows.pop(key, None)
            self._joins.audits.pop(key, None)
            return
        for block, _ in self.labels.pop(key, Window()).blocks:
            block.windows.discard(key)
            if not block.windows:
                self._joins.release(block)

    def joined(self) -> tuple[int, int]:
        """Rows of open windows with a label, and without."""
        done = sum(int(np.count_nonzero(~np.isnan(b.y["performance"][i]))) for w in self.labels.values() for b, i in w.blocks)
        return done, sum(w.rows for w in self.labels.values()) - done

    def _known(self, version: str) -> View | None:
        """None for a bundle whose rows cannot be judged."""
        if version in self._blind:
            return None
        try:
            return self._view_of(version)
        except (UnknownVersion, BundleError) as error:
            _log.error("rows answered by bundle '%s' cannot be judged: %s", version, error.message)
            self._blind.add(version)
            return None

    def _digest(self, batch: Batch) -> None:
        self.rows += batch.rows
        view = batch.view
        if view is None:
            self.rows_unjudged += batch.rows
            return
        if not batch.rows:
            return
        times = batch.times()
        starts = np.floor(times / self._window_s) * self._window_s
        if not any(self._accepts(Key(start, view.version), look) for start in np.unique(starts).tolist() for look in LOOKS):
            self.rows_late += batch.rows
            return
        rows = batch.encoded()
        block = _block(view, batch, starts, rows, flags(self._slices_of(view.version), rows.matrix))
        wanted = self._sort_into_windows(block, batch.received())
        if wanted:
            self._sketch(view, block, rows, wanted, batch.requests(times))
        if block.windows:
            self._joins.hold(batch.ids, batch.sizes, block)

    def _sort_into_windows(self, block: Block, received_ns: Stamps) -> dict[Key, Index]:
        """Share a block's rows out; returns those that are still to be sketched."""
        wanted = {}
        for start in np.unique(block.starts).tolist():
            key, rows = Key(start, block.bundle), np.flatnonzero(block.starts == start)
            sketched = self._in_time(key, "drift", rows, received_ns)
            self.rows_late += len(rows) - len(sketched)
            if len(sketched):
                wanted[key] = sketched
                block.sketched[sketched] = True
            joined = self._in_time(key, "performance", rows, received_ns)
            if len(joined):
                window = self.labels.setdefault(key, Window())
                window.rows += len(joined)
                window.blocks.append((block, joined))
                block.windows.add(key)
        return wanted

    def _in_time(self, key: Key, look: str, rows: Index, received_ns: Stamps) -> Index:
        if not self._accepts(key, look):
            return rows[:0]
        return rows[received_ns[rows] <= self._closings.of(key.start, look)]

    def _sketch(self, view: View, block: Block, rows: Encoded, wanted: dict[Key, Index], requests: Requests) -> None:
        whole = np.column_stack([rows.matrix, prediction_columns(view.schema.label.task, rows.scores)])
        for key, index in wanted.items():
            window = self.windows.setdefault(key, Window(summary=view.sketcher.empty()))
            summary = view.sketcher.summarise(whole if len(index) == len(whole) else whole[index])
            window.rows += len(index)
            window.by_ensemble += int(np.count_nonzero(rows.by_ensemble[index]))
            window.summary = summary if window.summary is None else window.summary + summary
            chosen = index[smallest(block.marks[index])]
            sample = Sample(block.marks[chosen], rows.matrix[chosen], rows.scores[chosen])
            window.sample = sample if window.sample is None else window.sample.with_(sample)
            found = impossible.firsts(self._rules_of(view.version), summary.quality, rows.matrix, index, requests)
            window.firsts = impossible.merged(window.firsts, found)


def _of_kind(kind: Kind, entries: Iterable[Entry]) -> list[Entry]:
    return [entry for entry in entries if entry.kind == kind]


def _block(view: View, batch: Batch, starts: Floats, rows: Encoded, slices: Flags) -> Block:
    """With no label yet, and in no window."""
    return Block(
        bundle=view.version,
        scores=rows.scores,
        y={look: np.full(batch.rows, np.nan) for look in LOOKS},
        received_ns={look: np.zeros(batch.rows, np.int64) for look in LOOKS},
        sketched=np.zeros(batch.rows, np.bool_),
        starts=starts,
        marks=marks_of(batch.ids, batch.received_ns, batch.sizes),
        groups=rows.groups,
        slices=slices,
        requests=batch.ids,
        windows=set(),
    )
