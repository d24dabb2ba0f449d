"""The figures that groups of people are compared by; rates are counted by Fairlearn's MetricFrame. Pure; knows no attribute and no limit.

Labels y are float64 (n,) with NaN unknown, scores float32 (n, width), codes the group of each row, 0 to count - 1.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Final

import numpy as np
import pandas as pd
from fairlearn.metrics import MetricFrame, false_positive_rate, selection_rate, true_positive_rate

from cluster.schema import Floats, Label, Matrix
from monitoring.performance import probabilities
from monitoring.tallies import Calibrations, Index, Means, Shares, Tally

BINS: Final = 15
_DRAWS: Final = 1000
UNCOMPARED: Final = ("base_rate", "mean_score")
"""Figures that describe the groups and not how they are treated."""


def tally(label: Label, y: Floats, scores: Matrix, codes: Index, count: int) -> dict[str, Tally]:
    """Every figure of the task by group; see `monitoring.fairness.Group.figures` for their names."""
    known = ~np.isnan(y)
    if label.task == "regression":
        return _regression(y, scores[:, 0].astype(np.float64), codes, count)
    chances = probabilities(label, scores)
    answer = (scores[:, 0] >= label.threshold).astype(np.intp) if label.task == "binary" else chances.argmax(axis=1)
    classes = {"": 1} if label.task == "binary" else {f"[{name}]": k for k, name in enumerate(label.classes or ())}
    found: dict[str, Tally] = {}
    for suffix, k in classes.items():
        found |= {f"{name}{suffix}": shares for name, shares in _of_class(k, y, answer, codes, count).items()}
    given, truth = given_and_truth(label, y, scores)
    rows = _sum(known, codes, count)
    found["accuracy"] = Shares(_sum(answer == y, codes, count), rows)
    found["mean_score"] = Means.of(chances[:, 1] if label.task == "binary" else chances.max(axis=1), codes, count)
    found["calibration"] = Calibrations(_sum(given, codes[known], count), Shares(_sum(truth, codes[known], count), rows))
    return found


def given_and_truth(label: Label, y: Floats, scores: Matrix) -> tuple[Floats, Floats]:
    """Of labelled rows, the probability given (multiclass: of the class answered) and 1 where it came true, float64 each."""
    known = ~np.isnan(y)
    chances = probabilities(label, scores[known])
    if label.task == "binary":
        return chances[:, 1], y[known]
    return chances.max(axis=1), (chances.argmax(axis=1) == y[known]).astype(np.float64)


def calibration_error(given: Floats, truth: Floats, *, confidence: float, rng: np.random.Generator) -> tuple[float, float]:
    """Expected calibration error over bins of equal mass, and what it would stay below by chance alone.

    The second is the quantile, at `confidence`, of the error of rows whose truth is drawn from the probabilities given (consistency
    resampling, Bröcker & Smith 2007, Weather and Forecasting 22:651-661), each bin's sum taken as normal. It assumes independent rows.

    Parameters
    ----------
    given, truth
        Probabilities, and 1 where they came true; float64 of shape (n,), n above 0.
    """
    order = np.argsort(given, kind="stable")
    parts = [part for part in np.array_split(order, BINS) if len(part)]
    gaps = [abs(float((given[part] - truth[part]).sum())) for part in parts]
    spread = np.sqrt([float((given[part] * (1 - given[part])).sum()) for part in parts])
    by_chance = np.abs(rng.normal(size=(_DRAWS, len(parts))) * spread).sum(axis=1) / len(given)
    return sum(gaps) / len(given), float(np.quantile(by_chance, confidence))


def _regression(y: Floats, predicted: Floats, codes: Index, count: int) -> dict[str, Tally]:
    known = ~np.isnan(y)
    error = (predicted - y)[known]
    return {
        "mean_prediction": Means.of(predicted, codes, count),
        "mae": Means.of(np.abs(error), codes[known], count),
        "calibration": Means.of(error, codes[known], count),
    }


def _base_rate(truth: Index, _answer: Index, *, sample_weight: Floats) -> float:
    return float(np.average(truth, weights=sample_weight))


_RATES: Final[Mapping[str, Callable[..., float]]] = MappingProxyType(
    {"tpr": partial(true_positive_rate, pos_label=1), "fpr": partial(false_positive_rate, pos_label=1), "base_rate": _base_rate}
)


def _of_class(k: int, y: Floats, answer: Index, codes: Index, count: int) -> dict[str, Shares]:
    """One class against the rest."""
    truth = np.where(np.isnan(y), 2, y == k).astype(np.intp)  # 2: unknown
    cells = np.bincount((codes * 3 + truth) * 2 + (answer == k), minlength=count * 6).reshape(count, 3, 2).astype(np.float64)
    chosen = _by_group({"selection_rate": selection_rate}, cells.sum(axis=1, keepdims=True))
    rates = chosen | _by_group(_RATES, cells[:, :2])
    negatives, positives = cells[:, 0].sum(axis=1), cells[:, 1].sum(axis=1)
    rows = {"selection_rate": cells.sum(axis=(1, 2)), "tpr": positives, "fpr": negatives, "base_rate": negatives + positives}
    return {name: Shares(np.rint(np.where(of > 0, rates[name], 0.0) * of), of) for name, of in rows.items()}


def _by_group(metrics: Mapping[str, Callable[..., float]], cells: Floats) -> dict[str, Floats]:
    """Each rate by group, NaN for a group without rows, from counts of shape (groups, truth, answer).

    Equal rows are handed to MetricFrame once, with their number as weight: it takes 0.2 s a metric for 20,000 single rows.
    """
    code, truth, answer = np.nonzero(cells)
    if len(code) == 0:
        return {name: np.full(len(cells), np.nan) for name in metrics}
    weights = {name: {"sample_weight": cells[code, truth, answer]} for name in metrics}
    people = pd.Series(code, name="group")
    frame = MetricFrame(metrics=dict(metrics), y_true=truth, y_pred=answer, sensitive_features=people, sample_params=weights)
    table = frame.by_group.reindex(range(len(cells)))
    return {name: table[name].to_numpy(dtype=np.float64) for name in metrics}


def _sum(values: np.ndarray[tuple[int], np.dtype[np.float64 | np.bool_]], codes: Index, count: int) -> Floats:
    return np.bincount(codes, weights=values, minlength=count).astype(np.float64)
