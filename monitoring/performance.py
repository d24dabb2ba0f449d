"""How good answers were, once labels are known. Pure functions of labels and scores.

Labels y are float64 (n,): class index or number. Scores are float32 (n, width): see `cluster.schema`.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from scipy.stats import rankdata

from cluster.schema import Floats, Label, Matrix

_LEAST: Final = 1e-7
HIGHER_IS_BETTER: Final = frozenset({"roc_auc", "accuracy"})


def probabilities(label: Label, scores: Matrix) -> Floats:
    """Scores of a classifier as float64 (n, classes)."""
    wide = scores.astype(np.float64)
    return np.column_stack([1 - wide[:, 0], wide[:, 0]]) if label.task == "binary" else wide


def loss(label: Label, scores: Matrix, y: Floats) -> Floats:
    """The loss of each row that the monitor tests: squared error (regression), else the Brier score.

    Brier is bounded, so one absurdly sure answer does not make a bad day.

    >>> loss(Label(name="late"), np.array([[0.9], [0.5]], dtype=np.float32), np.array([1.0, 0.0])).round(4).tolist()
    [0.01, 0.25]
    """
    if label.task != "multiclass":
        return (scores[:, 0].astype(np.float64) - y) ** 2
    errors: Floats = ((probabilities(label, scores) - np.eye(scores.shape[1])[y.astype(np.intp)]) ** 2).sum(axis=1)
    return errors


def figure(label: Label, losses: Floats) -> float:
    """What is compared between windows: the mean loss; its logarithm for regression, where it has no bound.

    A window of no error at all counts as 1e-12.
    """
    mean = float(losses.mean())
    return float(np.log(max(mean, 1e-12))) if label.task == "regression" else mean


def row_variance(label: Label, losses: Floats) -> float:
    """Variance that one row adds to `figure` (delta method for the logarithm)."""
    variance = float(losses.var())
    return variance / max(float(losses.mean()), 1e-12) ** 2 if label.task == "regression" else variance


def loss_name(label: Label) -> str:
    """What the mean of `loss` is called."""
    return "mean_squared_error" if label.task == "regression" else "brier"


def measure(label: Label, scores: Matrix, y: Floats) -> dict[str, float]:
    """Every metric of the task that these rows allow; roc_auc needs both classes."""
    if label.task == "regression":
        return {"rmse": float(np.sqrt(np.mean(loss(label, scores, y))))}
    chances = probabilities(label, scores)
    of_truth = chances[np.arange(len(y)), y.astype(np.intp)]
    decided = scores[:, 0] >= label.threshold if label.task == "binary" else chances.argmax(axis=1)
    found = {
        "log_loss": float(-np.log(np.clip(of_truth, _LEAST, 1.0)).mean()),
        "brier": float(loss(label, scores, y).mean()),
        "accuracy": float(np.mean(decided == y)),
    }
    if label.task == "binary" and 0 < y.sum() < len(y):
        found["roc_auc"] = roc_auc(scores[:, 0], y)
    return found


def roc_auc(scores: Matrix, y: Floats) -> float:
    """Area under the ROC curve, ties counted half (Mann & Whitney 1947); y holds 0 and 1, both present.

    >>> roc_auc(np.array([0.1, 0.4, 0.35, 0.8], dtype=np.float32), np.array([0.0, 0.0, 1.0, 1.0]))
    0.75
    """
    positives = float(y.sum())
    ranks = float(rankdata(scores)[y == 1].sum())
    return (ranks - positives * (positives + 1) / 2) / (positives * (len(y) - positives))
