from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from cluster.schema import Floats, Label, Matrix, Task
from cluster.training_settings import Distillation
from tests.unit.training import tables
from training.composing import distill, export, trees
from training.composing.calibration import adjust, loss
from training.composing.distill import Distilled, Trial
from training.composing.graphs import apply_link
from training.composing.lesson import Lesson, lessons_for, teach
from training.members import Rows

SMALL = Distillation(sizes=(5, 15), max_depth=3, min_child_weight=1)


def taught(task: Task, rows: Rows) -> Matrix:
    """A teacher that knows something of the law of `tables.rows_of`."""
    z = np.nan_to_num(rows.X[:, :1].astype(np.float64))
    label = tables.schema_of(task).label
    if task == "regression":
        return (200 + 45 * z).astype(np.float32)
    return apply_link(label, 1.5 * z if task == "binary" else np.hstack([-1.5 * z, 0 * z, 1.5 * z]))


def trial_of(task: Task, teach: Callable[[Task, Rows], Matrix] = taught, *, baseline: Matrix | None = None) -> tuple[Label, Trial]:
    train, valid = tables.rows_of(task, 800), tables.rows_of(task, 400, seed=1)
    return tables.schema_of(task).label, Trial(train, teach(task, train), valid, teach(task, valid), baseline)


def student_of(task: Task, teach: Callable[[Task, Rows], Matrix] = taught) -> tuple[Label, Rows, distill.Student]:
    label, trial = trial_of(task, teach)
    record, _ = distill.compare(label, trial, SMALL)
    return label, trial.valid, distill.graduate(label, record, trial.train, trial.taught, SMALL)


@pytest.mark.parametrize("task", ["binary", "multiclass", "regression"])
def test_the_student_ships_as_a_graph_that_equals_its_calibrated_native_scores(task):
    label, valid, student = student_of(task)
    rows = np.vstack([valid.X, tables.odd_rows()])
    assert export.check_parity("student", student.score(label, rows), student.graph, rows) < 1e-5


@pytest.mark.parametrize("task", ["binary", "multiclass", "regression"])
def test_every_lesson_is_tried_in_every_size_and_the_lowest_loss_ships_where_no_gain_is_asked_for(task):
    label, _, student = student_of(task)
    record = student.record
    assert [(t.taught_by, t.trees_at_once, t.rounds) for t in record.tries] == [
        (*lesson, lesson.rounds(size)) for lesson in lessons_for(label) for size in (5, 15)
    ]
    best = min(record.tries, key=lambda t: t.loss)
    assert (record.taught_by, record.trees_at_once, record.rounds) == (best.taught_by, best.trees_at_once, best.rounds)
    assert "no" in record.verdict


def test_scores_of_the_chosen_one_on_later_rows_are_those_it_was_judged_by():
    label, trial = trial_of("binary")
    record, scores = distill.compare(label, trial, SMALL)
    assert loss(label, trial.valid.y, scores) == pytest.approx(min(t.loss for t in record.tries), abs=1e-6)


def test_a_teacher_that_is_wrong_loses_to_the_labels():
    record = student_of("binary", lambda task, rows: 1 - taught(task, rows))[2].record
    assert record.taught_by == "labels"
    assert record.hard_loss < record.soft_loss


def noisy_world() -> tuple[Label, Trial, Floats]:
    """A teacher that knows the truth behind noisy labels, and a baseline that knows nothing."""
    rng = np.random.default_rng(3)
    label = tables.schema_of("binary").label
    X = rng.normal(size=(1500, 4)).astype(np.float32)
    truth = apply_link(label, 2 * X[:, :1])
    rows = Rows(X, (rng.random(1500) < truth[:, 0]).astype(np.float64))
    return label, Trial(rows[:300], truth[:300], rows[300:], truth[300:], np.full((1200, 1), 0.5, np.float32)), truth[:, 0].astype(float)


