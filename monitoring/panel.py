"""What is tested of a window: levels, spreads, shares of categories, faults and what columns have in common, from its summary to figures. Pure.

Every figure is brought to a scale on which its noise is known, so that windows of few rows and of many compare: shares by the arcsine of
their square root (variance 1/4n), correlations by Fisher's z (1/n), spreads by the logarithm of the variance within the window (2/n), around the
window's own level: days whose level wanders are not wider days. Knows no past and no evidence.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from cluster.records import Record
from cluster.schema import Floats
from monitoring.sketches import FAULTS, MISSING, SCORE_UNIT, UNKNOWN, Counts, Fault, Sketcher, Summary

What = Fault | Literal["level", "spread", "share", "gone", "joint", "gap", "loss"]
_BY_COLUMN: Final[tuple[What, ...]] = ("level", "spread", "share", "gone", "joint", "gap", *FAULTS)
ARCSINE_VARIANCE: Final = 0.25
Index = npt.NDArray[np.intp]
_NEAR_ONE: Final = 0.98  # a correlation nearer to 1 is as near as this
_LEAST_VARIANCE: Final = 0.01  # a tenth of the reference's standard deviation: windows narrower than that are alike


class Aspect(Record, frozen=True, kw_only=True):
    """One figure that is tested."""

    key: str
    """The metric whose evidence it is: `feature_drift:NAME` and the like."""
    what: What
    column: int
    cell: int = -1
    """`share`: of which category."""
    other: int = -1
    """`joint` and `gap`: the second column."""
    correlation: float = 0.0
    """`gap`: of the two on the reference; it says which way they go together."""
    shares: list[float] = msgspec.field(default_factory=list)
    """`gone`: of each category on the reference; 0 for those that are not asked after."""
    most: float | None = None
    """Faults: a figure counts as no more than this, so that a day on which a source failed does not hide a few more on all days."""
    sides: Literal[1, 2] = 2
    """1: only a rise is a fault."""


class Measured(NamedTuple):
    """Figures of one window, float64 (A,) each; NaN where it says nothing."""

    figures: Floats
    rows: Floats
    """Rows that each is taken over."""


class Panel:
    """Measures windows.

    Parameters
    ----------
    aspects
        What is measured, in this order.
    sketcher
        Of the summaries that will come.
    """

    def __init__(self, aspects: Sequence[Aspect], sketcher: Sketcher) -> None:
        self.aspects = tuple(aspects)
        self._sketcher = sketcher
        self._places = {what: self._of(what) for what in _BY_COLUMN}
        self._columns = np.array([aspect.column for aspect in self.aspects], dtype=np.intp)
        self._cells = np.array([aspect.cell for aspect in self.aspects], dtype=np.intp)
        self._rates = np.array([aspect.what in (*FAULTS, "joint") for aspect in self.aspects], dtype=bool)
        self._others = np.array([aspect.other for aspect in self.aspects], dtype=np.intp)
        self._most = np.array([np.inf if aspect.most is None else aspect.most for aspect in self.aspects])
        self._signs = np.sign([aspect.correlation for aspect in self.aspects])
        self._asked = [(place, np.array(self.aspects[place].shares)) for place in self._places["gone"].tolist()]

    def _of(self, what: What) -> Index:
        return np.array([i for i, aspect in enumerate(self.aspects) if aspect.what == what], dtype=np.intp)

    def measure(self, summary: Summary, *, fewest: int) -> Measured:
        """All but losses, which need labels; a column with fewer than `fewest` present values says nothing of its values."""
        n = max(summary.rows, 1)
        present = n - summary.quality[:, MISSING] - summary.quality[:, UNKNOWN]
        figures = np.full(len(self.aspects), np.nan)
        rows = np.where(self._rates, n, present[self._columns]).astype(np.float64)
        level = self._moments(summary, present, figures)
        self._gaps(level, present, figures, rows)
        self._shares(summary, figures, rows)
        self._gone(summary, figures, rows)
        self._faults(summary, figures, rows)
        return Measured(np.where(rows >= fewest, figures, np.nan), rows)

    def _moments(self, summary: Summary, present: Counts, figures: Floats) -> Floats:
        """Returns the level of each column."""
        sums, products = summary.moments[0, 1:] / SCORE_UNIT, summary.moments[1:, 1:] / SCORE_UNIT**2
        counted = np.maximum(present, 1)
        level = sums / counted
        spread = np.log(np.maximum(products.diagonal() / counted - level**2, 0.0) + _LEAST_VARIANCE)
        at = self._places["level"]
        figures[at] = level[self._columns[at]]
        at = self._places["spread"]
        figures[at] = spread[self._columns[at]]
        at, n = self._places["joint"], max(summary.rows, 1)
        a, b = self._columns[at], self._others[at]
        mean = sums / n
        variance = np.maximum(products.diagonal() / n - mean**2, 0.0)
        scale = np.sqrt(variance[a] * variance[b])
        together = products[a, b] / n - mean[a] * mean[b]
        figures[at] = np.arctanh(np.clip(np.divide(together, scale, out=np.zeros(len(at)), where=scale > 0), -_NEAR_ONE, _NEAR_ONE))
        return np.asarray(level)

    def _gaps(self, level: Floats, present: Counts, figures: Floats, rows: Floats) -> None:
        """How far levels that go together lie apart: what moves both is no news, and what moves one of them is."""
        at = self._places["gap"]
        a, b = self._columns[at], self._others[at]
        figures[at] = level[a] - self._signs[at] * level[b]
        rows[at] = np.minimum(present[a], present[b])

    def _gone(self, summary: Summary, figures: Floats, rows: Floats) -> None:
        """The usual share of categories of which the window has not one row."""
        for place, shares in self._asked:
            start = self._sketcher.starts[self._columns[place]]
            absent = summary.cells[start : start + len(shares)] == 0
            figures[place] = arcsine(shares[absent].sum() * rows[place], rows[place])

    def _shares(self, summary: Summary, figures: Floats, rows: Floats) -> None:
        at = self._places["share"]
        starts = self._sketcher.starts[self._columns[at]]
        figures[at] = arcsine(summary.cells[starts + self._cells[at]], rows[at])

    def _faults(self, summary: Summary, figures: Floats, rows: Floats) -> None:
        for fault, counted in FAULTS.items():
            at = self._places[fault]
            figures[at] = np.minimum(arcsine(summary.quality[self._columns[at]][:, counted].sum(axis=1), rows[at]), self._most[at])


def arcsine(counts: Floats | Counts, rows: Floats) -> Floats:
    """The arcsine of the square root of a share (Anscombe 1948): variance about 1 / 4n whatever the share.

    >>> arcsine(np.array([0.0, 50.0]), np.array([100.0, 100.0])).round(3).tolist()
    [0.061, 0.785]
    """
    return np.asarray(np.arcsin(np.sqrt((counts + 0.375) / (np.maximum(rows, counts) + 0.75))))
