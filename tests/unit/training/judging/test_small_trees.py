from __future__ import annotations

import numpy as np
import pytest

from cluster.errors import NotEnoughData
from cluster.schema import Label
from tests.unit.training.tables import rows_of, schema_of
from training.judging import small_trees
from training.members import Rows


@pytest.mark.parametrize(("task", "width", "least"), [("binary", 1, 0.75), ("multiclass", 3, -0.9), ("regression", 1, -45)])
def test_every_task_is_learned(task, width, least):
    label, train, valid = schema_of(task).label, rows_of(task, 600), rows_of(task, 300, seed=1)
    scores = small_trees.fit(label, train, seed=1, threads=1)(valid.X)
    assert scores.shape == (300, width)
    assert scores.dtype == np.float32
    value = small_trees.value(label, train, valid, seed=1, threads=1)
    assert (value if task == "binary" else -value) > least  # of a coin: 0.5, log loss 1.1; labels spread by 62


def test_rows_without_a_label_teach_nothing():
    rows = rows_of("binary", 400)
    some = Rows(rows.X, np.where(np.arange(400) < 200, rows.y, np.nan))
    label = schema_of("binary").label
    one, two = (small_trees.fit(label, r, seed=1, threads=1)(rows.X) for r in (some, rows[:200]))
    assert (one == two).all()


def test_many_classes_share_the_trees():
    rng = np.random.default_rng(0)
    label = Label(name="letter", task="multiclass", classes=tuple(range(26)))
    rows = Rows(rng.normal(size=(300, 2)).astype(np.float32), rng.integers(0, 26, 300).astype(np.float64))
    assert small_trees.fit(label, rows, seed=1, threads=1)(rows.X[:5]).shape == (5, 26)


@pytest.mark.parametrize("y", [[0.0, 0.0, np.nan], [np.nan, np.nan, np.nan]])
def test_one_class_or_none_is_refused(y):
    with pytest.raises(NotEnoughData, match="teach nothing about 'late'"):
        small_trees.fit(schema_of("binary").label, Rows(np.zeros((3, 4), dtype=np.float32), np.array(y)), seed=1, threads=1)
