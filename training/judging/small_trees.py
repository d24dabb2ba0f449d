"""A small XGBoost that stands in for the model where a question about rows needs many fits. Knows nothing of members or settings."""

from __future__ import annotations

from typing import Final

import numpy as np
import xgboost

from cluster.errors import NotEnoughData
from cluster.schema import Label, Matrix, score_width
from training.composing import trees
from training.composing.measure import Scorer
from training.judging.evaluate import metric_value
from training.judging.gate import DEFAULT_METRIC
from training.members import Rows

MOST_ROWS: Final = 20_000
"""More rows are thinned to this many by whoever asks: 5 + 5 folds of them fit in about two seconds on two cores."""
_TREES: Final = 40
_FEWEST_ROUNDS: Final = 8
_CHOSEN: Final[trees.Parameters] = {
    "max_depth": 5,
    "learning_rate": 0.2,
    "min_child_weight": 5,
    "subsample": 0.8,
    "colsample_bytree": 0.8,
    "max_bin": 64,
}


def fit(label: Label, rows: Rows, *, seed: int, threads: int) -> Scorer:
    """Fit 40 trees (a class, shared among the classes from six on, at least 8 each); returns the scorer.

    Raises
    ------
    NotEnoughData
        When no row has a label, or all have the same class.
    """
    rows = rows.labelled()
    if not len(rows) or (label.task != "regression" and len(np.unique(rows.y)) < 2):
        raise NotEnoughData(f"{len(rows)} labelled rows of one class teach nothing about '{label.name}'")
    classes = score_width(label)
    rounds = _TREES if classes < 6 else max(_FEWEST_ROUNDS, _TREES * 5 // classes)
    data = xgboost.QuantileDMatrix(rows.X, rows.y, weight=rows.weight, nthread=threads, max_bin=_CHOSEN["max_bin"])
    booster = xgboost.train(trees.task_parameters(label, seed=seed, threads=threads) | _CHOSEN, data, rounds)

    def score(matrix: Matrix) -> Matrix:
        scores = booster.inplace_predict(np.ascontiguousarray(matrix, dtype=np.float32))
        return np.asarray(scores, dtype=np.float32).reshape(len(matrix), -1)

    return score


def value(label: Label, train: Rows, valid: Rows, *, seed: int, threads: int) -> float:
    """The gate's metric on `valid` of trees fitted on `train`.

    Raises
    ------
    NotEnoughData
        When either side has too few rows or classes.
    """
    return metric_value(label, DEFAULT_METRIC[label.task], valid.y, fit(label, train, seed=seed, threads=threads)(valid.X))
