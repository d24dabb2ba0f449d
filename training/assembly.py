"""From fitted members to what a bundle answers with: blend, graphs, student, cascade, intervals. One function a stage, in order.

Choices rest on out-of-fold scores, promises on held-out rows. Knows neither files nor Ray.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple

import numpy as np
import onnx

from cluster.bundle import CascadeRule
from cluster.intervals import Intervals
from cluster.margin import is_hard
from cluster.schema import Floats, Label, Matrix
from cluster.settings import Settings
from training.composing import distill, ensemble, export, graphs, intervals, measure
from training.composing.conformal import Scored, cascade_rule
from training.composing.distill import Student, Trial
from training.composing.ensemble import Blend
from training.fitting import Fits
from training.material import Material
from training.members import Member, Rows

_PARITY_ROWS: Final = 2000
_FAST_S: Final = 20e-6
"""A student of this latency is fast enough beside any ensemble: a request costs twenty times as much (docs/performance.md)."""
_STUDENT_ROWS: Final = 300_000
"""A student learns from the latest rows, at most so many."""


class Assembled(NamedTuple):
    """All that answers, and what it was chosen by."""

    out_of_fold: dict[str, Matrix]
    """Scores of the validation rows by fits on earlier rows only: of each member, of the `ensemble`, of the `student`, and what the
    cascade of these two would have `answered`."""
    graphs: dict[str, onnx.ModelProto]
    """Of the final members."""
    parity: dict[str, float]
    """Worst difference between native and exported scores."""
    blend: Blend
    ensemble: onnx.ModelProto
    rest: onnx.ModelProto | None
    """The ensemble when XGBoost scores its own trees; None when they have no part in it."""
    student: Student
    cascade: CascadeRule
    intervals: Intervals | None
    """Of regression."""

    def answers(self, label: Label, matrix: Matrix) -> Matrix:
        """What a caller would be told, float32 of shape (n, width): the student's scores, and the ensemble's for hard rows."""
        return answered(label, self.cascade, graphs.run(self.student.graph, matrix), self.ensemble, matrix)


def assemble(settings: Settings, material: Material, taught: Rows, members: Sequence[Member], fits: Fits, unlabelled: Matrix) -> Assembled:
    """Put together what was fitted.

    Parameters
    ----------
    taught
        The rows the members were fitted on: `material.rows`, or what mitigation made of them.
    unlabelled
        Recent rows whose label has not come, float32 (n, features), for the student.

    Raises
    ------
    NotEnoughData
        When the validation rows are too few or of one class.
    ParityError
        When an exported graph scores differently from the model it came from.
    """
    label, valid = material.schema.label, material.rows[material.validation]
    out_of_fold = _out_of_fold(material, members, fits)
    blend = ensemble.learn(label, valid.y, out_of_fold)
    made = {m.name: m.to_onnx(fits.final[m.name]) for m in members}
    probe = valid.X[:_PARITY_ROWS]
    native = {m.name: m.score(fits.final[m.name], probe) for m in members}
    parity = {name: export.check_parity(name, native[name], made[name], probe) for name in made}
    whole = export.compose_ensemble(made, blend.weights, blend.calibration, label)
    has_trees = blend.weights.get("xgboost", 0) > 0
    rest = export.compose_ensemble(made, blend.weights, blend.calibration, label, given="xgboost") if has_trees else None
    parity["ensemble"] = export.check_parity("ensemble", ensemble.apply(label, blend, native), whole, probe)
    teacher = ensemble.apply(label, blend, out_of_fold)
    student, early = _student(settings, material, taught, members, fits, blend, whole, unlabelled)
    parity["student"] = export.check_parity("student", student.score(label, probe), student.graph, probe)
    alone, asked = graphs.run(student.graph, material.held.X), graphs.run(whole, material.held.X)
    spread = float(np.nanstd(material.rows.y)) if label.task == "regression" else None
    rule = cascade_rule(label, alone, asked, settings.serving.cascade, label_std=spread, pilot=Scored(early, teacher))
    widths = (
        _intervals(settings, material.held, answered(label, rule, alone, whole, material.held.X)) if label.task == "regression" else None
    )
    out_of_fold |= {
        "ensemble": teacher,
        "student": early,
        "answered": np.where(is_hard(label, early, rule.threshold, rule.sureness)[:, None], teacher, early),
    }
    return Assembled(out_of_fold, made, parity, blend, whole, rest, student, rule, widths)


def answered(label: Label, rule: CascadeRule, student: Matrix, whole: onnx.ModelProto, matrix: Matrix) -> Matrix:
    """The student's scores, and the ensemble's for the rows that the rule calls hard."""
    hard = is_hard(label, student, rule.threshold, rule.sureness)
    scores = student.copy()
    if hard.any():
        scores[hard] = graphs.run(whole, matrix[hard])
    return scores


def _out_of_fold(material: Material, members: Sequence[Member], fits: Fits) -> dict[str, Matrix]:
    """Each piece scored by the members that had seen nothing later than its beginning."""
    X = material.rows.X
    return {
        m.name: np.concatenate(
            [m.score(natives[m.name], X[fold.train : fold.until]) for fold, natives in zip(material.folds, fits.folds, strict=True)]
        )
        for m in members
    }


def _student(
    settings: Settings,
    material: Material,
    taught: Rows,
    members: Sequence[Member],
    fits: Fits,
    blend: Blend,
    whole: onnx.ModelProto,
    unlabelled: Matrix,
) -> tuple[Student, Matrix]:
    """Compared on the validation rows, then taught by the final ensemble.

    In the comparison, student, teacher and baseline know the rows before the validation rows, and none of them later ones.
    """
    label, chosen, threads = material.schema.label, settings.distillation, settings.training.threads
    start, valid = material.folds[0].train, material.rows[material.validation]
    early, late = (_with_unlabelled(taught[max(0, end - _STUDENT_ROWS) : end], unlabelled) for end in (start, len(taught)))

    def teach(natives: Mapping[str, bytes], matrix: Matrix) -> Matrix:
        return ensemble.apply(label, blend, {m.name: m.score(natives[m.name], matrix) for m in members if blend.weights[m.name] > 0})

    baseline = next((m.score(fits.folds[0][m.name], valid.X) for m in members if m.name == "linear"), None)
    record, scores = distill.compare(
        label,
        Trial(early, teach(fits.folds[0], early.X), valid, teach(fits.folds[0], valid.X), baseline),
        chosen,
        is_fast=_stopwatch(chosen.max_latency_share, whole, valid.X),
        unlabelled_rows=len(unlabelled),
        seed=settings.training.seed,
        threads=threads,
    )
    student = distill.graduate(label, record, late, teach(fits.final, late.X), chosen, seed=settings.training.seed, threads=threads)
    return student, scores


def _stopwatch(share: float | None, whole: onnx.ModelProto, matrix: Matrix) -> Callable[[onnx.ModelProto], bool]:
    """Says whether a student is fast enough beside the ensemble, for one row on one thread."""
    row = matrix[:1]
    limit_s = float("inf") if share is None else max(_FAST_S, share * measure.one_row_s(graphs.scorer(whole), row))

    def is_fast(graph: onnx.ModelProto) -> bool:
        return share is None or measure.one_row_s(graphs.scorer(graph), row) <= limit_s

    return is_fast


def _with_unlabelled(rows: Rows, unlabelled: Matrix) -> Rows:
    if not len(unlabelled):
        return rows
    weight = None if rows.weight is None else np.concatenate([rows.weight, np.ones(len(unlabelled))])
    return Rows(np.concatenate([rows.X, unlabelled]), np.concatenate([rows.y, np.full(len(unlabelled), np.nan)]), weight)


def _intervals(settings: Settings, held: Rows, answers: Matrix) -> Intervals | None:
    known: np.ndarray[tuple[int], np.dtype[np.bool_]] = ~np.isnan(held.y)
    y: Floats = held.y[known]
    return intervals.learn(y, answers[known], confidence=settings.training.interval_confidence)


def scores_by_name(assembled: Assembled, matrix: Matrix) -> Mapping[str, Matrix]:
    """Scores of each member, of the ensemble and of the student, float32 of shape (n, width)."""
    of_members = {name: graphs.run(graph, matrix) for name, graph in assembled.graphs.items()}
    return of_members | {"ensemble": graphs.run(assembled.ensemble, matrix), "student": graphs.run(assembled.student.graph, matrix)}
