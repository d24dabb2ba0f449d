"""Counts and sums by group, and what they tell: figures, differences and ratios with intervals. Pure; knows no people and no limits.

Every array is float64 of shape (groups,). The groups share no row, so two of them are independent when rows are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Protocol, Self

import numpy as np
import numpy.typing as npt

from cluster.schema import Floats
from monitoring import intervals

Index = npt.NDArray[np.intp]


class Bounds(NamedTuple):
    """Estimates with their intervals."""

    estimate: Floats
    lower: Floats
    upper: Floats

    def scaled(self, factor: Floats) -> Bounds:
        """Each multiplied by a factor that is not negative."""
        return Bounds(*(np.asarray(bound * factor) for bound in self))


class Tally(Protocol):
    """One figure by group."""

    @property
    def rows(self) -> Floats:
        """Rows the figure is a mean over."""

    def pick(self, index: Index) -> Self:
        """Some groups, in this order."""

    def total(self) -> Self:
        """All groups as one."""

    def rest(self, index: Index) -> Self:
        """For each of these groups, all the others as one."""

    def figures(self, *, confidence: float) -> Bounds:
        """Each group's figure."""

    def minus(self, other: Self, *, confidence: float) -> Bounds:
        """Each group's figure less the other's."""


@dataclass(frozen=True)
class Shares:
    """The share of rows that are hits."""

    hits: Floats
    rows: Floats

    def pick(self, index: Index) -> Shares:
        """Some groups."""
        return Shares(self.hits[index], self.rows[index])

    def total(self) -> Shares:
        """All groups as one."""
        return Shares(self.hits.sum(keepdims=True), self.rows.sum(keepdims=True))

    def rest(self, index: Index) -> Shares:
        """All but each group."""
        return Shares(self.hits.sum() - self.hits[index], self.rows.sum() - self.rows[index])

    def figures(self, *, confidence: float) -> Bounds:
        """Shares with Wilson's intervals."""
        return Bounds(self.hits / self.rows, *intervals.wilson(self.hits, self.rows, z=intervals.quantile(confidence)))

    def minus(self, other: Shares, *, confidence: float) -> Bounds:
        """Differences with Newcombe's intervals."""
        bounds = intervals.difference(self.hits, self.rows, other.hits, other.rows, z=intervals.quantile(confidence))
        return Bounds(self.hits / self.rows - other.hits / other.rows, *bounds)

    def over(self, other: Shares, *, confidence: float) -> Bounds:
        """Each share over the other's, with Donner and Zou's intervals; NaN where the other's is 0."""
        found = [np.full(len(self.rows), np.nan) for _ in range(3)]
        some = other.hits > 0
        hits, rows, other_hits, other_rows = self.hits[some], self.rows[some], other.hits[some], other.rows[some]
        found[0][some] = hits / rows / (other_hits / other_rows)
        found[1][some], found[2][some] = intervals.ratio(hits, rows, other_hits, other_rows, z=intervals.quantile(confidence))
        return Bounds(*found)


@dataclass(frozen=True)
class Calibrations:
    """Mean probability given less the share of rows that came true: calibration in the large.

    The probabilities are taken as given and the outcomes as drawn from them or from others: a sum of unequal Bernoulli draws, which
    varies less than the binomial that the interval assumes (Hoeffding 1956), so that the interval errs on the wide side.
    """

    given: Floats
    """Sums of the probabilities."""
    came_true: Shares

    @property
    def rows(self) -> Floats:
        """Labelled rows."""
        return self.came_true.rows

    def pick(self, index: Index) -> Calibrations:
        """Some groups."""
        return Calibrations(self.given[index], self.came_true.pick(index))

    def total(self) -> Calibrations:
        """All groups as one."""
        return Calibrations(self.given.sum(keepdims=True), self.came_true.total())

    def rest(self, index: Index) -> Calibrations:
        """All but each group."""
        return Calibrations(self.given.sum() - self.given[index], self.came_true.rest(index))

    def figures(self, *, confidence: float) -> Bounds:
        """Positive: too sure that it happens."""
        rate, lower, upper = self.came_true.figures(confidence=confidence)
        given = self.given / self.rows
        return Bounds(given - rate, given - upper, given - lower)

    def minus(self, other: Calibrations, *, confidence: float) -> Bounds:
        """Differences."""
        gap, lower, upper = self.came_true.minus(other.came_true, confidence=confidence)
        given = self.given / self.rows - other.given / other.rows
        return Bounds(given - gap, given - upper, given - lower)


@dataclass(frozen=True)
class Means:
    """The mean of a number, held as its sums about `centre`, which keeps large numbers exact."""

    sums: Floats
    squares: Floats
    rows: Floats
    centre: float

    @classmethod
    def of(cls, values: Floats, codes: Index, count: int) -> Means:
        """Of values (n,) whose group is `codes` (n,), 0 to count - 1."""
        centre = float(values.mean()) if len(values) else 0.0
        off = values - centre
        sums, squares, rows = (np.bincount(codes, weights=w, minlength=count).astype(np.float64) for w in (off, off**2, np.ones_like(off)))
        return cls(sums, squares, rows, centre)

    def pick(self, index: Index) -> Means:
        """Some groups."""
        return Means(self.sums[index], self.squares[index], self.rows[index], self.centre)

    def total(self) -> Means:
        """All groups as one."""
        return Means(self.sums.sum(keepdims=True), self.squares.sum(keepdims=True), self.rows.sum(keepdims=True), self.centre)

    def rest(self, index: Index) -> Means:
        """All but each group."""
        sums, squares, rows = (values.sum() - values[index] for values in (self.sums, self.squares, self.rows))
        return Means(sums, squares, rows, self.centre)

    def figures(self, *, confidence: float) -> Bounds:
        """Means with Student's intervals; of one row, all that can be: from minus to plus infinity."""
        mean, half = self._mean() + self.centre, np.full(len(self.rows), np.inf)
        some = self.rows > 1
        half[some] = intervals.mean_half_width(self._variance()[some], self.rows[some], confidence=confidence)
        return Bounds(mean, mean - half, mean + half)

    def minus(self, other: Means, *, confidence: float) -> Bounds:
        """Differences with Welch's intervals."""
        gap = self._mean() - other._mean()
        half = intervals.means_half_width(self._variance(), self.rows, other._variance(), other.rows, confidence=confidence)
        return Bounds(gap, gap - half, gap + half)

    def _mean(self) -> Floats:
        return self.sums / self.rows

    def _variance(self) -> Floats:
        return np.maximum(self.squares - self.sums**2 / self.rows, 0) / np.maximum(self.rows - 1, 1)
