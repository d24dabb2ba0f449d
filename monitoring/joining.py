"""Joins labels and audits to the rows they are about, in whatever order they come. Knows no sketch.

A label or an audit may be read before its row: segments are not read at one moment. It waits for the time of two looks.
"""

from __future__ import annotations

import logging
import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from cluster.errors import DataError
from cluster.margin import disagree
from cluster.records import Audit, LabelEntry
from cluster.schema import Label, encode_labels
from monitoring.agreement import Audits
from monitoring.closings import Closings
from monitoring.view import View
from monitoring.windows import LOOKS, Block, Key

_log = logging.getLogger(__name__)
_Waiting = tuple[LabelEntry | Audit, int]


class Place(NamedTuple):
    """Where a request's rows are."""

    block: Block
    at: int
    size: int


class _Found(NamedTuple):
    """A label and the row it is about."""

    block: Block
    row: int
    received_ns: int
    label: LabelEntry


class Joins:
    """What is known of requests whose rows are held.

    Parameters
    ----------
    view_of
        Finds a bundle by version.
    accepts
        Whether a window still takes what comes, by look.
    closings
        When windows were over.
    """

    def __init__(self, view_of: Callable[[str], View], *, accepts: Callable[[Key, str], bool], closings: Closings) -> None:
        self._view_of, self._accepts, self._closings = view_of, accepts, closings
        self._new: dict[str, list[_Waiting]] = defaultdict(list)
        self._old: dict[str, list[_Waiting]] = {}
        self.places: dict[str, Place] = {}
        self.audits: dict[Key, Audits] = {}

    def hold(self, ids: Sequence[str], sizes: Sequence[int], block: Block) -> None:
        """Rows of requests are held from now on, end to end in a block; what waited for them is joined."""
        at = 0
        waiting: list[_Waiting] = []
        for request, size in zip(ids, sizes, strict=True):
            self.places[request] = Place(block, at, size)
            at += size
            waiting += [*self._old.pop(request, ()), *self._new.pop(request, ())]
        self.join([(found, received_ns) for found, received_ns in waiting if isinstance(found, LabelEntry)])
        for found, received_ns in waiting:
            if isinstance(found, Audit):
                self._compare(found, received_ns)

    def release(self, block: Block) -> None:
        """A block's rows are no longer held."""
        for request in block.requests:
            self.places.pop(request, None)

    def forget_early(self) -> None:
        """Drop what has waited since the call before."""
        self._old, self._new = self._new, defaultdict(list)

    def join(self, labels: Sequence[tuple[LabelEntry, int]]) -> None:
        """Take in labels, each with the time of its reception."""
        by_bundle: dict[str, list[_Found]] = defaultdict(list)
        for label, received_ns in labels:
            place = self.places.get(label.request_id)
            if place is None:
                self._new[label.request_id].append((label, received_ns))
            elif 0 <= label.row < place.size:
                by_bundle[place.block.bundle].append(_Found(place.block, place.at + label.row, received_ns, label))
        for version, found in by_bundle.items():
            self._write(version, found)

    def _write(self, version: str, found: list[_Found]) -> None:
        closed_ns: dict[float, dict[str, int]] = {}
        for (block, row, received_ns, _), y in zip(found, self._values(version, found), strict=True):
            start = float(block.starts[row])
            if start not in closed_ns:
                closed_ns[start] = {look: self._closings.of(start, look) for look in LOOKS}
            for look in LOOKS:
                if block.received_ns[look][row] <= received_ns <= closed_ns[start][look] and not math.isnan(y):
                    block.y[look][row], block.received_ns[look][row] = y, received_ns

    def audit(self, audit: Audit, received_ns: int) -> None:
        """Take in an audit."""
        if audit.request_id in self.places:
            self._compare(audit, received_ns)
        else:
            self._new[audit.request_id].append((audit, received_ns))

    def _compare(self, audit: Audit, received_ns: int) -> None:
        """Hold what the ensemble said of a request's rows against what was answered; rows whose window was judged are past."""
        block, at, size = self.places[audit.request_id]
        if not 0 <= min(audit.rows) <= max(audit.rows) < size:
            return
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

    def _values(self, version: str, found: list[_Found]) -> list[float]:
        label = self._view_of(version).schema.label
        try:
            return list(encode_labels(label, [one.label.label for one in found]))
        except DataError:  # one of them is no label of this bundle: leave that row unlabelled
            return [_value_or_nan(label, one.label) for one in found]


def _value_or_nan(label: Label, entry: LabelEntry) -> float:
    try:
        return float(encode_labels(label, [entry.label])[0])
    except DataError as error:
        _log.warning("a label of request '%s' is left out: %s", entry.request_id, error.message)
        return math.nan
