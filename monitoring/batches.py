"""Requests of one bundle, end to end, encoded as they come: of what was sent, a piece at a time is decoded. Knows no window."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from cluster import packed
from cluster.journal import Entry
from cluster.packed import Packed
from cluster.schema import Floats, Matrix, score_width
from monitoring.closings import Stamps
from monitoring.impossible import Requests
from monitoring.view import View
from monitoring.windows import Names

_PIECE_ROWS: Final = 4096
"""Decoded together, a column at a time: what is made of fewer rows costs more calls, and of more rows leaves the processor's cache."""


class Encoded(NamedTuple):
    """Rows as a bundle sees them."""

    matrix: Matrix
    """float32 (n, features)."""
    scores: Matrix
    """What was answered, float32 (n, width)."""
    by_ensemble: npt.NDArray[np.uint8]
    """1 where the ensemble answered, (n,)."""
    groups: dict[str, npt.NDArray[np.int32]]
    """By protected column, the number of each row's group."""


class Batch:
    """Requests, end to end.

    Parameters
    ----------
    view
        Of the bundle; None for one whose rows cannot be judged, of which nothing but times is read.
    names
        Numbers of groups.
    """

    def __init__(self, view: View | None, names: Names) -> None:
        self.view = view
        self.ids: list[str] = []
        self.sizes: list[int] = []
        self.received_ns: list[int] = []
        self.rows = 0
        self._names = names
        self._waiting: list[Packed] = []
        self._until = 0
        """Rows that are encoded."""
        self._times: list[Floats] = []
        self._pieces: list[Encoded] = []

    def add(self, entry: Entry, request: Packed) -> None:
        """One more request."""
        self.ids.append(entry.request_id)
        self.sizes.append(entry.rows)
        self.received_ns.append(entry.received_ns)
        self.rows += entry.rows
        self._waiting.append(request)
        if self.rows - self._until >= _PIECE_ROWS:
            self._encode()

    def times(self) -> Floats:
        """Event time of each row, float64 (n,)."""
        self._encode()
        return np.concatenate(self._times)

    def received(self) -> Stamps:
        """When each row was received, int64 (n,)."""
        return np.repeat(np.array(self.received_ns, dtype=np.int64), self.sizes)

    def encoded(self) -> Encoded:
        """All rows, of a bundle that can be judged."""
        self._encode()
        matrices, scores, by_ensemble, groups = zip(*self._pieces, strict=True)
        names = groups[0]
        return Encoded(
            np.concatenate(matrices),
            np.concatenate(scores),
            np.concatenate(by_ensemble),
            {name: np.concatenate([codes[name] for codes in groups]) for name in names},
        )

    def requests(self, times: Floats) -> Requests:
        """Whose rows they are."""
        return Requests(self.ids, self.sizes, times)

    def _encode(self) -> None:
        if not self._waiting:
            return
        self._times.append(packed.times(self._waiting, self.rows - self._until))
        if self.view is not None:
            self._pieces.append(_encoded(self.view, self._waiting, self.sizes[-len(self._waiting) :], self._names))
        self._until = self.rows
        self._waiting = []


def _encoded(view: View, requests: Sequence[Packed], sizes: Sequence[int], names: Names) -> Encoded:
    columns = packed.Columns(requests, sizes)
    return Encoded(
        view.encoder.packed(columns),
        np.frombuffer(b"".join([request.scores for request in requests]), np.float32).reshape(-1, score_width(view.schema.label)),
        np.frombuffer(b"".join([request.by_ensemble for request in requests]), np.uint8),
        {name: names.codes(name, columns[name].scalars()) for name in view.schema.protected},
    )
