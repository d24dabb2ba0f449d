from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import xgboost

from cluster.schema import Label, Matrix, Task
from cluster.training_settings import Distillation
from tests.unit.training import tables
from training import distill, export, trees
from training.graphs import apply_link
from training.members import Rows

SMALL = Distillation(rounds=15, max_depth=3)


def taught(task: Task, rows: Rows) -> Matrix:
    """A teacher that knows something of the law of `tables.rows_of`."""
    z = np.nan_to_num(rows.X[:, :1].astype(np.float64))
    label = tables.schema_of(task).label
    if task == "regression":
        return (200 + 45 * z).astype(np.float32)
    return apply_link(label, 1.5 * z if task == "binary" else np.hstack([-1.5 * z, 0 * z, 1.5 * z]))


def student_of(task: Task, teach: Callable[[Task, Rows], Matrix] = taught) -> tuple[Label, Rows, distill.Student]:
    train, valid = tables.rows_of(task, 800), tables.rows_of(task, 400, seed=1)
    label = tables.schema_of(task).label
    return label, valid, distill.distill(label, train, teach(task, train), valid, teach(task, valid), SMALL)


@pytest.mark.parametrize("task", ["binary", "multiclass", "regression"])
def test_the_student_ships_as_a_graph_that_equals_its_calibrated_native_scores(task):
    label, valid, student = student_of(task)
    rows = np.vstack([valid.X, tables.odd_rows()])
    assert export.check_parity("student", student.score(label, rows), student.graph, rows) < 1e-5


@pytest.mark.parametrize("task", ["binary", "multiclass", "regression"])
def test_the_better_of_soft_and_hard_ships(task):
    _, _, student = student_of(task)
    record = student.record
    assert (record.taught_by == "ensemble") == (record.soft_loss <= record.hard_loss)


def test_a_teacher_that_is_wrong_loses_to_the_labels():
    _, _, student = student_of("binary", lambda task, rows: 1 - taught(task, rows))
    assert student.record.taught_by == "labels"
    assert student.record.hard_loss < student.record.soft_loss


def test_a_teacher_that_knows_the_truth_behind_noisy_labels_wins():
    rng = np.random.default_rng(3)
    label = tables.schema_of("binary").label
    X = rng.normal(size=(900, 4)).astype(np.float32)
    truth = apply_link(label, 2 * X[:, :1])
    rows = Rows(X, (rng.random(900) < truth[:, 0]).astype(np.float64))
    train, valid = Rows(X[:300], rows.y[:300]), Rows(X[300:], rows.y[300:])
    student = distill.distill(label, train, truth[:300], valid, truth[300:], Distillation(rounds=80, max_depth=5))
    assert student.record.taught_by == "ensemble"


def test_soft_binary_labels_are_the_exact_cross_entropy():
    """One row of label q grows the tree that a row of 1 with weight q and a row of 0 with weight 1 - q grow.

    200 rows fit in the 256 bins, so weights move no bin.
    """
    rows, label = tables.rows_of("binary", 200), tables.schema_of("binary").label
    q = taught("binary", rows)[:, 0]
    soft = distill._grow(label, rows.X, q, None, SMALL, 7, 1)
    split = distill._grow(
        label,
        np.vstack([rows.X, rows.X]),
        np.repeat([1.0, 0.0], 200),
        np.concatenate([q, 1 - q]),
        Distillation(rounds=15, max_depth=3),
        7,
        1,
    )
    np.testing.assert_allclose(trees.score(soft, rows.X), trees.score(split, rows.X), atol=1e-4)


def test_many_soft_classes_fit_the_teachers_mean_in_one_leaf():
    """Without splits, the minimum of a soft cross-entropy is the mean soft label."""
    rng = np.random.default_rng(4)
    label = tables.schema_of("multiclass").label
    q = rng.dirichlet([1, 2, 5], size=300).astype(np.float32)
    flat = Rows(np.zeros((300, 4), np.float32), np.zeros(300))
    native = distill._soft(label, flat, q, Distillation(rounds=200, max_depth=1, learning_rate=0.5), 7, 1)
    np.testing.assert_allclose(trees.score(native, flat.X[:1])[0], q.mean(axis=0), atol=0.01)


def test_rows_without_a_label_teach_the_student_by_their_soft_one():
    train, valid = tables.rows_of("binary", 600), tables.rows_of("binary", 300, seed=1)
    label = tables.schema_of("binary").label
    unlabelled = Rows(train.X, np.where(np.arange(600) < 300, train.y, np.nan))
    student = distill.distill(label, unlabelled, taught("binary", train), valid, taught("binary", valid), SMALL)
    assert np.isfinite(student.record.soft_loss)
    assert np.isfinite(student.record.hard_loss)


def test_the_same_seed_gives_the_same_student():
    assert student_of("binary")[2].native == student_of("binary")[2].native


def test_the_student_has_as_many_rounds_as_asked():
    booster = trees.load(student_of("binary")[2].native)
    assert isinstance(booster, xgboost.Booster)
    assert booster.num_boosted_rounds() == SMALL.rounds
