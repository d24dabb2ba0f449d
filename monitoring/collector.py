"""Gathers journal entries into windows of event time, a bundle at a time, and joins labels and audits to rows.

Takes entries in any order of segments; what it holds is what a recount of the journal would give. Rows are dropped
when their window's performance has been judged. Knows nothing of verdict logs, Ray or clocks.
"""

from __future__ import annotations

import logging
import math
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from cluster.errors import BundleError, DataError, UnknownVersion
from cluster.journal import Entry
from cluster.margin import disagree
from cluster.records import Audit, LabelEntry, Prediction
from cluster.schema import Floats, Label, Matrix, Scalar, encode_labels, score_width
from monitoring.agreement import Audits
from monitoring.sketches import Summary, prediction_columns
from monitoring.view import View

_log = logging.getLogger(__name__)
_CHUNK_ROWS = 50_000


class Key(NamedTuple):
    """A window of one bundle."""

    start: float
    bundle: str


@dataclass
class Window:
    """What is gathered of one window."""

    rows: int = 0
    summary: Summary | None = None
    blocks: list[tuple[Block, npt.NDArray[np.intp]]] = field(default_factory=list)
    """Where its rows are kept until their labels are due."""


@dataclass
class Block:
    """Rows that were encoded together; request ids point into it."""

    bundle: str
    scores: Matrix
    y: Floats
    received_ns: npt.NDArray[np.int64]
    """When each row's label was received; the last one counts."""
    starts: Floats
    """Start of each row's window."""
    requests: list[str]
    windows: set[Key]


