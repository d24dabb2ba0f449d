"""The student: a small XGBoost model that learns from the ensemble, unless plain labels teach it better.

Soft labels help under mild shift and hurt under drift, for a teacher is overconfident on its own training rows. So three
lessons compete: the ensemble's scores, the true labels, and the mean of both (Hinton, Vinyals & Dean 2015). They are
compared on rows later than all that student and teacher have seen, each in several sizes: a prefix of a booster is a smaller
student, so sizes cost no fit. The smallest size that surely keeps nearly all of the ensemble's gain wins, of those fast enough;
the winner is then fitted anew on all rows. Of many that are compared on the same rows, some keep it by luck: *surely* is
in nine of ten resamples of the rows, by blocks.

The soft cross-entropy is exact. Its gradient is p - q and its curvature p (1 - p), whatever q in [0, 1] is, and
`binary:logistic` takes such q as they are. `multi:softprob` takes whole classes only: each row appears once a
class, weighted by that class's probability, and the weighted gradients of the copies add up to p - q again.
That holds while all copies are seen, so there is no subsampling.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final, Literal, NamedTuple

import numpy as np
import onnx
import xgboost

from cluster import training_settings
from cluster.errors import NotEnoughData
from cluster.records import Record
from cluster.schema import Floats, Label, Matrix
from training.composing import calibration as calibrations
from training.composing import trees
from training.composing.calibration import Calibration, adjust, loss
from training.composing.ensemble import need_classes
from training.composing.export import compose_ensemble
from training.judging import bootstrap
from training.judging.evaluate import metric_value
from training.members import Rows

NATIVE_NAME: Final = "student.ubj"
_NAME: Final = "student"
_GAIN: Final = {"binary": "roc_auc", "multiclass": "log_loss", "regression": "rmse"}
Lesson = Literal["ensemble", "labels", "both"]
LESSONS: Final[tuple[Lesson, ...]] = ("ensemble", "both", "labels")
"""Compared in this order; the first of equals wins."""


class Try(Record, frozen=True, kw_only=True):
    """One student on rows that neither it nor its teacher has seen."""

    taught_by: Lesson
    rounds: int
    loss: float
    """Calibrated, against true labels."""
    gain_kept: float | None
    """The share of the ensemble's gain over the linear baseline that it keeps, in the task's first metric; None where there is no gain."""
    sureness: float | None = None
    """The share of block resamples in which it keeps as much as was asked for."""


class Distilled(Record, frozen=True, kw_only=True):
    """Which student won, and against whom. Losses are of calibrated scores against true labels, on rows later than any training row."""

    taught_by: Lesson
    rounds: int
    max_depth: int
    calibration: Calibration
    soft_loss: float
    """The best one taught by the ensemble."""
    hard_loss: float
    """The best control, taught by labels."""
    teacher_loss: float
    gain_metric: str
    gain_kept: float | None
    unlabelled_rows: int
    """Rows without a label that the ensemble taught it by."""
    sizes: list[int]
    """Those that were fast enough to be tried."""
    tries: list[Try]
    verdict: str
    """Whether it keeps what was asked for, in words."""


class Trial(NamedTuple):
    """What a comparison of students needs: rows, and what teacher and baseline say about them."""

    train: Rows
    taught: Matrix
    """The teacher's scores of `train`."""
    valid: Rows
    """Later rows in order of time, every label known."""
    teacher: Matrix
    """The teacher's scores of `valid`."""
    baseline: Matrix | None
    """A linear model's scores of `valid`; None when there is none."""


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
        return adjust(label, self.record.calibration, trees.score(self.native, matrix)).astype(np.float32)


