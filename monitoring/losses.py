"""What rows cost on the reference, by the cells of each column; and what rows that lie otherwise among these cells would cost. Pure.

Importance weighting (Shimodaira 2000) with one column at a time: both densities are histograms over the profile's cells, so that the mean of
the reference's losses, each weighted by its cell's share now over its share then, is a sum over cells. It assumes that rows of one cell
lose what such rows lost on the reference: neither the other columns within the cell nor the relation to the label has changed.
A cell in which the reference had hardly any row says nothing; its rows may lose anything.

The bundle keeps it as evaluation/losses.json, of rows that whoever scored them had not seen.
"""

from __future__ import annotations

import math
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.special import ndtri

from cluster.records import Interval, Record
from cluster.schema import Floats, Label, Matrix
from monitoring import performance
from monitoring.profile import Profile
from monitoring.sketches import MISSING, UNKNOWN, Column, Sketcher, Summary, prediction_columns

NAME: Final = "evaluation/losses.json"
CONFIDENCE: Final = 0.95
MOST_OUTSIDE: Final = 0.25
"""With a larger share of rows in cells that say nothing, nothing is said."""
_FEWEST: Final = 10
"""Rows of a cell that says something."""
_WORST_FACTOR: Final = 10.0
"""Regression: a row outside may lose up to so many times the mean loss. A convention, as in `monitoring.estimate`."""


class ColumnLosses(Record, frozen=True, kw_only=True):
    """By cell of the profile, then of missing values, then of unknown categories."""

    rows: list[int]
    means: list[float]
    variances: list[float]


class Losses(Record, frozen=True, kw_only=True):
    """The file."""

    rows: int
    mean: float
    """Of all rows: the Brier score, or the squared error."""
    spread: float
    """How many times the variance of a block's mean is what independent rows would give; at least 1."""
    columns: list[ColumnLosses]
    """In the order of the profile's: a feature may have the name of a prediction."""


class Weighed(NamedTuple):
    """What a window would lose, as far as one column says."""

    change: Interval | None
    """Of the mean loss, against the reference; None where it cannot be known."""
    outside: float
    """Share of the rows in cells that say nothing, beyond what the reference had there."""


def learn(profile: Profile, label: Label, X: Matrix, scores: Matrix, y: Floats) -> Losses | None:  # noqa: N803 - the field's name
    """From rows that were scored by somebody who had not seen them; None where no label is known.

    Parameters
    ----------
    X, scores, y
        float32 (n, features), float32 (n, width), float64 (n,); rows whose y is NaN are left out.
    """
    known = ~np.isnan(y)
    if not known.any():
        return None
    losses = performance.loss(label, scores[known], y[known])
    whole = np.column_stack([X[known], prediction_columns(label.task, scores[known])])
    found = [_by_cell(column, whole[:, j], losses) for j, column in enumerate(profile.columns)]
    return Losses(rows=len(losses), mean=float(losses.mean()), spread=_spread(profile, len(losses)), columns=found)


def weigh(label: Label, learned: Losses, sketcher: Sketcher, summary: Summary, column: int) -> Weighed:
    """What the rows of a window's summary would lose if only this column had changed.

    Intervals know the rows' own spread, on both sides, widened by how much blocks of the reference differ beyond it.
    """
    by_cell = learned.columns[column]
    counts = np.concatenate([sketcher.cells_of(summary, column), summary.quality[column, [MISSING, UNKNOWN]]]).astype(np.float64)
    had = np.array(by_cell.rows, dtype=np.float64)
    now, then = counts / max(counts.sum(), 1.0), had / had.sum()
    silent = had < _FEWEST
    outside = float(np.maximum(now - then, 0.0)[silent].sum())
    if outside > MOST_OUTSIDE:
        return Weighed(None, outside)
    means = np.where(silent, learned.mean, by_cell.means)
    gap = float((now - then) @ means)
    noise = ((now - then) ** 2 * np.array(by_cell.variances) / np.maximum(had, 1.0))[~silent].sum()
    noise += max(float(now @ means**2) - float(now @ means) ** 2, 0.0) / max(counts.sum(), 1.0)
    half = float(ndtri((1 + CONFIDENCE) / 2)) * math.sqrt(noise * learned.spread)
    worst = {"binary": 1.0, "multiclass": 2.0, "regression": _WORST_FACTOR * learned.mean}[label.task]
    return Weighed(
        Interval(estimate=gap, lower=gap - half - outside * learned.mean, upper=gap + half + outside * (worst - learned.mean)), outside
    )


def _by_cell(column: Column, values: Matrix, losses: Floats) -> ColumnLosses:
    places, cells = _places(column, values), column.cells + 2
    rows, sums, squares = (np.bincount(places, weights=w, minlength=cells) for w in (np.ones_like(losses), losses, losses**2))
    means = sums / np.maximum(rows, 1)
    return ColumnLosses(
        rows=rows.astype(int).tolist(), means=means.tolist(), variances=np.maximum(squares / np.maximum(rows, 1) - means**2, 0.0).tolist()
    )


def _places(column: Column, values: Matrix) -> npt.NDArray[np.intp]:
    """The cell of each value, as `monitoring.sketches` counts them; then missing, then unknown."""
    missing = np.isnan(values)
    if column.type == "number":
        places = np.searchsorted(np.array(column.edges, dtype=np.float32), values, side="right")
    else:
        codes = np.where(missing, 0, values).astype(np.intp)
        places = np.where(codes >= column.cells, column.cells + 1, codes)
    return np.where(missing, column.cells, places)


def _spread(profile: Profile, rows: int) -> float:
    metric = next((metric for metric in profile.metrics if metric.kind == "performance"), None)
    if metric is None or metric.within[0] <= 0:
        return 1.0
    return 1.0 + metric.between[0] / metric.within[0] * rows / max(metric.baseline.blocks, 1)