@dataclass
class _Batch:
    """Predictions of one bundle, waiting to be encoded together."""

    ids: list[str] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    predictions: list[Prediction] = field(default_factory=list)
    rows: int = 0


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
    tolerance_s
        A row whose event time is this far after its own reception does not move the watermark.
    """

    def __init__(
        self, view_of: Callable[[str], View], *, window_s: float, accepts: Callable[[Key, str], bool], tolerance_s: float = 86400.0
    ) -> None:
        self._view_of = view_of
        self._window_s = window_s
        self._accepts = accepts
        self._tolerance_s = tolerance_s
        self._places: dict[str, tuple[Block, int, int]] = {}
        self._early: dict[str, list[tuple[LabelEntry, int]]] = defaultdict(list)
        self._blind: set[str] = set()
        self.windows: dict[Key, Window] = {}
        self.labels: dict[Key, Window] = {}
        self.audits: dict[Key, Audits] = {}
        self.rows = 0
        self.rows_unjudged = 0
        self.rows_late = 0
        self.label_entries = 0
        self.rows_audited = 0
        self.watermark = -np.inf

    def take(self, entries: Iterable[Entry]) -> None:
        """Take in entries that were not taken before."""
        batches: dict[str, _Batch] = defaultdict(_Batch)
        labels: list[tuple[LabelEntry, int]] = []
        entries = list(entries)
        predictions = [(entry, entry.prediction()) for entry in entries if entry.kind == "prediction"]
        for version in {prediction.bundle for _, prediction in predictions}:
            self._known(version)  # may raise; before anything is counted
        for entry, prediction in predictions:
            batch = batches[prediction.bundle]
            batch.ids.append(entry.request_id)
            batch.sizes.append(entry.rows)
            batch.predictions.append(prediction)
            batch.rows += entry.rows
            self._clock(prediction.event_times, entry.received_ns)
            if batch.rows >= _CHUNK_ROWS:
                self._digest(prediction.bundle, batches.pop(prediction.bundle))
        for version, batch in batches.items():
            self._digest(version, batch)
        for entry in entries:
            if entry.kind == "labels":
                labels += [(label, entry.received_ns) for label in entry.labels().entries]
        self.label_entries += len(labels)
        self._join(labels)
        for entry in entries:
            if entry.kind == "audit":
                self._count(entry.audit())

    def forget_early(self) -> None:
        """Drop labels of rows that are not kept. Call when the journal has been read to its end: nothing is still to come for them."""
        self._early.clear()

    def labelled(self, key: Key) -> tuple[Matrix, Floats]:
        """Scores float32 (n, width) and labels float64 (n,) of a window's rows; NaN where no label has come."""
        kept = self.labels[key].blocks
        if not kept:
            return np.empty((0, 1), np.float32), np.empty(0)
        return np.concatenate([b.scores[i] for b, i in kept]), np.concatenate([b.y[i] for b, i in kept])

    def close(self, key: Key, look: str) -> None:
        """Let go of a window that has been judged at this look."""
        if look == "drift":
            self.windows.pop(key, None)
            self.audits.pop(key, None)
            return
        window = self.labels.pop(key, Window())
        for block, _ in window.blocks:
            block.windows.discard(key)
            if not block.windows:
                for request in block.requests:
                    self._places.pop(request, None)

    def joined(self) -> tuple[int, int]:
        """Rows of open windows with a label, and without."""
        done = sum(int(np.count_nonzero(~np.isnan(b.y[i]))) for w in self.labels.values() for b, i in w.blocks)
        return done, sum(w.rows for w in self.labels.values()) - done

    def _known(self, version: str) -> bool:
        if version in self._blind:
            return False
        try:
            self._view_of(version)
        except (UnknownVersion, BundleError) as error:
            _log.error("rows answered by bundle '%s' cannot be judged: %s", version, error.message)
            self._blind.add(version)
        return version not in self._blind

    def _clock(self, event_times: list[float], received_ns: int) -> None:
        latest = max(event_times, default=-np.inf)
        if latest > self.watermark:
            limit = received_ns / 1e9 + self._tolerance_s
            self.watermark = max([self.watermark, *(t for t in event_times if t <= limit)])

    def _digest(self, version: str, batch: _Batch) -> None:
        self.rows += batch.rows
        if not self._known(version):
            self.rows_unjudged += batch.rows
            return
        if not batch.rows:
            return
        view = self._view_of(version)
        times = np.concatenate([np.asarray(p.event_times, dtype=np.float64) for p in batch.predictions])
        scores = np.frombuffer(b"".join(p.scores for p in batch.predictions), dtype=np.float32)
        scores = scores.reshape(batch.rows, score_width(view.schema.label))
        starts = np.floor(times / self._window_s) * self._window_s
        block = Block(version, scores, np.full(batch.rows, np.nan), np.zeros(batch.rows, np.int64), starts, batch.ids, set())
        wanted = self._sort_into_windows(block)
        if wanted:
            self._sketch(view, batch, scores, wanted)
        if block.windows:
            self._index(batch, block)

    def _sort_into_windows(self, block: Block) -> dict[Key, npt.NDArray[np.intp]]:
        """Share a block's rows out; returns those that are still to be sketched."""
        wanted = {}
        for start in np.unique(block.starts).tolist():
            key, rows = Key(start, block.bundle), np.flatnonzero(block.starts == start)
            if self._accepts(key, "drift"):
                wanted[key] = rows
            else:
                self.rows_late += len(rows)
            if self._accepts(key, "performance"):
                window = self.labels.setdefault(key, Window())
                window.rows += len(rows)
                window.blocks.append((block, rows))
                block.windows.add(key)
        return wanted

    def _sketch(self, view: View, batch: _Batch, scores: Matrix, wanted: dict[Key, npt.NDArray[np.intp]]) -> None:
        columns: dict[str, list[Scalar]] = {name: _column(batch.predictions, name) for name in view.schema.names}
        matrix = np.column_stack([view.encoder.columns(columns), prediction_columns(view.schema.label.task, scores)])
        for key, rows in wanted.items():
            window = self.windows.setdefault(key, Window(summary=view.sketcher.empty()))
            summary = view.sketcher.summarise(matrix if len(rows) == batch.rows else matrix[rows])
            window.rows += len(rows)
            window.summary = summary if window.summary is None else window.summary + summary

    def _index(self, batch: _Batch, block: Block) -> None:
        at = 0
        late: list[tuple[LabelEntry, int]] = []
        for request, size in zip(batch.ids, batch.sizes, strict=True):
            self._places[request] = (block, at, size)
            at += size
            late += self._early.pop(request, [])
        self._join(late)

    def _join(self, labels: list[tuple[LabelEntry, int]]) -> None:
        by_bundle: dict[str, list[tuple[Block, int, int, LabelEntry]]] = defaultdict(list)
        for label, received_ns in labels:
            place = self._places.get(label.request_id)
            if place is None:
                self._early[label.request_id].append((label, received_ns))
            elif 0 <= label.row < place[2]:
                by_bundle[place[0].bundle].append((place[0], place[1] + label.row, received_ns, label))
        for version, found in by_bundle.items():
            for (block, row, received_ns, _), y in zip(found, self._values(version, found), strict=True):
                if received_ns >= block.received_ns[row] and not math.isnan(y):
                    block.y[row], block.received_ns[row] = y, received_ns

    def _count(self, audit: Audit) -> None:
        """Hold what the ensemble said of a request's rows against what was answered; rows whose window was judged are past."""
        self.rows_audited += len(audit.rows)
        place = self._places.get(audit.request_id)
        if place is None or not 0 <= min(audit.rows) <= max(audit.rows) < place[2]:
            return
        block, at, _ = place
        view, rows = self._view_of(block.bundle), at + np.array(audit.rows)
        if view.promise is None:
            return
        scores = np.frombuffer(audit.scores, dtype=np.float32).reshape(len(rows), -1)
        differs = disagree(view.schema.label, block.scores[rows], scores, tolerance=view.promise.tolerance)
        for start in np.unique(block.starts[rows]).tolist():
            key, inside = Key(start, block.bundle), block.starts[rows] == start
            if self._accepts(key, "drift"):
                found = Audits(rows=int(inside.sum()), differ=int(differs[inside].sum()))
                self.audits[key] = self.audits.get(key, Audits()) + found

    def _values(self, version: str, found: list[tuple[Block, int, int, LabelEntry]]) -> list[float]:
        label = self._view_of(version).schema.label
        try:
            return list(encode_labels(label, [entry.label for *_, entry in found]))
        except DataError:  # one of them is no label of this bundle: leave that row unlabelled
            return [_value_or_nan(label, entry) for *_, entry in found]


def _column(predictions: list[Prediction], name: str) -> list[Scalar]:
    """One column of many requests, end to end; a column that was not sent is missing."""
    return [value for p in predictions for value in p.columns.get(name) or [None] * len(p.event_times)]


def _value_or_nan(label: Label, entry: LabelEntry) -> float:
    try:
        return float(encode_labels(label, [entry.label])[0])
    except DataError as error:
        _log.warning("a label of request '%s' is left out: %s", entry.request_id, error.message)
        return math.nan