def compare(
    label: Label,
    trial: Trial,
    chosen: training_settings.Distillation,
    *,
    is_fast: Callable[[onnx.ModelProto], bool] = lambda _graph: True,
    unlabelled_rows: int = 0,
    seed: int = 7,
    threads: int = 1,
) -> tuple[Distilled, Matrix]:
    """Teach students of all lessons and sizes on earlier rows, and choose by later ones.

    Returns what was decided, and the chosen one's calibrated scores of `trial.valid`, float32 (n, width): by a student that saw none of these rows.

    Parameters
    ----------
    is_fast
        Whether a student's graph keeps its budget of time; sizes that do not are not tried, but for the smallest.

    Raises
    ------
    NotEnoughData
        When the validation rows have one class only.
    """
    need_classes(label, trial.valid.y)
    drawn = partial(_resampled, label, trial, seed)
    others = None if trial.baseline is None else (drawn(trial.teacher), drawn(trial.baseline))

    def sureness(scores: Floats) -> float | None:
        return None if others is None else _sureness(chosen.keep_gain, drawn(scores), *others)

    sizes = sorted(set(chosen.sizes))
    tries: list[_Tried] = []
    for number, lesson in enumerate(LESSONS):
        native = teach(label, lesson, trial.train, trial.taught, chosen, rounds=sizes[-1], seed=seed, threads=threads)
        if number == 0:
            sizes = [size for size in sizes if size == sizes[0] or is_fast(_prefix_graph(label, native, size))]
        tries += [_judge(label, lesson, rounds, native, trial, sureness) for rounds in sizes]
    best = _pick(tries)
    record = Distilled(
        taught_by=best.record.taught_by,
        rounds=best.record.rounds,
        max_depth=chosen.max_depth,
        calibration=best.calibration,
        soft_loss=min(t.record.loss for t in tries if t.record.taught_by == "ensemble"),
        hard_loss=min(t.record.loss for t in tries if t.record.taught_by == "labels"),
        teacher_loss=loss(label, trial.valid.y, trial.teacher),
        gain_metric=_GAIN[label.task],
        gain_kept=best.record.gain_kept,
        unlabelled_rows=unlabelled_rows,
        sizes=sizes,
        tries=[t.record for t in tries],
        verdict=_verdict(best.record, chosen.keep_gain, _GAIN[label.task]),
    )
    return record, best.scores


def graduate(
    label: Label, record: Distilled, rows: Rows, taught: Matrix, chosen: training_settings.Distillation, *, seed: int = 7, threads: int = 1
) -> Student:
    """The winner, fitted anew on all rows; one without a label still has a soft one.

    Parameters
    ----------
    rows, taught
        All rows that may be learned from, and the final ensemble's scores of them.
    """
    native = teach(label, record.taught_by, rows, taught, chosen, rounds=record.rounds, seed=seed, threads=threads)
    graph = compose_ensemble({_NAME: trees.to_onnx(native, label)}, {_NAME: 1.0}, record.calibration, label)
    return Student(native=native, graph=graph, record=record)


def teach(
    label: Label,
    lesson: Lesson,
    rows: Rows,
    taught: Matrix,
    chosen: training_settings.Distillation,
    *,
    rounds: int,
    seed: int,
    threads: int,
) -> bytes:
    """One student of `rounds` trees, as UBJ."""
    known = ~np.isnan(rows.y)
    parameters = trees.task_parameters(label, seed=seed, threads=threads)
    parameters |= {"max_depth": chosen.max_depth, "learning_rate": chosen.learning_rate, "min_child_weight": chosen.min_child_weight}
    if lesson == "labels":
        rows, target = rows[known], rows.y[known]
        data = xgboost.QuantileDMatrix(rows.X, target, weight=rows.weight, nthread=threads)
    else:
        soft = taught.astype(np.float64)
        if lesson == "both":
            soft = np.where(known[:, None], (soft + _as_scores(label, rows.y, soft.shape[1])) / 2, soft)
        data = _soft_matrix(label, rows, soft, threads)
    return trees.save(xgboost.train(parameters, data, rounds))


