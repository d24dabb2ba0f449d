"""Predictions of one bundle, waiting to be encoded together: many requests as one table. Knows no window."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from cluster.journal import Entry
from cluster.records import Prediction
from cluster.schema import Floats, Matrix, Scalar, score_width
from monitoring.closings import Stamps
from monitoring.impossible import Requests
from monitoring.view import View


@dataclass
class Batch:
    """Requests, end to end."""

    ids: list[str] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    received_ns: list[int] = field(default_factory=list)
    predictions: list[Prediction] = field(default_factory=list)
    rows: int = 0

    def add(self, entry: Entry, prediction: Prediction) -> None:
        """One more request."""
        self.ids.append(entry.request_id)
        self.sizes.append(entry.rows)
        self.received_ns.append(entry.received_ns)
        self.predictions.append(prediction)
        self.rows += entry.rows

    def times(self) -> Floats:
        """Event time of each row, float64 (n,)."""
        return np.concatenate([np.asarray(p.event_times, dtype=np.float64) for p in self.predictions])

    def received(self) -> Stamps:
        """When each row was received, int64 (n,)."""
        return np.repeat(np.array(self.received_ns, dtype=np.int64), self.sizes)

    def scores(self, view: View) -> Matrix:
        """What was answered, float32 (n, width)."""
        found = np.frombuffer(b"".join(p.scores for p in self.predictions), dtype=np.float32)
        return found.reshape(self.rows, score_width(view.schema.label))

    def by_ensemble(self) -> npt.NDArray[np.uint8]:
        """1 where the ensemble answered, (n,)."""
        return np.frombuffer(b"".join(p.by_ensemble for p in self.predictions), dtype=np.uint8)

    def column(self, name: str) -> list[Scalar]:
        """One column of all requests; a column that was not sent is missing."""
        return [value for p in self.predictions for value in p.columns.get(name) or [None] * len(p.event_times)]

    def requests(self, times: Floats) -> Requests:
        """Whose rows they are."""
        return Requests(self.ids, self.sizes, times)
