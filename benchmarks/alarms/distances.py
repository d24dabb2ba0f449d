"""How far one column of a window is from the reference, as the peers measure it. Pure.

Each column gives three figures at once, because they share the work: the evidence of a test (Kolmogorov-Smirnov for numbers, chi-square
for categories) as -log10 of its p-value, the population stability index, and Evidently's distance. They are written for speed, the
reference being sorted once; the tests hold them against scipy, and a run holds the distance against Evidently's own report.
"""

from __future__ import annotations

from typing import Final, Protocol

import numpy as np

from benchmarks.alarms.two_samples import chi_square_evidence, jensen_shannon, kolmogorov_evidence, stability_index
from cluster.schema import Floats, Matrix

FIGURES: Final = ("evidence", "psi", "distance")
_LEAST_NORM: Final = 1e-3  # Evidently divides by no less
_TENTHS: Final = np.arange(1, 10) / 10
_FEW_VALUES: Final = 5  # Evidently takes numbers of no more values for categories


class Column(Protocol):
    """The reference's values of one column."""

    def far(self, values: Matrix) -> Floats:
        """Float64 (3,), in the order of `FIGURES`, of a window's values; 0 where it has none."""

    def mean(self, values: Matrix) -> float:
        """One number for ADWIN: the mean, missing values left out; NaN where there is none."""


class Number:
    """A column of numbers; float32 (m,), NaN where missing."""

    def __init__(self, values: Matrix) -> None:
        kept = values[~np.isnan(values)].astype(np.float64)
        self._sorted = np.sort(kept)
        self._sums = np.concatenate([[0.0], np.cumsum(self._sorted)])
        self._norm = max(float(kept.std()), _LEAST_NORM) if len(kept) else 1.0
        self._edges = np.unique(np.quantile(kept, _TENTHS)) if len(kept) else np.empty(0)
        self._shares = _cells(self._edges, self._sorted)
        self._kinds = np.unique(self._sorted)

    def far(self, values: Matrix) -> Floats:
        """See `Column`."""
        now = np.sort(values[~np.isnan(values)]).astype(np.float64)
        if not len(now) or not len(self._sorted):
            return np.zeros(3)
        at_most = np.searchsorted(self._sorted, now, side="right")
        evidence = self._kolmogorov(now, at_most / len(self._sorted))
        return np.array([evidence, stability_index(self._shares, _cells(self._edges, now)), self._distance(now)])

    def mean(self, values: Matrix) -> float:
        """See `Column`."""
        kept = values[~np.isnan(values)]
        return float(kept.mean(dtype=np.float64)) if len(kept) else float("nan")

    def _kolmogorov(self, now: Floats, at_most: Floats) -> float:
        below = np.searchsorted(self._sorted, now, side="left") / len(self._sorted)
        m, n = len(self._sorted), len(now)
        own_below, own_at_most = np.searchsorted(now, now, side="left") / n, np.searchsorted(now, now, side="right") / n
        gap = max(float((own_at_most - at_most).max()), float((below - own_below).max()))
        return kolmogorov_evidence(gap, m * n / (m + n))

    def _distance(self, now: Floats) -> float:
        if len(self._kinds) <= _FEW_VALUES:
            kinds = np.union1d(self._kinds, now)
            if len(kinds) <= _FEW_VALUES:
                return jensen_shannon(*(_cells(kinds[1:], rows) for rows in (self._sorted, now)))
        return self._wasserstein(now) / self._norm

    def _wasserstein(self, now: Floats) -> float:
        """The area between the two distribution functions: the window's is flat between its values, the reference's crosses it once."""
        m, n = len(self._sorted), len(now)
        points = np.concatenate([[min(self._sorted[0], now[0])], now, [max(self._sorted[-1], now[-1])]])
        level = np.arange(n + 1) / n
        place = np.clip(np.ceil(level * m - 1e-9).astype(np.intp) - 1, 0, m - 1)
        crossing = np.clip(self._sorted[place], points[:-1], points[1:])
        area = self._area(points)
        middle = self._area(crossing)
        before = level * (crossing - points[:-1]) - (middle - area[:-1])
        after = (area[1:] - middle) - level * (points[1:] - crossing)
        return float((before + after).sum())

    def _area(self, points: Floats) -> Floats:
        """The integral of the reference's distribution function up to each point."""
        count = np.searchsorted(self._sorted, points, side="right")
        return np.asarray((points * count - self._sums[count]) / len(self._sorted))


class Category:
    """A column of codes; float32 (m,), NaN where missing; the code after the last is an unknown category."""

    def __init__(self, values: Matrix, *, known: int) -> None:
        self._width = known + 1
        self._counts = self._count(values)
        self._shares = self._counts / max(self._counts.sum(), 1)

    def far(self, values: Matrix) -> Floats:
        """See `Column`."""
        now = self._count(values)
        if not now.sum() or not self._counts.sum():
            return np.zeros(3)
        shares, seen = now / now.sum(), (now + self._counts) > 0
        index = stability_index(self._shares[seen], shares[seen])
        return np.array([chi_square_evidence(self._counts[seen], now[seen]), index, jensen_shannon(self._shares, shares)])

    def mean(self, values: Matrix) -> float:
        """The reference's share of each row's category, on average: a number that moves when shares do."""
        now = self._count(values)
        return float(now @ self._shares / now.sum()) if now.sum() else float("nan")

    def _count(self, values: Matrix) -> Floats:
        return np.bincount(values[~np.isnan(values)].astype(np.intp), minlength=self._width).astype(np.float64)


def _cells(edges: Floats, values: Floats) -> Floats:
    shares = np.bincount(np.searchsorted(edges, values, side="right"), minlength=len(edges) + 1) / max(len(values), 1)
    return np.asarray(shares)