def test_a_teacher_that_knows_the_truth_behind_noisy_labels_wins_and_the_smallest_that_keeps_its_gain_ships():
    label, trial, _ = noisy_world()
    chosen = Distillation(sizes=(1, 30, 200), max_depth=4, keep_gain=0.97, min_child_weight=1)
    record, _ = distill.compare(label, trial, chosen)
    assert record.taught_by == "ensemble"
    tries = {t.rounds: t for t in record.tries if t.taught_by == "ensemble"}
    sure = {rounds: t.sureness for rounds, t in tries.items() if t.sureness is not None}
    assert record.rounds == min(rounds for rounds, share in sure.items() if share >= 0.9)
    assert sure[1] < 0.9
    assert record.gain_kept == tries[record.rounds].gain_kept
    assert record.verdict.startswith("keeps ")


def test_a_gain_that_nobody_keeps_is_said_so():
    label, trial, _ = noisy_world()
    record, _ = distill.compare(label, trial, Distillation(sizes=(1,), max_depth=1, keep_gain=1.0))
    assert record.verdict.startswith("keeps only ")
    assert record.verdict.endswith("no student reached 100%")


def test_sizes_that_are_too_slow_are_not_tried_but_for_the_smallest():
    label, trial = trial_of("binary")
    asked: list[int] = []

    def is_fast(graph: Any) -> bool:
        trees_in_it = len(set(next(a for a in graph.graph.node[0].attribute if a.name == "nodes_treeids").ints))
        asked.append(trees_in_it)
        return trees_in_it < 10

    record, _ = distill.compare(label, trial, Distillation(sizes=(12, 15, 5), max_depth=3), is_fast=is_fast)
    assert asked == [12, 15]
    assert record.sizes == [5]


def test_soft_binary_labels_are_the_exact_cross_entropy():
    """One row of label q grows the tree that a row of 1 with weight q and a row of 0 with weight 1 - q grow.

    200 rows fit in the 256 bins, so weights move no bin.
    """
    rows, label = tables.rows_of("binary", 200), tables.schema_of("binary").label
    q = taught("binary", rows)
    soft = teach(label, Lesson("ensemble"), rows, q, SMALL, trees=15, seed=7, threads=1)
    twice = Rows(np.vstack([rows.X, rows.X]), np.repeat([1.0, 0.0], 200), np.concatenate([q[:, 0], 1 - q[:, 0]]).astype(np.float64))
    split = teach(label, Lesson("labels"), twice, np.vstack([q, q]), SMALL, trees=15, seed=7, threads=1)
    np.testing.assert_allclose(trees.score(soft, rows.X), trees.score(split, rows.X), atol=1e-4)


def test_many_soft_classes_fit_the_teachers_mean_in_one_leaf():
    """Without splits, the minimum of a soft cross-entropy is the mean soft label."""
    label = tables.schema_of("multiclass").label
    q = np.random.default_rng(4).dirichlet([1, 2, 5], size=300).astype(np.float32)
    flat = Rows(np.zeros((300, 4), np.float32), np.zeros(300))
    chosen = Distillation(max_depth=1, learning_rate=0.5)
    native = teach(label, Lesson("ensemble"), flat, q, chosen, trees=200, seed=7, threads=1)
    np.testing.assert_allclose(trees.score(native, flat.X[:1])[0], q.mean(axis=0), atol=0.01)


@pytest.mark.parametrize("task", ["binary", "multiclass", "regression"])
def test_the_mean_of_both_lessons_lies_between_them(task):
    rows = tables.rows_of(task, 400)
    label, flat = tables.schema_of(task).label, Rows(np.zeros_like(rows.X), rows.y)
    chosen = Distillation(max_depth=1, learning_rate=0.5)
    scores = {
        lesson.told: trees.score(teach(label, lesson, flat, taught(task, rows), chosen, trees=150, seed=7, threads=1), flat.X[:1])
        for lesson in lessons_for(label)
        if lesson.trees_at_once == 1
    }
    np.testing.assert_allclose(scores["both"], (scores["ensemble"] + scores["labels"]) / 2, rtol=0.01, atol=0.01)


