"""The student: a small XGBoost model that learns from the ensemble, unless plain labels teach it better.

Soft labels help under mild shift and hurt under drift, for a teacher is overconfident on its own training rows. So several
lessons compete (`training.composing.lesson`). They are
compared on rows later than all that student and teacher have seen, each in several sizes: a prefix of a booster is a smaller
student, so sizes cost no fit. The smallest size that surely keeps nearly all of the ensemble's gain wins, of those fast enough;
the winner is then fitted anew on all rows. Of many that are compared on the same rows, some keep it by luck: *surely* is
in nine of ten resamples of the rows, by blocks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final, NamedTuple

import numpy as np
import onnx

from cluster import training_settings
from cluster.errors import NotEnoughData
from cluster.records import Record
from cluster.schema import Floats, Label, Matrix
from training.composing import calibration as calibrations
from training.composing import trees
from training.composing.calibration import Calibration, adjust, loss
from training.composing.ensemble import need_classes
from training.composing.export import compose_ensemble
from training.composing.lesson import Lesson, Told, lessons_for, teach
from training.judging import bootstrap
from training.judging.evaluate import metric_value
from training.members import Rows

NATIVE_NAME: Final = "student.ubj"
_NAME: Final = "student"
_GAIN: Final = {"binary": "roc_auc", "multiclass": "log_loss", "regression": "rmse"}


class Try(Record, frozen=True, kw_only=True):
    """One student on rows that neither it nor its teacher has seen."""

    taught_by: Told
    rounds: int
    trees_at_once: int = 1
    """Of each round."""
    loss: float
    """Calibrated, against true labels."""
    gain_kept: float | None
    """The share of the ensemble's gain over the linear baseline that it keeps, in the task's first metric; None where there is no gain."""
    sureness: float | None = None
    """The share of block resamples in which it keeps as much as was asked for."""


class Distilled(Record, frozen=True, kw_only=True):
    """Which student won, and against whom. Losses are of calibrated scores against true labels, on rows later than any training row."""

    taught_by: Told
    rounds: int
    trees_at_once: int = 1
    """Of each round."""
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
    for number, lesson in enumerate(lessons_for(label)):
        native = teach(label, lesson, trial.train, trial.taught, chosen, trees=sizes[-1], seed=seed, threads=threads)
        if number == 0:
            sizes = [size for size in sizes if size == sizes[0] or is_fast(_prefix_graph(label, native, size))]
        tries += [_judge(label, lesson, size, native, trial, sureness) for size in sizes]
    best = _pick(tries)
    record = Distilled(
        taught_by=best.record.taught_by,
        rounds=best.record.rounds,
        trees_at_once=best.record.trees_at_once,
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
    lesson = Lesson(record.taught_by, record.trees_at_once)
    native = teach(label, lesson, rows, taught, chosen, trees=record.rounds * lesson.trees_at_once, seed=seed, threads=threads)
    graph = compose_ensemble({_NAME: trees.to_onnx(native, label)}, {_NAME: 1.0}, record.calibration, label)
    return Student(native=native, graph=graph, record=record)


def _prefix_graph(label: Label, native: bytes, rounds: int) -> onnx.ModelProto:
    return trees.to_onnx(trees.save(trees.load(native)[:rounds]), label)


_SURE: Final = 0.9
"""Share of resamples."""


class _Tried(NamedTuple):
    size: int
    record: Try
    calibration: Calibration
    scores: Matrix


def _judge(label: Label, lesson: Lesson, size: int, native: bytes, trial: Trial, sureness: Callable[[Floats], float | None]) -> _Tried:
    rounds = lesson.rounds(size)
    scores = _prefix_scores(native, rounds, trial.valid.X)
    found = calibrations.choose(label, trial.valid.y, scores, kinds=calibrations.SMOOTH).calibration
    given = adjust(label, found, scores)
    kept = _gain_kept(label, trial, given)
    sure = None if kept is None else sureness(given)
    record = Try(
        taught_by=lesson.told,
        rounds=rounds,
        trees_at_once=lesson.trees_at_once,
        loss=loss(label, trial.valid.y, given),
        gain_kept=kept,
        sureness=sure,
    )
    return _Tried(size, record, found, given.astype(np.float32))


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
        fewest = min(t.size for t in good)
        return min((t for t in good if t.size == fewest), key=lambda t: t.record.loss)
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
