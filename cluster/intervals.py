"""Prediction intervals of a regression bundle: how far from the answer the truth may be. `training.composing.intervals` learns them."""

from __future__ import annotations

import numpy as np

from cluster.records import Record
from cluster.schema import Floats, Matrix


class Intervals(Record, frozen=True, kw_only=True):
    """What `intervals.json` holds."""

    confidence: float
    """Share of rows whose truth falls inside, on rows like the held-out ones."""
    method: str
    edges: list[float]
    """Between bins of the predicted value, ascending; a prediction on an edge belongs to the bin above."""
    half_widths: list[float]
    """One a bin, in units of the label."""
    rows: int
    """Held-out rows they were learned from."""
    coverage: float
    """On those rows."""

    def around(self, scores: Matrix) -> Floats:
        """Lower and upper ends, float64 of shape (n, 2).

        >>> few = Intervals(confidence=0.9, method="", edges=[10.0], half_widths=[1.0, 3.0], rows=0, coverage=1.0)
        >>> few.around(np.array([[5.0], [10.0]], dtype=np.float32)).tolist()
        [[4.0, 6.0], [7.0, 13.0]]
        """
        predicted = scores[:, 0].astype(np.float64)
        widths = np.asarray(self.half_widths)[np.searchsorted(self.edges, predicted, side="right")]
        return np.column_stack([predicted - widths, predicted + widths])