def _soft_matrix(label: Label, rows: Rows, soft: Floats, threads: int) -> xgboost.QuantileDMatrix:
    if label.task != "multiclass":
        return xgboost.QuantileDMatrix(rows.X, soft[:, 0], weight=rows.weight, nthread=threads)
    classes = soft.shape[1]
    weight = soft if rows.weight is None else soft * rows.weight[:, None]
    kept = np.flatnonzero(weight.ravel() > _FAINT)  # of 26 classes most copies weigh nothing, and would only cost time
    return xgboost.QuantileDMatrix(rows.X[kept // classes], kept % classes, weight=weight.ravel()[kept], nthread=threads)


_FAINT: Final = 1e-3
"""A copy of a row that counts less than this is left out."""


def _as_scores(label: Label, y: Floats, width: int) -> Floats:
    """Labels as if they were scores, float64 (n, width); NaN where unknown."""
    if label.task != "multiclass":
        return y[:, None]
    known = ~np.isnan(y)
    scores = np.full((len(y), width), np.nan)
    scores[known] = np.eye(width)[y[known].astype(int)]
    return scores


def _prefix_graph(label: Label, native: bytes, rounds: int) -> onnx.ModelProto:
    return trees.to_onnx(trees.save(trees.load(native)[:rounds]), label)


_SURE: Final = 0.9
"""Share of resamples."""


class _Tried(NamedTuple):
    record: Try
    calibration: Calibration
    scores: Matrix


def _judge(label: Label, lesson: Lesson, rounds: int, native: bytes, trial: Trial, sureness: Callable[[Floats], float | None]) -> _Tried:
    scores = _prefix_scores(native, rounds, trial.valid.X)
    found = calibrations.choose(label, trial.valid.y, scores, kinds=calibrations.SMOOTH).calibration
    given = adjust(label, found, scores)
    kept = _gain_kept(label, trial, given)
    sure = None if kept is None else sureness(given)
    record = Try(taught_by=lesson, rounds=rounds, loss=loss(label, trial.valid.y, given), gain_kept=kept, sureness=sure)
    return _Tried(record, found, given.astype(np.float32))


def _prefix_scores(native: bytes, rounds: int, matrix: Matrix) -> Matrix:
    booster = trees.load(native)
    scores = booster.inplace_predict(np.ascontiguousarray(matrix, dtype=np.float32), iteration_range=(0, rounds))
    return np.asarray(scores, dtype=np.float32).reshape(len(matrix), -1)


def _gain_kept(label: Label, trial: Trial, scores: Floats) -> float | None:
    if trial.baseline is None:
        return None
    metric = _GAIN[label.task]
    try:
        low, high, ours = (metric_value(label, metric, trial.valid.y, s) for s in (trial.baseline, trial.teacher, scores))
    except NotEnoughData:
        return None
    gain = high - low if metric == "roc_auc" else low - high
    return float((ours - low if metric == "roc_auc" else low - ours) / gain) if gain > _NO_GAIN * abs(high) else None


_NO_GAIN: Final = 2e-3
"""Less than this, relative, is no gain of which a share could be kept."""


def _resampled(label: Label, trial: Trial, seed: int, scores: Matrix | Floats) -> Floats:
    """Resamples of the metric that the gain is in; the same ones for all scores."""
    return bootstrap.resampled(label, _GAIN[label.task], trial.valid.y, scores, rng=np.random.default_rng(seed))


def _sureness(keep_gain: float, scores: Floats, teacher: Floats, baseline: Floats) -> float:
    """The share of resamples, of those that tell it, in which `scores` keep that share of the gain."""
    spare = scores - keep_gain * teacher - (1 - keep_gain) * baseline
    told = spare[np.isfinite(spare)]
    return float((told >= 0).mean()) if len(told) else 0.0


def _pick(tries: Sequence[_Tried]) -> _Tried:
    """The smallest of those that surely keep the gain, by loss among equals; else the one that keeps most; without a gain, by loss."""
    good = [t for t in tries if t.record.sureness is not None and t.record.sureness >= _SURE]
    if good:
        fewest = min(t.record.rounds for t in good)
        return min((t for t in good if t.record.rounds == fewest), key=lambda t: t.record.loss)
    return min(tries, key=lambda t: (-(t.record.gain_kept or 0.0), t.record.loss))


def _verdict(best: Try, keep_gain: float, metric: str) -> str:
    if best.gain_kept is None:
        return f"is the one of the lowest loss: the ensemble has no gain over a linear baseline in {metric} that could be kept"
    if best.gain_kept >= 1:
        return f"keeps all of the ensemble's gain over the linear baseline in {metric}; {keep_gain:.0%} was asked for"
    if best.gain_kept >= keep_gain:
        return f"keeps {best.gain_kept:.1%} of the ensemble's gain over the linear baseline in {metric}; {keep_gain:.0%} was asked for"
    return (
        f"keeps only {best.gain_kept:.1%} of the ensemble's gain over the linear baseline in {metric}; no student reached {keep_gain:.0%}"
    )
