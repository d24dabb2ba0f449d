"""What a student is told, and how it is taught: the ensemble's scores, the true labels, or the mean of both (Hinton, Vinyals & Dean 2015).

The soft cross-entropy is exact. Its gradient is p - q and its curvature p (1 - p), whatever q in [0, 1] is, and
`binary:logistic` takes such q as they are. `multi:softprob` takes whole classes only: each row appears once a
class, weighted by that class's probability, and the weighted gradients of the copies add up to p - q again.
That holds while all copies are seen, so there is no subsampling.

Scores of the ensemble are without noise; labels are not, and few trees learn their noise. So lessons with labels are also taught in rounds
of three trees on 70 % of the rows each, which average it out (random forests, Breiman 2001, as steps of stochastic gradient boosting, Friedman 2002).
"""

from __future__ import annotations

from typing import Final, Literal, NamedTuple

import numpy as np
import xgboost

from cluster import training_settings
from cluster.schema import Floats, Label, Matrix
from training.composing import trees as boosted
from training.members import Rows

Told = Literal["ensemble", "labels", "both"]
_AT_ONCE: Final = 3
_ROWS_OF_A_TREE: Final = 0.7
_FAINT: Final = 1e-3
"""A copy of a row that counts less than this is left out."""


class Lesson(NamedTuple):
    """One way to teach."""

    told: Told
    trees_at_once: int = 1

    def rounds(self, trees: int) -> int:
        """Rounds that make about so many trees.

        >>> Lesson("both", 3).rounds(250)
        83
        """
        return max(1, trees // self.trees_at_once)


def lessons_for(label: Label) -> tuple[Lesson, ...]:
    """What is compared, in this order: the first of equals wins."""
    if label.task == "multiclass":
        return Lesson("ensemble"), Lesson("both"), Lesson("labels")
    return Lesson("ensemble"), Lesson("both"), Lesson("both", _AT_ONCE), Lesson("labels"), Lesson("labels", _AT_ONCE)


def teach(
    label: Label,
    lesson: Lesson,
    rows: Rows,
    taught: Matrix,
    chosen: training_settings.Distillation,
    *,
    trees: int,
    seed: int,
    threads: int,
) -> bytes:
    """One student of about so many trees, as UBJ.

    Parameters
    ----------
    rows
        Those without a label (NaN) are left out where only labels are told.
    taught
        The teacher's scores of `rows`, (n, width).
    """
    known = ~np.isnan(rows.y)
    parameters = boosted.task_parameters(label, seed=seed, threads=threads)
    parameters |= {"max_depth": chosen.max_depth, "learning_rate": chosen.learning_rate, "min_child_weight": chosen.min_child_weight}
    if lesson.trees_at_once > 1:
        parameters |= {"num_parallel_tree": lesson.trees_at_once, "subsample": _ROWS_OF_A_TREE}
    if lesson.told == "labels":
        rows, target = rows[known], rows.y[known]
        data = xgboost.QuantileDMatrix(rows.X, target, weight=rows.weight, nthread=threads)
    else:
        soft = taught.astype(np.float64)
        if lesson.told == "both":
            soft = np.where(known[:, None], (soft + _as_scores(label, rows.y, soft.shape[1])) / 2, soft)
        data = _soft_matrix(label, rows, soft, threads)
    return boosted.save(xgboost.train(parameters, data, lesson.rounds(trees)))


def _soft_matrix(label: Label, rows: Rows, soft: Floats, threads: int) -> xgboost.QuantileDMatrix:
    if label.task != "multiclass":
        return xgboost.QuantileDMatrix(rows.X, soft[:, 0], weight=rows.weight, nthread=threads)
    classes = soft.shape[1]
    weight = soft if rows.weight is None else soft * rows.weight[:, None]
    kept = np.flatnonzero(weight.ravel() > _FAINT)  # of 26 classes most copies weigh nothing, and would only cost time
    return xgboost.QuantileDMatrix(rows.X[kept // classes], kept % classes, weight=weight.ravel()[kept], nthread=threads)


def _as_scores(label: Label, y: Floats, width: int) -> Floats:
    """Labels as if they were scores, float64 (n, width); NaN where unknown."""
    if label.task != "multiclass":
        return y[:, None]
    known = ~np.isnan(y)
    scores = np.full((len(y), width), np.nan)
    scores[known] = np.eye(width)[y[known].astype(int)]
    return scores
