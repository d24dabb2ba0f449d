"""How far explanations can be trusted, as metrics: whether they stay the same when they should, and fit what they explain. Pure.

`monitoring.attribution` says whether what they say has changed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from cluster.errors import DataError, NotEnoughData
from cluster.records import Interval, Record
from cluster.schema import Floats, Matrix
from monitoring.attribution import rank_agreement, sizes_of
from monitoring.intervals import mean_half_width


class Stability(Record, frozen=True, kw_only=True):
    """How much explanations of the same rows differ when they should not: another seed, a little noise. Means over rows."""

    rows: int
    confidence: float
    rank_agreement: Interval
    """Spearman's correlation of the sizes of a row's contributions; 1 is the same order."""
    top: int
    top_overlap: Interval
    """Share of the `top` largest features that both name."""
    change: Interval
    """Sum of the absolute changes by the sum of the contributions' sizes before; 0 is none."""


class Fidelity(Record, frozen=True, kw_only=True):
    """How well local models fit what they explain: R² by row, see `cluster.explaining.lime`."""

    rows: int
    flat: int
    """Rows around which the scores don't vary, so that there was nothing to fit; left out below."""
    confidence: float
    mean: Interval
    low: float
    """The 10 % quantile."""
    least: float
    poor: float
    """Share of rows below `least`: their explanations should not be shown as reasons."""


def nudge(matrix: Matrix, scales: Sequence[float], *, size: float, rng: np.random.Generator) -> Matrix:
    """Rows with a little normal noise, for `stability`: float32 (n, features).

    Parameters
    ----------
    scales
        Standard deviation of each number on the reference; 0 for categories, which stay as they are. What is missing stays missing.
    size
        Of the noise, in these.
    """
    noise = rng.normal(size=matrix.shape) * size * np.asarray(scales, dtype=np.float64)
    return np.asarray(matrix + noise, dtype=np.float32)


def stability(before: Floats, after: Floats, *, top: int = 3, confidence: float = 0.9) -> Stability:
    """Compare two explanations of the same rows, float64 (n, features) each.

    Alvarez-Melis & Jaakkola 2018 (arXiv 1806.08049) ask the same of inputs that hardly differ. Intervals are Student's over rows,
    as if rows were independent.

    Raises
    ------
    DataError
        When shapes differ or a contribution is not finite.
    NotEnoughData
        With fewer than 2 rows.

    Examples
    --------
    >>> rows = np.array([[3.0, 2.0, 1.0, 0.0], [0.0, 1.0, 2.0, -3.0]])
    >>> found = stability(rows, rows[:, [1, 0, 2, 3]], top=1)
    >>> found.rank_agreement.estimate, found.top_overlap.estimate
    (0.8, 0.5)
    """
    if before.shape != after.shape:
        raise DataError(f"explanations of shapes {before.shape} and {after.shape} are not of the same rows and features")
    old, new = sizes_of(before, before.shape[1]), sizes_of(after, after.shape[1])
    if len(old) < 2:
        raise NotEnoughData(f"stability is a mean over rows and needs at least 2; found {len(old)}")
    top = min(top, old.shape[1])
    first, second = (np.argsort(-sizes, axis=1, kind="stable")[:, :top] for sizes in (old, new))
    overlap = (first[:, :, None] == second[:, None, :]).any(axis=2).mean(axis=1)
    moved = np.abs(after - before).sum(axis=1)
    change = np.divide(moved, old.sum(axis=1), out=(moved > 0).astype(np.float64), where=old.sum(axis=1) > 0)
    return Stability(
        rows=len(old),
        confidence=confidence,
        rank_agreement=_mean(np.array(rank_agreement(old, new)), confidence, least=-1.0, most=1.0),
        top=top,
        top_overlap=_mean(overlap, confidence, least=0.0, most=1.0),
        change=_mean(change, confidence, least=0.0),
    )


def fidelity(r2: Sequence[float | None], *, least: float = 0.5, confidence: float = 0.9) -> Fidelity:
    """Summarise the local fidelity of explanations, one R² a row; None where the scores around a row don't vary.

    Raises
    ------
    NotEnoughData
        With fewer than 2 rows that have one.

    Examples
    --------
    >>> found = fidelity([0.9, 0.8, 0.4, None])
    >>> found.rows, found.flat, round(found.mean.estimate, 2), round(found.poor, 2)
    (4, 1, 0.7, 0.33)
    """
    known = np.array([value for value in r2 if value is not None], dtype=np.float64)
    if len(known) < 2:
        raise NotEnoughData(f"local fidelity is a mean over rows and needs at least 2 whose scores vary; found {len(known)} of {len(r2)}")
    return Fidelity(
        rows=len(r2),
        flat=len(r2) - len(known),
        confidence=confidence,
        mean=_mean(known, confidence, most=1.0),
        low=float(np.quantile(known, 0.1)),
        least=least,
        poor=float((known < least).mean()),
    )


def _mean(values: Floats, confidence: float, *, least: float = -math.inf, most: float = math.inf) -> Interval:
    half = float(mean_half_width(np.array(values.var(ddof=1)), np.array(float(len(values))), confidence=confidence))
    estimate = float(values.mean())
    return Interval(estimate=estimate, lower=max(estimate - half, least), upper=min(estimate + half, most))
