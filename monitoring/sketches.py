"""Summaries of rows that can be added up: histograms over a profile's bins, missing, unknown and out-of-range counts.

Everything in a `Summary` is an integer, so that merging gives the same to the bit in any order. Predictions are
columns like any other, after the features. Besides its histogram each column has a score, which grows with its value and stays
within bounds, so that levels, spreads and joint moments can be summed that no outlier rules. Knows nothing of windows, time or tests.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import msgspec
import numpy as np
import numpy.typing as npt

from cluster.records import Record
from cluster.schema import Floats, Matrix, Task
from monitoring.decimals import finer

Counts = npt.NDArray[np.int64]
Cells = npt.NDArray[np.intp]
MISSING: Final = 0
UNKNOWN: Final = 1
BELOW: Final = 2
ABOVE: Final = 3
FINER: Final = 4
Fault = Literal["missing", "unknown", "outside", "precision"]
FAULTS: Final[dict[Fault, list[int]]] = {"missing": [MISSING], "unknown": [UNKNOWN], "outside": [BELOW, ABOVE], "precision": [FINER]}
"""What can be wrong with a value by itself, and where a summary's `quality` counts it."""
_UNIT: Final = 1 << 16  # steps a standard deviation: sums are kept as integers
_MOST: Final = float(1 << 20)  # standard deviations; 2**27 rows of it still fit 64 bits
SCORE_UNIT: Final = 32  # steps of a score that is 1
MOST_SCORE: Final = 3.0
_FEW_EDGES: Final = 64
_MANY_ROWS: Final = 1024
_FAR: Final = np.finfo(np.float32).max
_CHUNK: Final = 65_536  # values at a time: what is worked out of a chunk stays in the processor's cache


class Column(Record, frozen=True, kw_only=True):
    """How one column is binned."""

    name: str
    role: Literal["feature", "prediction"] = "feature"
    type: Literal["number", "category"]
    edges: list[float] = msgspec.field(default_factory=list)
    """Numbers: increasing; cell i holds edges[i-1] <= x < edges[i], the first and last cell what the reference never held."""
    categories: list[str] = msgspec.field(default_factory=list)
    """Categories: names of the codes."""
    scores: list[float] = msgspec.field(default_factory=list)
    """Within +-3. Numbers: the score at each edge, straight lines between, and -3 and 3 outside; categories: of each. Empty: 0 for all."""
    range: tuple[float, float] | None = None
    decimals: int | None = None
    """Numbers: how many were enough for the reference; None where that could not be told."""
    center: float = 0.0
    scale: float = 1.0
    """Mean and standard deviation on the reference, the zero and unit of sums."""

    @property
    def cells(self) -> int:
        """Cells of the histogram; missing and unknown values are counted apart."""
        return len(self.edges) + 1 if self.type == "number" else len(self.categories)

    @property
    def faults(self) -> list[Fault]:
        """What can be wrong with its values."""
        possible = {
            "missing": True,
            "unknown": self.type == "category",
            "outside": self.range is not None,
            "precision": self.decimals is not None,
        }
        return [fault for fault in FAULTS if possible[fault]]


@dataclass(frozen=True)
class Summary:
    """What is kept of many rows; add two to merge them.

    Attributes
    ----------
    rows
        How many.
    cells
        One int64 histogram a column, flat, in the order of the columns.
    quality
        int64 of shape (columns, 5): missing, unknown category, below and above the schema's range, of more decimals than the reference needed.
    sums
        int64 of shape (columns,): sum of (x - center) / scale over present numbers, in steps of 2**-16.
    moments
        int64 of shape (columns + 1, columns + 1): sums of products of scores, in steps of 1 / 32, a 1 before them; missing values count as 0.
    """

    rows: int
    cells: Counts
    quality: Counts
    sums: Counts
    moments: Counts

    def __add__(self, other: Summary) -> Summary:
        return Summary(
            self.rows + other.rows,
            self.cells + other.cells,
            self.quality + other.quality,
            self.sums + other.sums,
            self.moments + other.moments,
        )


def merge(summaries: Iterable[Summary]) -> Summary:
    """All of at least one summary together."""
    first, *others = summaries
    return sum(others, start=first)


