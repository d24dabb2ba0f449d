"""Summaries of rows that can be added up: histograms over a profile's bins, missing, unknown and out-of-range counts.

Everything in a `Summary` is an integer, so that merging gives the same to the bit in any order. Predictions are
columns like any other, after the features. Besides its histogram each column has a score, which grows with its value and stays
within bounds, so that levels, spreads and joint moments can be summed that no outlier rules. Knows nothing of windows, time or tests.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Literal

import msgspec
import numpy as np
import numpy.typing as npt

from cluster.records import Record
from cluster.schema import Floats, Matrix, Task

Counts = npt.NDArray[np.int64]
Cells = npt.NDArray[np.intp]
MISSING: Final = 0
UNKNOWN: Final = 1
BELOW: Final = 2
ABOVE: Final = 3
_UNIT: Final = 1 << 16  # steps a standard deviation: sums are kept as integers
_MOST: Final = float(1 << 20)  # standard deviations; 2**27 rows of it still fit 64 bits
SCORE_UNIT: Final = 32  # steps of a score that is 1
MOST_SCORE: Final = 3.0
_FEW_EDGES: Final = 64
_CHUNK: Final = 16_384  # rows at a time: the scores of a chunk stay in the processor's cache


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
    center: float = 0.0
    scale: float = 1.0
    """Mean and standard deviation on the reference, the zero and unit of sums."""

    @property
    def cells(self) -> int:
        """Cells of the histogram; missing and unknown values are counted apart."""
        return len(self.edges) + 1 if self.type == "number" else len(self.categories)


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
        int64 of shape (columns, 4): missing, unknown category, below and above the schema's range.
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
    [[1, 0, 0, 1], [0, 1, 0, 0]]
    """

    def __init__(self, columns: Iterable[Column]) -> None:
        self.columns = tuple(columns)
        self._edges = [np.array(column.edges, dtype=np.float32) for column in self.columns]
        ends = np.cumsum([column.cells for column in self.columns])
        self._slices = [slice(int(end) - column.cells, int(end)) for end, column in zip(ends, self.columns, strict=True)]
        self._total = int(ends[-1])
        self.starts: Cells = np.array([cells.start for cells in self._slices], dtype=np.intp)
        """Where each column's histogram begins in a summary's cells."""
        self._lines = [_lines(column) for column in self.columns]

    def empty(self) -> Summary:
        """The summary of no rows."""
        k = len(self.columns)
        return Summary(
            0, np.zeros(self._total, np.int64), np.zeros((k, 4), np.int64), np.zeros(k, np.int64), np.zeros((k + 1, k + 1), np.int64)
        )

    def cells_of(self, summary: Summary, index: int) -> Counts:
        """The histogram of one column."""
        return summary.cells[self._slices[index]]

    def mean_of(self, summary: Summary, index: int) -> float:
        """Mean of a column's present numbers, in its own unit; NaN when there is none."""
        column, present = self.columns[index], int(self.cells_of(summary, index).sum())
        return column.center + column.scale * int(summary.sums[index]) / _UNIT / present if present else float("nan")

    def summarise(self, matrix: Matrix) -> Summary:
        """Summarise float32 (n, columns)."""
        summary = self.empty()
        for at in range(0, len(matrix), _CHUNK):
            summary = summary + self._chunk(np.ascontiguousarray(matrix[at : at + _CHUNK].T, dtype=np.float32))
        return summary

    def _chunk(self, by_column: Matrix) -> Summary:
        summary, rows = self.empty(), by_column.shape[1]
        scores = np.ones((len(self.columns) + 1, rows))
        for index, (column, values) in enumerate(zip(self.columns, by_column, strict=True)):
            fill = self._number if column.type == "number" else self._category
            cells = fill(index, values, summary)
            levels, slopes = self._lines[index]
            scores[index + 1] = levels[cells] if slopes is None else _scores(levels, slopes, cells, values)
        # products of whole numbers below 2**53: exact in float64, whatever the order in which they are added
        return Summary(rows, summary.cells, summary.quality, summary.sums, np.rint(scores @ scores.T).astype(np.int64))

    def _number(self, index: int, values: Matrix, into: Summary) -> Cells:
        column = self.columns[index]
        missing = np.isnan(values)
        cells = _cells(self._edges[index], values)
        cells[missing] = column.cells
        counts = np.bincount(cells, minlength=column.cells + 1)
        into.cells[self._slices[index]] = counts[:-1]
        into.quality[index, MISSING] = counts[-1]
        if column.range is not None:
            into.quality[index, BELOW] = np.count_nonzero(values < np.float32(column.range[0]))
            into.quality[index, ABOVE] = np.count_nonzero(values > np.float32(column.range[1]))
        steps = (values.astype(np.float64) - column.center) * (1.0 / column.scale)
        steps[missing] = 0.0
        into.sums[index] = np.rint(np.clip(steps, -_MOST, _MOST) * _UNIT).astype(np.int64).sum()
        return cells

    def _category(self, index: int, values: Matrix, into: Summary) -> Cells:
        known = self.columns[index].cells
        codes = np.where(np.isnan(values), known + 1, values).astype(np.intp)
        counts = np.bincount(codes, minlength=known + 2)
        into.cells[self._slices[index]] = counts[:known]
        into.quality[index, UNKNOWN] = counts[known]
        into.quality[index, MISSING] = counts[known + 1]
        return codes


def _cells(edges: Matrix, values: Matrix) -> Cells:
    """How many edges are not above each value; a missing value is in cell 0. Few edges are counted one by one, which costs a seventh of a search."""
    if len(edges) > _FEW_EDGES:
        return np.searchsorted(edges, values, side="right")
    found, is_reached = np.zeros(len(values), np.uint8), np.empty(len(values), np.bool_)
    for edge in edges:
        np.greater_equal(values, edge, out=is_reached)
        found += is_reached.view(np.uint8)
    return found.astype(np.intp)


def _lines(column: Column) -> tuple[Floats, Floats | None]:
    """Per cell, the missing last: the score where the cell's line meets 0, in steps, and its slope; categories have a score each and no slope."""
    if column.type == "category":
        scores = np.array(column.scores or [0.0] * column.cells) * SCORE_UNIT
        return np.rint(np.concatenate([scores, [0.0, 0.0]])), None
    most = MOST_SCORE if column.scores else 0.0
    edges, at = np.array(column.edges, dtype=np.float32).astype(np.float64), np.array(column.scores or [0.0] * len(column.edges))
    slopes = np.diff(at) / np.diff(edges)
    levels = np.concatenate([[-most], at[:-1] - slopes * edges[:-1], [most, 0.0]]) * SCORE_UNIT
    return levels, np.concatenate([[0.0], slopes, [0.0, 0.0]]) * SCORE_UNIT


def _scores(levels: Floats, slopes: Floats, cells: Cells, values: Matrix) -> Floats:
    """Whole numbers; 0 where a value is missing."""
    scores = np.rint(levels[cells] + slopes[cells] * values)
    return np.asarray(np.nan_to_num(scores, copy=False, nan=0.0))
