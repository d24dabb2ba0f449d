"""How sure a metric is: block bootstrap over days (Künsch 1989, Annals of Statistics 17(3)). Pure.

Rows of one day share weather, staff and software, so resampling single rows would claim far too much. Assumes that days are
exchangeable within the rows given and that there are enough of them; with fewer than eight, or without times, equal
runs of neighbouring rows serve as blocks.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
import numpy.typing as npt

from cluster.errors import NotEnoughData
from cluster.records import Interval
from cluster.schema import Floats, Label, Matrix
from training.judging.evaluate import HIGHER_IS_BETTER, row_losses

RESAMPLES: Final = 1000
WEIGHTABLE: Final = frozenset({"roc_auc", "log_loss", "brier", "accuracy", "rmse", "mae"})
"""Metrics that can be computed under row weights, and so be resampled fast."""
_DAY_S: Final = 86400.0
_FEWEST_BLOCKS: Final = 8
Weighted = Callable[[Floats], float]


def interval(
    label: Label,
    metric: str,
    y: Floats,
    scores: Matrix,
    times: Floats | None,
    *,
    confidence: float,
    rng: np.random.Generator,
    resamples: int = 200,
) -> Interval | None:
    """Two-sided percentile interval of a metric; None when no resample tells it.

    Parameters
    ----------
    y
        Class indices or numbers, float64 (n,), every one known.
    scores
        Shape (n, width).
    times
        float64 (n,); None: rows are blocks of neighbours in the order given.
    confidence
        Of the interval, such as 0.95.
    """
    value = weighted_metric(label, metric, y, scores)
    blocks = block_of(np.arange(len(y), dtype=np.float64) if times is None else times)
    drawn = [d for d in _draws(blocks, rng, resamples, value) if np.isfinite(d)]
    if not drawn:
        return None
    lower, upper = np.quantile(drawn, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(estimate=value(np.ones(len(y))), lower=float(lower), upper=float(upper))


def bootstrap_improvement(
    label: Label,
    metric: str,
    y: Floats,
    champion: Matrix,
    challenger: Matrix,
    times: Floats,
    *,
    confidence: float,
    rng: np.random.Generator,
) -> Interval:
    """Interval of the improvement of a metric; positive is better. Lower and upper bounds each hold with `confidence`.

    Both models are scored on the same resample, so their common luck cancels.

    Raises
    ------
    NotEnoughData
        When no resample has two classes.
    """
    sign = 1.0 if HIGHER_IS_BETTER[metric] else -1.0
    old, new = weighted_metric(label, metric, y, champion), weighted_metric(label, metric, y, challenger)

    def gain(weights: Floats) -> float:
        return sign * (new(weights) - old(weights))

    draws = [d for d in _draws(block_of(times), rng, RESAMPLES, gain) if np.isfinite(d)]  # a resample of one class has no AUC
    if not draws:
        raise NotEnoughData("the hold-out has no resample with two classes")
    lower, upper = np.quantile(draws, [1 - confidence, confidence])
    return Interval(estimate=gain(np.ones(len(y))), lower=float(lower), upper=float(upper))


def resampled(label: Label, metric: str, y: Floats, scores: Matrix | Floats, *, rng: np.random.Generator, resamples: int = 200) -> Floats:
    """A metric on resamples of rows in order of time; equal runs of neighbours are the blocks. Equal `rng`s draw equal resamples.

    Returns
    -------
    float64 (resamples,): negated where less is better; NaN where a resample does not tell it.
    """
    sign = 1.0 if HIGHER_IS_BETTER[metric] else -1.0
    blocks = block_of(np.arange(len(y), dtype=np.float64))
    return sign * np.array(_draws(blocks, rng, resamples, weighted_metric(label, metric, y, scores)))


def _draws(blocks: npt.NDArray[np.int64], rng: np.random.Generator, resamples: int, value: Weighted) -> list[float]:
    count = int(blocks.max()) + 1
    return [value(np.bincount(rng.integers(0, count, count), minlength=count).astype(np.float64)[blocks]) for _ in range(resamples)]


def block_of(times: Floats) -> npt.NDArray[np.int64]:
    """The block each row belongs to: its day, or one of equal runs of neighbouring rows when there are few days."""
    days = np.floor((times - times.min()) / _DAY_S).astype(np.int64)
    unique, blocks = np.unique(days, return_inverse=True)
    if len(unique) >= _FEWEST_BLOCKS:
        return np.asarray(blocks)
    rank = np.argsort(np.argsort(times, kind="stable"), kind="stable")
    count = max(2, min(20, len(times) // 25))
    return np.asarray(rank * count // len(times))


def weighted_metric(label: Label, metric: str, y: Floats, scores: Matrix | Floats) -> Weighted:
    """The metric as a function of row weights, with all that does not depend on them computed once."""
    if metric == "roc_auc":
        return _weighted_auc(y, scores[:, 0].astype(np.float64))
    losses = _losses(label, metric, y, scores.astype(np.float64))

    def mean(weights: Floats) -> float:
        value = float((losses * weights).sum() / weights.sum())
        return value**0.5 if metric == "rmse" else value

    return mean


def _losses(label: Label, metric: str, y: Floats, p: Floats) -> Floats:
    if metric in ("rmse", "brier"):
        return np.asarray((p[:, 0] - y) ** 2)
    if metric == "mae":
        return np.abs(p[:, 0] - y)
    if metric == "accuracy":
        guess = (p[:, 0] >= label.threshold).astype(np.float64) if label.task == "binary" else p.argmax(axis=1).astype(np.float64)
        return np.asarray((guess == y).astype(np.float64))
    return row_losses(label, y, p)


def _weighted_auc(y: Floats, scores: Floats) -> Weighted:
    order = np.argsort(scores, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(scores[order]) > 0])
    positive = y[order] == 1

    def auc(weights: Floats) -> float:
        w = weights[order]
        ups = np.add.reduceat(np.where(positive, w, 0.0), starts)
        downs = np.add.reduceat(np.where(positive, 0.0, w), starts)
        total = ups.sum() * downs.sum()
        if total == 0:
            return float("nan")
        below = np.cumsum(downs) - downs
        return float((ups * (below + downs / 2)).sum() / total)

    return auc
