"""Gathers journal entries into windows of event time, a bundle at a time, and joins labels and audits to rows.

Takes entries in any order of segments; what it holds is what a recount of the journal would give: what came too late for a
window is decided by when it was received (`monitoring.closings`). Rows are dropped when their window's performance has been
judged. Knows nothing of verdict logs, Ray or clocks.
"""

from __future__ import annotations

import logging
import math
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from cluster.errors import BundleError, DataError, UnknownVersion
from cluster.journal import Entry
from cluster.margin import disagree
from cluster.records import Audit, LabelEntry, Prediction
from cluster.schema import Floats, Label, Matrix, Scalar, canonical, encode_labels, score_width
from monitoring import impossible
from monitoring.agreement import Audits
from monitoring.closings import Closings, Stamps
from monitoring.impossible import First, Requests, Rule
from monitoring.marks import Marks, marks_of
from monitoring.samples import Sample
from monitoring.sketches import Summary, prediction_columns
from monitoring.slices import Flags, Slice
from monitoring.view import View

_log = logging.getLogger(__name__)
_CHUNK_ROWS = 50_000
LOOKS: Final = ("drift", "performance")
_MOST_NAMES: Final = 1000
"""Different values of a protected column that are told apart; far more than are compared."""


class _Times(msgspec.Struct):
    """All that is read of a prediction to know which windows it closes."""

    event_times: list[float]


_decode_times = msgspec.msgpack.Decoder(_Times).decode


class Key(NamedTuple):
    """A window of one bundle."""

    start: float
    bundle: str


@dataclass
class Window:
    """What is gathered of one window."""

    rows: int = 0
    by_ensemble: int = 0
    """Of them, rows that the ensemble answered."""
    summary: Summary | None = None
    sample: Sample | None = None
    firsts: dict[str, First] = field(default_factory=dict)
    """By rule that is broken (`monitoring.impossible`), the earliest row."""
    blocks: list[tuple[Block, npt.NDArray[np.intp]]] = field(default_factory=list)
    """Where its rows are kept until their labels are due."""


@dataclass
class Block:
    """Rows that were encoded together; request ids point into it."""

    bundle: str
    scores: Matrix
    y: dict[str, Floats]
    """By look, each row's label as far as it was received before the row's window closed for that look."""
    received_ns: dict[str, Stamps]
    """When that label was received; the last one counts."""
    sketched: Flags
    """Which rows were there in time for the look `drift`."""
    starts: Floats
    """Start of each row's window."""
    marks: Marks
    groups: dict[str, npt.NDArray[np.int32]]
    """By protected column, the number of each row's group."""
    slices: Flags
    """Which of the bundle's slices each row is of, bool (n, slices)."""
    requests: list[str]
    windows: set[Key]


class Rows(NamedTuple):
    """The rows of one window, in the order of their marks."""

    scores: Matrix
    """float32 (n, width)."""
    y: Floats
    """float64 (n,), NaN where no label has come."""
    groups: dict[str, npt.NDArray[np.object_]]
    """By protected column, the group of each row; None where it is not known."""
    slices: Flags
    """bool (n, slices), in the order of the bundle's."""


@dataclass
class _Batch:
    """Predictions of one bundle, waiting to be encoded together."""

    ids: list[str] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    received_ns: list[int] = field(default_factory=list)
    predictions: list[Prediction] = field(default_factory=list)
    rows: int = 0


_Waiting = tuple[LabelEntry | Audit, int]


