"""The student: a small XGBoost model that learns from the ensemble, unless plain labels teach it better.

Soft labels help under mild shift and hurt under drift, for a teacher is overconfident on its own training rows.
So a control of the same size learns from the true labels, and the better of the two on validation rows ships.

The soft cross-entropy is exact. Its gradient is p - q and its curvature p (1 - p), whatever q in [0, 1] is, and
`binary:logistic` takes such q as they are. `multi:softprob` takes whole classes only: each row appears once a
class, weighted by that class's probability, and the weighted gradients of the copies add up to p - q again.
That holds while all copies are seen, so there is no subsampling.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import onnx
import xgboost

from cluster import training_settings
from cluster.records import Record
from cluster.schema import Floats, Label, Matrix
from training import ensemble, trees
from training.ensemble import Calibration
from training.export import compose_ensemble
from training.members import Rows

NATIVE_NAME = "student.ubj"
_NAME = "student"


class Distilled(Record, frozen=True, kw_only=True):
    """Which student won. Losses are of calibrated scores against true labels, on all validation rows."""

    taught_by: Literal["ensemble", "labels"]
    calibration: Calibration
    soft_loss: float
    hard_loss: float
    teacher_loss: float


@dataclass(frozen=True)
class Student:
    """The model that ships."""

    native: bytes
    """UBJ; its scores are not calibrated yet."""
    graph: onnx.ModelProto
    """From "X" to calibrated "scores"."""
    record: Distilled

    def score(self, label: Label, matrix: Matrix) -> Matrix:
        """Native scores, calibrated, float32 of shape (n, width): what the graph must give."""
        return ensemble.adjust(label, self.record.calibration, trees.score(self.native, matrix)).astype(np.float32)


def distill(
    label: Label,
    train: Rows,
    taught: Matrix,
    valid: Rows,
    teacher: Matrix,
    chosen: training_settings.Distillation,
    *,
    seed: int = 7,
    threads: int = 1,
) -> Student:
    """Train a student on the ensemble's scores and one on the labels; the better ships.

    Parameters
    ----------
    label
        A frozen label.
    train
        Rows to learn from; one without a label still has a soft one.
    taught
        The ensemble's scores of `train`, float32 (n, width).
    valid
        Validation rows in order of time; the calibration is fitted on their later half, as the ensemble's is.
    teacher
        The ensemble's scores of `valid`, for the record.
    chosen
        Size of the student.
    seed, threads
        Of XGBoost.

    Raises
    ------
    NotEnoughData
        When the validation rows have one class only.
    """
    known = ~np.isnan(valid.y)
    held_out = valid.labelled()
    tries = [(_soft(label, train, taught, chosen, seed, threads), "ensemble"), (_hard(label, train, chosen, seed, threads), "labels")]
    judged = [_judge(label, native, held_out) for native, _ in tries]
    (soft, _), (hard, _) = judged
    best = 0 if soft <= hard else 1
    calibration = judged[best][1]
    graph = compose_ensemble({_NAME: trees.to_onnx(tries[best][0], label)}, {_NAME: 1.0}, calibration, label)
    record = Distilled(
        taught_by="ensemble" if best == 0 else "labels",
        calibration=calibration,
        soft_loss=soft,
        hard_loss=hard,
        teacher_loss=ensemble.loss(label, held_out.y, teacher[known]),
    )
    return Student(native=tries[best][0], graph=graph, record=record)


def _judge(label: Label, native: bytes, valid: Rows) -> tuple[float, Calibration]:
    scores = trees.score(native, valid.X)
    _, later = ensemble.halves(label, valid.y)
    calibration = ensemble.calibrate(label, valid.y[later], scores[later])
    return ensemble.loss(label, valid.y, ensemble.adjust(label, calibration, scores)), calibration


def _soft(label: Label, train: Rows, taught: Matrix, chosen: training_settings.Distillation, seed: int, threads: int) -> bytes:
    if label.task != "multiclass":
        return _grow(label, train.X, taught[:, 0], None, chosen, seed, threads)
    classes = taught.shape[1]
    copies = np.repeat(train.X, classes, axis=0)
    return _grow(label, copies, np.tile(np.arange(classes), len(train)), taught.ravel(), chosen, seed, threads)


def _hard(label: Label, train: Rows, chosen: training_settings.Distillation, seed: int, threads: int) -> bytes:
    rows = train.labelled()
    return _grow(label, rows.X, rows.y, None, chosen, seed, threads)


def _grow(
    label: Label,
    matrix: Matrix,
    y: npt.NDArray[np.generic],
    weight: Matrix | Floats | None,
    chosen: training_settings.Distillation,
    seed: int,
    threads: int,
) -> bytes:
    parameters = trees.task_parameters(label, seed=seed, threads=threads)
    parameters |= {"max_depth": chosen.max_depth, "learning_rate": chosen.learning_rate}
    rows = xgboost.QuantileDMatrix(matrix, y, weight=weight, nthread=threads)
    return trees.save(xgboost.train(parameters, rows, chosen.rounds))