def prediction_columns(task: Task, scores: Matrix) -> Matrix:
    """What of the scores, float32 (n, width), is watched: the score itself, or the highest score and its class."""
    if task != "multiclass":
        return scores[:, :1]
    if not len(scores):
        return np.empty((0, 2), dtype=np.float32)
    top = scores.max(axis=1)
    winner = np.where(np.isnan(top), np.nan, scores.argmax(axis=1))
    return np.column_stack([top, winner]).astype(np.float32)


class Sketcher:
    """Summarises matrices over given columns.

    Parameters
    ----------
    columns
        Features in the matrix's order, then the prediction's columns.

    Examples
    --------
    >>> miles = Column(name="miles", type="number", edges=[0.0, 100.0, 200.0], range=(0.0, 150.0))
    >>> carrier = Column(name="carrier", type="category", categories=["UA", "B6"])
    >>> rows = np.array([[50, 0], [199, 2], [np.nan, 1]], dtype=np.float32)
    >>> summary = Sketcher([miles, carrier]).summarise(rows)
    >>> summary.cells.tolist()
    [0, 1, 1, 0, 1, 1]
    >>> summary.quality.tolist()
    [[1, 0, 0, 1, 0], [0, 1, 0, 0, 0]]
    """

    def __init__(self, columns: Iterable[Column]) -> None:
        self.columns = tuple(columns)
        widths = np.array([column.cells for column in self.columns], dtype=np.intp)
        ends = np.cumsum(widths)
        self._slices = [slice(int(end - width), int(end)) for end, width in zip(ends, widths, strict=True)]
        self._total = int(ends[-1])
        self.starts: Cells = ends - widths
        """Where each column's histogram begins in a summary's cells."""
        self._numbers = [(j, np.array(c.edges, dtype=np.float32)) for j, c in enumerate(self.columns) if c.type == "number"]
        self._is_number = np.array([c.type == "number" for c in self.columns])[:, None]
        self._slots = _Slots(widths)
        self._levels, self._slopes = (np.concatenate(parts) for parts in zip(*map(_lines, self.columns), strict=True))
        self._lows, self._highs = (_limits(self.columns, end) for end in (0, 1))
        self._rounded = np.array([j for j, c in enumerate(self.columns) if c.decimals is not None], dtype=np.intp)
        self._powers = np.array([[10.0 ** (self.columns[j].decimals or 0)] for j in self._rounded], dtype=np.float32).reshape(-1, 1)
        self._centers = np.array([c.center for c in self.columns])[:, None]
        self._scales = np.array([c.scale for c in self.columns])
        self._units = np.array([1.0 / c.scale if c.type == "number" else 0.0 for c in self.columns])[:, None]

    def empty(self) -> Summary:
        """The summary of no rows."""
        k = len(self.columns)
        return Summary(
            0,
            np.zeros(self._total, np.int64),
            np.zeros((k, FINER + 1), np.int64),
            np.zeros(k, np.int64),
            np.zeros((k + 1, k + 1), np.int64),
        )

    def cells_of(self, summary: Summary, index: int) -> Counts:
        """The histogram of one column."""
        return summary.cells[self._slices[index]]

    def means_of(self, summary: Summary) -> Floats:
        """Mean of each column's present numbers, in its own unit: float64 (columns,); NaN when there is none, and of categories."""
        present = np.add.reduceat(summary.cells, self.starts).astype(np.float64)
        present[(present == 0) | ~self._is_number[:, 0]] = np.nan
        return np.asarray(self._centers[:, 0] + self._scales * (summary.sums / _UNIT / present))

    def summarise(self, matrix: Matrix) -> Summary:
        """Summarise float32 (n, columns)."""
        by_column = np.asarray(matrix, dtype=np.float32).T
        step = max(_CHUNK // len(self.columns), 1)
        chunks = [np.ascontiguousarray(by_column[:, at : at + step]) for at in range(0, len(matrix), step)]
        return merge(map(self._chunk, chunks)) if chunks else self.empty()

    def _chunk(self, values: Matrix) -> Summary:
        """All columns at once, float32 (columns, n): in a small window the calls cost more than the rows."""
        missing = np.isnan(values)
        slots = self._slots_of(values, missing)
        counts = np.bincount(slots.ravel(), minlength=len(self._levels))
        quality = np.zeros((len(self.columns), FINER + 1), np.int64)
        quality[:, UNKNOWN], quality[:, MISSING] = counts[self._slots.unknown], counts[self._slots.missing]
        quality[:, BELOW], quality[:, ABOVE] = np.count_nonzero(values < self._lows, axis=1), np.count_nonzero(values > self._highs, axis=1)
        quality[self._rounded, FINER] = np.count_nonzero(finer(values[self._rounded], self._powers), axis=1)
        present = np.where(missing, np.float32(0), np.clip(values, -_FAR, _FAR))
        scores = np.ones((len(self.columns) + 1, values.shape[1]))
        np.rint(self._levels[slots] + self._slopes[slots] * present, out=scores[1:])
        # products of whole numbers below 2**53: exact in float64, whatever the order in which they are added
        moments = np.rint(scores @ scores.T).astype(np.int64)
        return Summary(values.shape[1], counts[self._slots.cells], quality, self._sums(present, missing), moments)

    def _slots_of(self, values: Matrix, missing: npt.NDArray[np.bool_]) -> Cells:
        """Where each value is counted; of a category the code says it."""
        slots = np.zeros(values.shape, dtype=np.intp)
        np.copyto(slots, values, where=~(missing | self._is_number), casting="unsafe")
        for index, edges in self._numbers:
            slots[index] = _cells(edges, values[index])
        slots += self._slots.first
        np.copyto(slots, self._slots.missing[:, None], where=missing)
        return slots

    def _sums(self, present: Floats, missing: npt.NDArray[np.bool_]) -> Counts:
        steps = (present - self._centers) * self._units
        steps[missing] = 0.0
        return np.asarray(np.rint(np.clip(steps, -_MOST, _MOST) * _UNIT).astype(np.int64).sum(axis=1))


def _cells(edges: Matrix, values: Matrix) -> Cells | npt.NDArray[np.uint8]:
    """How many edges are not above each value; what is missing may be anywhere. Where there are few edges and many rows, edges are counted one by one,
    which costs a seventh of a search.
    """
    if len(edges) > _FEW_EDGES or len(values) < _MANY_ROWS:
        return edges.searchsorted(values, side="right")
    found, is_reached = np.zeros(len(values), np.uint8), np.empty(len(values), np.bool_)
    for edge in edges:
        np.greater_equal(values, edge, out=is_reached)
        found += is_reached.view(np.uint8)
    return found


class _Slots:
    """Where the values of columns with so many cells are counted: for each column its cells, then the unknown, then the missing."""

    def __init__(self, widths: Cells) -> None:
        ends = np.cumsum(widths + 2)
        self.unknown: Cells = ends - 2
        self.missing: Cells = ends - 1
        self.first: Cells = (ends - widths - 2)[:, None]
        self.cells: Cells = np.setdiff1d(np.arange(ends[-1]), [self.unknown, self.missing])


def _limits(columns: Sequence[Column], end: Literal[0, 1]) -> Matrix:
    """The lower or upper limits of columns, float32 (columns, 1); NaN, which nothing is beyond, where there is none."""
    return np.array([[np.nan if c.range is None or c.type == "category" else c.range[end]] for c in columns], dtype=np.float32)


def _lines(column: Column) -> tuple[Floats, Floats]:
    """Per slot the score where its line meets 0, in steps, and its slope; a category's is flat, and what is missing or unknown has the score 0."""
    if column.type == "category":
        scores = np.array(column.scores or [0.0] * column.cells) * SCORE_UNIT
        return np.concatenate([np.rint(scores), [0.0, 0.0]]), np.zeros(column.cells + 2)
    most = MOST_SCORE if column.scores else 0.0
    edges, at = np.array(column.edges, dtype=np.float32).astype(np.float64), np.array(column.scores or [0.0] * len(column.edges))
    slopes = np.diff(at) / np.diff(edges)
    levels = np.concatenate([[-most], at[:-1] - slopes * edges[:-1], [most, 0.0, 0.0]]) * SCORE_UNIT
    return levels, np.concatenate([[0.0], slopes, [0.0, 0.0, 0.0]]) * SCORE_UNIT
