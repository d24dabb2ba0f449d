from __future__ import annotations

from typing import Self

import msgspec
import numpy as np
import pytest
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.inspection import partial_dependence

from cluster.errors import NotEnoughData
from cluster.schema import Matrix, Task, score_width
from tests.unit.training.explaining.test_attributions import booster_of
from tests.unit.training.tables import rows_of, schema_of
from training.composing import trees
from training.explaining.dependence import depend, outputs
from training.explaining.explanation import Explanation, explain
from training.members import Rows


@pytest.mark.parametrize("task", ["binary", "multiclass", "regression"])
def test_an_explanation_is_whole_for_every_task_and_the_same_twice(task: Task) -> None:
    native, schema, rows = booster_of(task), schema_of(task), rows_of(task, 300, seed=5)

    def scorer(matrix: Matrix) -> Matrix:
        return trees.score(native, matrix)

    made = [explain(schema, scorer, rows, rng=np.random.default_rng(1), trees=native) for _ in range(2)]
    assert msgspec.json.encode(made[0]) == msgspec.json.encode(made[1])
    found = msgspec.json.decode(msgspec.json.encode(made[0]), type=Explanation)
    assert found == made[0]
    assert found.rows == found.tree_rows == 300
    assert {i.feature for i in found.importance} == set(schema.names)
    assert found.trees is not None
    assert found.trees[0].feature == found.importance[0].feature == "wind"
    assert [d.feature for d in found.dependence] == [i.feature for i in found.importance]
    assert [c.output for c in found.dependence[0].curves] == outputs(schema.label)
    assert sum(b.rows for b in found.scores) == 300
    assert sum(b.rows for b in found.residuals) == (300 if task == "regression" else 0)
    assert sum(b.positive or 0 for b in found.scores) == (rows.y.sum() if task == "binary" else 0)


def test_more_rows_than_needed_are_sampled_and_unlabelled_ones_left_out() -> None:
    rows = rows_of("binary", 2500)
    rows.y[:100] = np.nan
    found = explain(schema_of("binary"), lambda m: np.full((len(m), 1), 0.3, dtype=np.float32), rows, rng=np.random.default_rng(0))
    assert (found.rows, found.trees, found.tree_rows) == (2000, None, 0)
    assert {i.loss.estimate for i in found.importance} == {0.0}


def test_residuals_are_told_by_size_of_the_prediction() -> None:
    X = rows_of("regression", 600).X
    X[:, 0] = np.linspace(0, 100, 600)
    found = explain(schema_of("regression"), lambda m: m[:, :1], Rows(X, X[:, 0].astype(np.float64) + 3), rng=np.random.default_rng(0))
    assert len(found.residuals) == 15
    assert [b.rows for b in found.residuals] == [40] * 15
    assert found.residuals[0].mean_score < found.residuals[-1].mean_score
    assert {round(v, 4) for b in found.residuals for v in (b.lower, b.median, b.upper)} == {3.0}
    assert (found.scores[0].lower, found.scores[-1].upper) == (0.0, 100.0)


def test_few_labels_are_refused() -> None:
    rows = rows_of("binary", 60)
    rows.y[:30] = np.nan
    with pytest.raises(NotEnoughData, match="at least 40 labelled rows; found 30"):
        explain(schema_of("binary"), lambda m: m[:, :1], rows, rng=np.random.default_rng(0))


def law(matrix: Matrix) -> Matrix:
    return np.asarray(np.tanh(matrix[:, 0]) * matrix[:, 1], dtype=np.float32)


class Wrapped(RegressorMixin, BaseEstimator):  # type: ignore[misc] # sklearn has no types
    def fit(self, matrix: Matrix, y: Matrix) -> Self:
        self.fitted_ = True
        return self

    def predict(self, matrix: Matrix) -> Matrix:
        return law(matrix)


def test_partial_dependence_equals_sklearns() -> None:
    X = np.random.default_rng(0).normal(size=(200, 4)).astype(np.float32)
    [found] = depend(schema_of("regression"), lambda m: law(m)[:, None], X, ["wind"])
    assert found.numbers is not None
    expected = partial_dependence(Wrapped().fit(X, X), X, [0], kind="average", custom_values={0: np.array(found.numbers)})
    assert found.curves[0].mean == pytest.approx(expected["average"][0].tolist(), abs=1e-5)


def test_the_band_shows_that_rows_react_differently_and_only_that() -> None:
    X = np.random.default_rng(0).normal(size=(300, 4)).astype(np.float32)
    additive, crossed = (
        depend(schema_of("regression"), scorer, X, ["wind"])[0].curves[0]
        for scorer in (lambda m: m[:, :1] + m[:, 1:2], lambda m: m[:, :1] * m[:, 1:2])
    )
    assert additive.lower == pytest.approx(additive.upper, abs=1e-5)
    assert additive.mean == pytest.approx(additive.upper, abs=1e-5)
    assert crossed.upper[-1] - crossed.lower[-1] > 2


def test_categories_are_told_by_name_and_a_missing_feature_is_left_out() -> None:
    schema, X = schema_of("binary"), rows_of("binary", 200).X
    X[:, 0] = np.nan
    [found] = depend(schema, lambda m: np.nan_to_num(m[:, 1:2]) / np.float32(5), X, ["wind", "carrier"])
    assert found.numbers is None
    assert found.categories == ["A", "B", "C", "D", "E", "(unknown)"]
    assert found.curves[0].mean == pytest.approx([0, 0.2, 0.4, 0.6, 0.8, 1.0])
    assert score_width(schema.label) == len(found.curves)
