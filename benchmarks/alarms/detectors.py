"""Who watches: each is told the reference's windows, then window after window, and says which columns it raises an alarm about."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Final, Protocol

import numpy as np
import numpy.typing as npt
from scipy import stats

from benchmarks.alarms.streams import World
from cluster.schema import Floats, Matrix
from monitoring import drift
from monitoring.looks import drift_looks, performance_looks
from monitoring.profile import build_profile
from monitoring.sketches import Sketcher, prediction_columns

DAY_S: Final = 86_400.0
LABEL: Final = "(label)"
"""Blamed when predictions are wrong oftener."""
Alarm = tuple[tuple[str, ...], ...]
"""Who is blamed, the heaviest first: a column, or a pair of them."""


class Detector(Protocol):
    """Watches one stream."""

    def look(self, matrix: Matrix, scores: Matrix, y: Floats) -> Alarm | None:
        """Take in the next window; None: no alarm."""


class Ours:
    """Homeostat, as the monitor runs it: profile, sketch, looks, judge."""

    def __init__(self, world: World, windows: Sequence[tuple[Matrix, Matrix, Floats]], *, threshold: float) -> None:
        times = np.concatenate([i * DAY_S + np.arange(len(w[2])) * DAY_S / (len(w[2]) + 1) for i, w in enumerate(windows)])
        X, scores, y = (np.concatenate([w[part] for w in windows]) for part in range(3))
        self._label, self._at, self._threshold = world.schema.label, float(len(windows)), threshold
        self._profile = build_profile(world.schema, X, scores, times, y, window=dt.timedelta(days=1))
        self._sketcher, self._state = Sketcher(self._profile.columns), drift.State()

    def look(self, matrix: Matrix, scores: Matrix, y: Floats) -> Alarm | None:
        """One window: what it looks like, then, the labels having come, how wrong the predictions were."""
        whole = np.column_stack([matrix, prediction_columns(self._label.task, scores)])
        looks = drift_looks(self._profile, self._sketcher, self._sketcher.summarise(whole), min_rows=30)
        looks += performance_looks(self._profile, self._label, scores, y)
        self._state, _, alarm = drift.judge(self._profile, self._state, looks, window_start=self._at * DAY_S, threshold=self._threshold)
        self._at += 1
        return None if alarm is None else tuple(_columns_of(key) for key in alarm.blamed)


def _columns_of(key: str) -> tuple[str, ...]:
    kind, _, name = key.partition(":")
    if kind == "association":
        return tuple(name.split(" and "))
    if kind == "performance":
        return (LABEL,)
    return (name.rsplit(".", 1)[0] if kind == "quality" else name,)


class _ByColumn:
    """Peers that compare each column of a window with the reference's rows."""

    def __init__(self, world: World, windows: Sequence[tuple[Matrix, Matrix, Floats]]) -> None:
        self._names = [feature.name for feature in world.schema.features]
        self._numbers = [feature.categories is None for feature in world.schema.features]
        self._reference = np.concatenate([w[0] for w in windows])

    def p_values(self, matrix: Matrix) -> Floats:
        """Kolmogorov-Smirnov for numbers, chi-square for categories: float64 (columns,)."""
        return np.array([self._p(j, matrix[:, j]) for j in range(len(self._names))])

    def _p(self, j: int, now: Matrix) -> float:
        then, now = self._reference[~np.isnan(self._reference[:, j]), j], now[~np.isnan(now)]
        if len(now) < 2 or len(then) < 2:
            return 1.0
        if self._numbers[j]:
            return float(stats.ks_2samp(then, now, method="asymp").pvalue)
        kinds = np.union1d(then, now)
        table = np.array([[np.count_nonzero(rows == kind) for kind in kinds] for rows in (then, now)])
        return float(stats.chi2_contingency(table).pvalue) if len(kinds) > 1 else 1.0


class KsBonferroni(_ByColumn):
    """A test for each column, at 5 % over all columns of a window."""

    def look(self, matrix: Matrix, scores: Matrix, y: Floats) -> Alarm | None:  # noqa: ARG002 - peers look at columns alone
        """An alarm when any p-value is below .05 / columns."""
        p = self.p_values(matrix)
        return _ranked(self._names, -p, p < 0.05 / len(p))


class KsFdr(_ByColumn):
    """A test for each column; discoveries by Benjamini and Hochberg at 5 % a window."""

    def look(self, matrix: Matrix, scores: Matrix, y: Floats) -> Alarm | None:  # noqa: ARG002
        """An alarm when anything is discovered."""
        p = self.p_values(matrix)
        return _ranked(self._names, -p, stats.false_discovery_control(p) < 0.05)


class Psi(_ByColumn):
    """Population stability index over the reference's tenths, or over categories; more than .2 is an alarm, as the rule of thumb has it."""

    def look(self, matrix: Matrix, scores: Matrix, y: Floats) -> Alarm | None:  # noqa: ARG002
        """An alarm when any column's index is above .2."""
        found = np.array([self._psi(j, matrix[:, j]) for j in range(len(self._names))])
        return _ranked(self._names, found, found > 0.2)

    def _psi(self, j: int, now: Matrix) -> float:
        then, now = self._reference[~np.isnan(self._reference[:, j]), j], now[~np.isnan(now)]
        if not len(then) or not len(now):
            return 0.0
        edges = np.unique(np.quantile(then, np.arange(1, 10) / 10)) if self._numbers[j] else np.unique(then)
        shares = [np.bincount(np.searchsorted(edges, rows, side="right"), minlength=len(edges) + 1) / len(rows) for rows in (then, now)]
        p, q = (np.maximum(share, 1e-4) for share in shares)
        return float(((q - p) * np.log(q / p)).sum())


def _ranked(names: Sequence[str], strength: Floats, hit: npt.NDArray[np.bool_]) -> Alarm | None:
    order = [j for j in np.argsort(-strength, kind="stable") if hit[j]]
    return tuple((names[j],) for j in order) if order else None
