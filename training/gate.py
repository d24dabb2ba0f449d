"""The gate: may the challenger replace the champion? Judged on rows that neither was trained on. Pure.

The improvement's lower bound comes from a block bootstrap over days (Künsch 1989, Annals of Statistics 17(3)):
rows of one day share weather, staff and software, so resampling single rows would claim far too much. It assumes
that days are exchangeable within the hold-out and that there are enough of them; with fewer than eight, equal
runs of neighbouring rows serve as blocks. Both models are scored on the same resample, so their common luck cancels.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
import numpy.typing as npt

from cluster.errors import NotEnoughData
from cluster.records import GateVerdict, Interval
from cluster.schema import Floats, Label, Matrix
from cluster.training_settings import Gate
from training.evaluate import HIGHER_IS_BETTER, metric_value

RESAMPLES: Final = 1000
_DAY_S: Final = 86400.0
_FEWEST_BLOCKS: Final = 8
DEFAULT_METRIC: Final = {"binary": "roc_auc", "multiclass": "log_loss", "regression": "rmse"}
"""Compared when `gate.metric` is left out."""
Weighted = Callable[[Floats], float]


def judge(
    label: Label, gate: Gate, y: Floats, champion: Matrix, challenger: Matrix, times: Floats, *, rng: np.random.Generator
) -> GateVerdict:
    """Judge a challenger against the champion on the same labelled rows.

    Parameters
    ----------
    y
        Class indices or numbers, float64 of shape (n,).
    champion, challenger
        Scores, float32 of shape (n, width).
    times
        Event times, float64 of shape (n,), for the blocks.

    Raises
    ------
    DataError
        When the task has no such metric as `gate.metric`.
    """
    metric = gate.metric or DEFAULT_METRIC[label.task]
    if reason := _too_little(label, gate, y):
        return GateVerdict(passed=False, reasons=[reason], metric=metric, rows=len(y), champion=None, challenger=None, improvement=None)
    old, new = metric_value(label, metric, y, champion), metric_value(label, metric, y, challenger)
    improvement = bootstrap_improvement(label, metric, y, champion, challenger, times, confidence=gate.confidence, rng=rng)
    rules = [_improves(gate, metric, old, new, improvement, len(y))]
    errors: dict[str, float] = {}
    if label.task != "regression":
        errors = {"champion": metric_value(label, "ece", y, champion), "challenger": metric_value(label, "ece", y, challenger)}
        rules.append(_calibrated(gate, errors))
    rules.sort(key=lambda rule: rule[0])
    return GateVerdict(
        passed=all(ok for ok, _ in rules),
        reasons=[reason for _, reason in rules],
        metric=metric,
        rows=len(y),
        champion=old,
        challenger=new,
        improvement=improvement,
        calibration_error=errors,
    )


def _too_little(label: Label, gate: Gate, y: Floats) -> str | None:
    """Why these labels cannot tell anything; None when they can."""
    if len(y) < gate.min_rows:
        return f"too few labelled rows in the hold-out: {len(y):,} of the {gate.min_rows:,} that gate.min_rows asks for"
    if label.task != "regression" and len(np.unique(y)) < 2:
        return f"all {len(y):,} labelled rows of the hold-out are of one class: nothing can be compared"
    return None


def _improves(gate: Gate, metric: str, old: float, new: float, improvement: Interval, rows: int) -> tuple[bool, str]:
    ok = improvement.lower > gate.min_improvement
    verdict = "improves" if ok else "is not shown to improve"
    return ok, (
        f"{metric} {verdict}: champion {old:.4f}, challenger {new:.4f} on {rows:,} rows; the improvement is at least {improvement.lower:+.4f} "
        f"with {gate.confidence:.0%} confidence (must exceed {gate.min_improvement:+.4f})"
    )


def _calibrated(gate: Gate, errors: dict[str, float]) -> tuple[bool, str]:
    allowed = max(gate.max_calibration_error, errors["champion"])
    ok = errors["challenger"] <= allowed
    return ok, f"calibration error {errors['challenger']:.4f} is {'within' if ok else 'above'} {allowed:.4f}"


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
    """Interval of the improvement of a metric; positive is better. Lower and upper bounds each hold with `confidence`."""
    sign = 1.0 if HIGHER_IS_BETTER[metric] else -1.0
    old, new = weighted_metric(label, metric, y, champion), weighted_metric(label, metric, y, challenger)
    blocks = block_of(times)
    count = int(blocks.max()) + 1
    draws = []
    for _ in range(RESAMPLES):
        weights = np.bincount(rng.integers(0, count, count), minlength=count).astype(np.float64)[blocks]
        difference = new(weights) - old(weights)
        if np.isfinite(difference):  # a resample of one class has no AUC
            draws.append(sign * difference)
    if not draws:
        raise NotEnoughData("the hold-out has no resample with two classes")
    ones = np.ones(len(y))
    lower, upper = np.quantile(draws, [1 - confidence, confidence])
    return Interval(estimate=sign * (new(ones) - old(ones)), lower=float(lower), upper=float(upper))


def block_of(times: Floats) -> npt.NDArray[np.int64]:
    """The block each row belongs to: its day, or one of equal runs of neighbouring rows when there are few days."""
    days = np.floor((times - times.min()) / _DAY_S).astype(np.int64)
    unique, blocks = np.unique(days, return_inverse=True)
    if len(unique) >= _FEWEST_BLOCKS:
        return np.asarray(blocks)
    rank = np.argsort(np.argsort(times, kind="stable"), kind="stable")
    count = max(2, min(20, len(times) // 25))
    return np.asarray(rank * count // len(times))


def weighted_metric(label: Label, metric: str, y: Floats, scores: Matrix) -> Weighted:
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
    if metric == "accuracy":
        guess = (p[:, 0] >= label.threshold).astype(np.float64) if label.task == "binary" else p.argmax(axis=1).astype(np.float64)
        return np.asarray((guess == y).astype(np.float64))
    given = np.where(y == 1, p[:, 0], 1 - p[:, 0]) if label.task == "binary" else p[np.arange(len(y)), y.astype(int)]
    return np.asarray(-np.log(np.clip(given, 1e-7, 1.0)))


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