class _Early:
    """Labels and audits of requests that are not known, with the time of their reception; for the time of two looks."""

    def __init__(self) -> None:
        self._new: dict[str, list[_Waiting]] = defaultdict(list)
        self._old: dict[str, list[_Waiting]] = {}

    def wait(self, request_id: str, found: LabelEntry | Audit, received_ns: int) -> None:
        self._new[request_id].append((found, received_ns))

    def pop(self, request_id: str) -> list[_Waiting]:
        return [*self._old.pop(request_id, ()), *self._new.pop(request_id, ())]

    def grow_old(self) -> None:
        self._old, self._new = self._new, defaultdict(list)


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
        self._names: dict[str, dict[str | None, int]] = defaultdict(dict)
        self._places: dict[str, tuple[Block, int, int]] = {}
        self._early = _Early()
        self._blind: set[str] = set()
        self.windows: dict[Key, Window] = {}
        self.labels: dict[Key, Window] = {}
        self.audits: dict[Key, Audits] = {}
        self.rows = 0
        self.rows_unjudged = 0
        self.rows_late = 0
        self.label_entries = 0
        self.rows_audited = 0

    def scout(self, entries: Iterable[Entry]) -> None:
        """Look which windows entries close that are taken later. Call it with all that lies ahead, before any of it is taken."""
        for entry in entries:
            if entry.kind == "prediction":
                self._closings.note(_decode_times(entry.body).event_times, entry.received_ns)

    def take(self, entries: Iterable[Entry]) -> None:
        """Take in entries that were not taken before."""
        batches: dict[str, _Batch] = defaultdict(_Batch)
        labels: list[tuple[LabelEntry, int]] = []
        entries = list(entries)
        predictions = [(entry, entry.prediction()) for entry in entries if entry.kind == "prediction"]
        for version in {prediction.bundle for _, prediction in predictions}:
            self._known(version)  # may raise; before anything is counted
        for entry, prediction in predictions:
            self._closings.note(prediction.event_times, entry.received_ns)
        for entry, prediction in predictions:
            batch = batches[prediction.bundle]
            batch.ids.append(entry.request_id)
            batch.sizes.append(entry.rows)
            batch.received_ns.append(entry.received_ns)
            batch.predictions.append(prediction)
            batch.rows += entry.rows
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
                self._count(entry.audit(), entry.received_ns)

    def forget_early(self) -> None:
        """Drop labels and audits of rows that are not kept: those that were waiting when the journal was last read to its end as well.

        Call when it has been read to its end. Segments are not read at one moment, so a label may be seen a look before its row.
        """
        self._early.grow_old()

    def rows_of(self, key: Key, look: str) -> Rows | None:
        """A window's rows with what was known of them when it closed for this look; None when there are none."""
        kept = self.labels[key].blocks if key in self.labels else []
        if look == "drift":
            kept = [(b, i[b.sketched[i]]) for b, i in kept]
        if not sum(len(i) for _, i in kept):
            return None
        order = np.argsort(np.concatenate([b.marks[i] for b, i in kept]), kind="stable")
        codes = {name: np.concatenate([b.groups[name][i] for b, i in kept])[order] for name in kept[0][0].groups}
        return Rows(
            np.concatenate([b.scores[i] for b, i in kept])[order],
            np.concatenate([b.y[look][i] for b, i in kept])[order],
            {name: np.array(list(self._names[name]), dtype=object)[found] for name, found in codes.items()},
            np.concatenate([b.slices[i] for b, i in kept])[order],
        )

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
        done = sum(int(np.count_nonzero(~np.isnan(b.y["performance"][i]))) for w in self.labels.values() for b, i in w.blocks)
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

    def _digest(self, version: str, batch: _Batch) -> None:
        self.rows += batch.rows
        if not self._known(version):
            self.rows_unjudged += batch.rows
            return
        if not batch.rows:
            return
        view = self._view_of(version)
        times = np.concatenate([np.asarray(p.event_times, dtype=np.float64) for p in batch.predictions])
        starts = np.floor(times / self._window_s) * self._window_s
        if not any(self._accepts(Key(start, version), look) for start in np.unique(starts).tolist() for look in LOOKS):
            self.rows_late += batch.rows
            return
        scores = np.frombuffer(b"".join(p.scores for p in batch.predictions), dtype=np.float32)
        scores = scores.reshape(batch.rows, score_width(view.schema.label))
        columns: dict[str, list[Scalar]] = {name: _column(batch.predictions, name) for name in view.schema.names}
        matrix = view.encoder.columns(columns)
        block = Block(
            bundle=version,
            scores=scores,
            y={look: np.full(batch.rows, np.nan) for look in LOOKS},
            received_ns={look: np.zeros(batch.rows, np.int64) for look in LOOKS},
            sketched=np.zeros(batch.rows, np.bool_),
            starts=starts,
            marks=marks_of(batch.ids, batch.received_ns, batch.sizes),
            groups={name: self._groups(name, columns.get(name) or _column(batch.predictions, name)) for name in view.schema.protected},
            slices=_flags(self._slices_of(version), matrix),
            requests=batch.ids,
            windows=set(),
        )
        wanted = self._sort_into_windows(block, np.repeat(np.array(batch.received_ns, dtype=np.int64), batch.sizes))
        if wanted:
            self._sketch(view, batch, block, matrix, wanted, Requests(batch.ids, batch.sizes, times))
        if block.windows:
            self._index(batch, block)

    def _sort_into_windows(self, block: Block, received_ns: Stamps) -> dict[Key, npt.NDArray[np.intp]]:
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

    def _in_time(self, key: Key, look: str, rows: npt.NDArray[np.intp], received_ns: Stamps) -> npt.NDArray[np.intp]:
        if not self._accepts(key, look):
            return rows[:0]
        return rows[received_ns[rows] <= self._closings.of(key.start, look)]

    def _sketch(
        self, view: View, batch: _Batch, block: Block, matrix: Matrix, wanted: dict[Key, npt.NDArray[np.intp]], requests: Requests
    ) -> None:
        whole = np.column_stack([matrix, prediction_columns(view.schema.label.task, block.scores)])
        by_ensemble = np.frombuffer(b"".join(p.by_ensemble for p in batch.predictions), dtype=np.uint8)
        for key, rows in wanted.items():
            window = self.windows.setdefault(key, Window(summary=view.sketcher.empty()))
            summary = view.sketcher.summarise(whole if len(rows) == batch.rows else whole[rows])
            window.rows += len(rows)
            window.by_ensemble += int(np.count_nonzero(by_ensemble[rows]))
            window.summary = summary if window.summary is None else window.summary + summary
            sample = Sample.of(block.marks[rows], matrix[rows], block.scores[rows])
            window.sample = sample if window.sample is None else window.sample.with_(sample)
            found = impossible.firsts(self._rules_of(view.version), summary.quality, matrix, rows, requests)
            window.firsts = impossible.merged(window.firsts, found)

    def _groups(self, column: str, values: list[Scalar]) -> npt.NDArray[np.int32]:
        """Numbers for the values of a protected column; beyond so many different ones, the number of the last."""
        known = self._names[column]
        codes = np.empty(len(values), np.int32)
        for i, value in enumerate(values):
            text = canonical(value)
            code = known.get(text)
            if code is None:
                code = known.setdefault(text, len(known)) if len(known) < _MOST_NAMES else _MOST_NAMES - 1
            codes[i] = code
        return codes

    def _index(self, batch: _Batch, block: Block) -> None:
        at = 0
        waiting: list[_Waiting] = []
        for request, size in zip(batch.ids, batch.sizes, strict=True):
            self._places[request] = (block, at, size)
            at += size
            waiting += self._early.pop(request)
        self._join([(found, received_ns) for found, received_ns in waiting if isinstance(found, LabelEntry)])
        for found, received_ns in waiting:
            if isinstance(found, Audit):
                self._compare(found, received_ns)

    def _join(self, labels: list[tuple[LabelEntry, int]]) -> None:
        by_bundle: dict[str, list[tuple[Block, int, int, LabelEntry]]] = defaultdict(list)
        for label, received_ns in labels:
            place = self._places.get(label.request_id)
            if place is None:
                self._early.wait(label.request_id, label, received_ns)
            elif 0 <= label.row < place[2]:
                by_bundle[place[0].bundle].append((place[0], place[1] + label.row, received_ns, label))
        for version, found in by_bundle.items():
            closed_ns: dict[float, dict[str, int]] = {}
            for (block, row, received_ns, _), y in zip(found, self._values(version, found), strict=True):
                start = float(block.starts[row])
                if start not in closed_ns:
                    closed_ns[start] = {look: self._closings.of(start, look) for look in LOOKS}
                for look in LOOKS:
                    if block.received_ns[look][row] <= received_ns <= closed_ns[start][look] and not math.isnan(y):
                        block.y[look][row], block.received_ns[look][row] = y, received_ns

    def _count(self, audit: Audit, received_ns: int) -> None:
        self.rows_audited += len(audit.rows)
        if audit.request_id in self._places:
            self._compare(audit, received_ns)
        else:
            self._early.wait(audit.request_id, audit, received_ns)

    def _compare(self, audit: Audit, received_ns: int) -> None:
        """Hold what the ensemble said of a request's rows against what was answered; rows whose window was judged are past."""
        place = self._places[audit.request_id]
        if not 0 <= min(audit.rows) <= max(audit.rows) < place[2]:
            return
        block, at, _ = place
        view, rows = self._view_of(block.bundle), at + np.array(audit.rows)
        if view.promise is None:
            return
        scores = np.frombuffer(audit.scores, dtype=np.float32).reshape(len(rows), -1)
        differs = disagree(view.schema.label, block.scores[rows], scores, tolerance=view.promise.tolerance)
        for start in np.unique(block.starts[rows]).tolist():
            key, inside = Key(start, block.bundle), block.starts[rows] == start
            if self._accepts(key, "drift") and received_ns <= self._closings.of(start, "drift"):
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


def _flags(slices: tuple[Slice, ...], matrix: Matrix) -> Flags:
    """Which rows are of which slice, bool (n, slices)."""
    return np.column_stack([slice_.holds(matrix) for slice_ in slices]) if slices else np.zeros((len(matrix), 0), np.bool_)


def _value_or_nan(label: Label, entry: LabelEntry) -> float:
    try:
        return float(encode_labels(label, [entry.label])[0])
    except DataError as error:
        _log.warning("a label of request '%s' is left out: %s", entry.request_id, error.message)
        return math.nan