def test_rows_without_a_label_teach_the_student_by_their_soft_one():
    train, valid = tables.rows_of("binary", 600), tables.rows_of("binary", 300, seed=1)
    label = tables.schema_of("binary").label
    unlabelled = Rows(train.X, np.where(np.arange(600) < 300, train.y, np.nan))
    record, _ = distill.compare(
        label, Trial(unlabelled, taught("binary", train), valid, taught("binary", valid), None), SMALL, unlabelled_rows=300
    )
    assert record.unlabelled_rows == 300
    assert all(np.isfinite(t.loss) for t in record.tries)
    with_all, without = (
        teach(label, Lesson("ensemble"), rows, taught("binary", rows), SMALL, trees=15, seed=7, threads=1)
        for rows in (unlabelled, unlabelled[:300])
    )
    assert with_all != without


@pytest.mark.parametrize("task", ["binary", "regression"])
def test_several_trees_a_round_average_the_noise_of_labels(task):
    """Labels are noise alone here, so that whatever differs from their mean was learned from it."""
    label, rng = tables.schema_of(task).label, np.random.default_rng(5)
    rows = Rows(rng.normal(size=(2000, 4)).astype(np.float32), rng.integers(0, 2, 2000).astype(np.float64))
    later = rng.normal(size=(500, 4)).astype(np.float32)
    chosen, nobody = Distillation(max_depth=4), np.zeros((2000, 1), np.float32)
    alone, together = (
        trees.score(teach(label, Lesson("labels", at_once), rows, nobody, chosen, trees=120, seed=7, threads=1), later).std()
        for at_once in (1, 3)
    )
    assert together < 0.8 * alone


def test_a_student_of_several_trees_a_round_has_the_trees_it_was_asked_for_and_ships_as_a_graph():
    label, rows = tables.schema_of("binary").label, tables.rows_of("binary", 400)
    native = teach(label, Lesson("both", 3), rows, taught("binary", rows), SMALL, trees=15, seed=7, threads=1)
    assert (trees.load(native).num_boosted_rounds(), len(trees.load(native).get_dump())) == (5, 15)
    assert export.check_parity("student", trees.score(native, rows.X), trees.to_onnx(native, label), rows.X) < 1e-5


def test_the_same_seed_gives_the_same_student():
    assert student_of("binary")[2].native == student_of("binary")[2].native


def test_the_student_has_as_many_rounds_as_were_chosen_and_its_calibration_is_smooth():
    label, valid, student = student_of("binary")
    record: Distilled = student.record
    assert trees.load(student.native).num_boosted_rounds() == record.rounds
    assert record.calibration.kind in ("none", "platt", "beta")
    assert np.isfinite(adjust(label, record.calibration, trees.score(student.native, valid.X))).all()


def test_a_small_one_that_keeps_the_gain_only_perhaps_gives_way_to_one_that_surely_does():
    label, trial, _ = noisy_world()
    record, _ = distill.compare(label, trial, Distillation(sizes=(4, 30), max_depth=2, keep_gain=0.985, learning_rate=0.3))
    small, large = (t for t in record.tries if t.taught_by == "ensemble")
    assert small.gain_kept is not None
    assert small.gain_kept >= 0.985
    assert small.sureness is not None
    assert 0.5 < small.sureness < 0.9
    assert large.sureness is not None
    assert large.sureness >= 0.9
    assert record.rounds == 30


def test_when_none_is_sure_the_one_that_keeps_most_ships():
    label, trial, _ = noisy_world()
    record, _ = distill.compare(label, trial, Distillation(sizes=(1, 2), max_depth=2, keep_gain=0.98, learning_rate=0.3))
    assert record.gain_kept == max(t.gain_kept for t in record.tries if t.gain_kept is not None)
    assert record.verdict.startswith("keeps only ")
