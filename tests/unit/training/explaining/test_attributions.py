from __future__ import annotations

from typing import Self

import numpy as np
import pytest
import xgboost
from sklearn.base import BaseEstimator
from sklearn.inspection import permutation_importance

from cluster.errors import NotEnoughData
from cluster.schema import Floats, Label, Matrix, Task, score_width
from tests.unit.training.tables import rows_of, schema_of
from training.composing import trees
from training.explaining.attributions import attribute, contributions, permute
from training.judging.evaluate import row_losses
from training.members import Rows


def booster_of(task: Task, *, rows: int = 300) -> bytes:
    train = rows_of(task, rows)
    parameters = trees.task_parameters(schema_of(task).label, seed=1, threads=1) | {"max_depth": 3}
    return trees.save(xgboost.train(parameters, xgboost.QuantileDMatrix(train.X, train.y), 8))


def test_contributions_add_up_to_the_margin_but_for_one_number() -> None:
    native, matrix = booster_of("binary"), rows_of("binary", 50, seed=2).X
    p = trees.score(native, matrix)[:, 0].astype(np.float64)
    rest = np.log(p / (1 - p)) - contributions(native, matrix).sum(axis=1)
    assert np.ptp(rest) < 1e-4


def test_attribution_ranks_features_and_says_their_direction() -> None:
    rows = rows_of("regression", 400)
    y = 3 * np.nan_to_num(rows.X[:, 0]) - np.nan_to_num(rows.X[:, 2])
    parameters = trees.task_parameters(schema_of("regression").label, seed=1, threads=1)
    native = trees.save(xgboost.train(parameters, xgboost.QuantileDMatrix(rows.X, y), 20))
    found = attribute(schema_of("regression"), native, rows.X, rng=np.random.default_rng(0))
    assert [a.feature for a in found][:2] == ["wind", "miles"]
    assert sum(a.share for a in found) == pytest.approx(1)
    assert found[0].direction is not None
    assert found[0].direction > 0.9
    assert found[1].direction is not None
    assert found[1].direction < -0.9
    sizes = np.abs(contributions(native, rows.X)).mean(axis=0)
    assert found[0].mean_abs.estimate == pytest.approx(sizes[0], rel=1e-5)
    assert found[0].mean_abs.lower < found[0].mean_abs.estimate < found[0].mean_abs.upper


def test_several_classes_are_attributed_one_by_one() -> None:
    native, matrix = booster_of("multiclass"), rows_of("multiclass", 60, seed=1).X
    found = {a.feature: a for a in attribute(schema_of("multiclass"), native, matrix, rng=np.random.default_rng(0))}
    sizes = np.abs(contributions(native, matrix)).mean(axis=0)
    assert list(found["wind"].by_class.values()) == pytest.approx(sizes[0].tolist(), rel=1e-5)
    assert list(found["wind"].by_class) == ["a", "b", "c"]
    assert found["wind"].mean_abs.estimate == pytest.approx(sizes[0].mean(), rel=1e-5)
    assert found["wind"].direction is None


def test_a_feature_that_never_varies_has_no_direction() -> None:
    rows = rows_of("binary", 300)
    rows.X[:, 2] = 4
    native = trees.save(xgboost.train({"objective": "binary:logistic", "nthread": 1}, xgboost.QuantileDMatrix(rows.X, rows.y), 3))
    found = {a.feature: a for a in attribute(schema_of("binary"), native, rows.X, rng=np.random.default_rng(0))}
    assert found["miles"].direction is None
    assert found["miles"].mean_abs.estimate == 0


def law(matrix: Matrix) -> Floats:
    return np.asarray(2 * np.nan_to_num(matrix[:, 0]) + np.nan_to_num(matrix[:, 2]), dtype=np.float64)


class Wrapped(BaseEstimator):  # type: ignore[misc] # sklearn has no types
    def fit(self, matrix: Matrix, y: Floats) -> Self:
        return self

    def predict(self, matrix: Matrix) -> Floats:
        return law(matrix)


def test_importance_agrees_with_sklearn_on_the_same_scorer() -> None:
    rows = rows_of("regression", 2000)
    rows = Rows(rows.X, law(rows.X))
    found = {
        i.feature: i.loss
        for i in permute(
            schema_of("regression"),
            lambda m: law(m)[:, None].astype(np.float32),
            rows,
            rng=np.random.default_rng(0),
            repeats=5,
        )
    }
    expected = permutation_importance(Wrapped(), rows.X, rows.y, scoring="neg_mean_squared_error", n_repeats=5, random_state=1)
    assert found["wind"].estimate == pytest.approx(expected.importances_mean[0], rel=0.05)
    assert found["miles"].estimate == pytest.approx(expected.importances_mean[2], rel=0.05)
    assert found["carrier"].estimate == found["carrier"].upper == 0


def test_the_interval_of_importance_covers_the_known_truth() -> None:
    """Shuffling x in y = x costs 2 var(x) = 2; over many small samples nine of ten intervals should hold it."""
    rng, covered = np.random.default_rng(3), 0
    schema = schema_of("regression")
    for _ in range(60):
        X = rng.normal(size=(150, 4)).astype(np.float32)
        found = permute(schema, lambda m: m[:, :1], Rows(X, X[:, 0].astype(np.float64)), rng=rng, repeats=8)
        covered += found[0].loss.lower <= 2 <= found[0].loss.upper
    assert covered >= 45


def test_losses_of_rows_average_to_the_metric() -> None:
    scores = np.array([[0.2], [0.9]], dtype=np.float32)
    losses = row_losses(Label(name="late", classes=(0, 1)), np.array([0.0, 1.0]), scores)
    assert losses == pytest.approx([-np.log(0.8), -np.log(0.9)], rel=1e-6)
    squared = row_losses(Label(name="price", task="regression"), np.array([1.0, 3.0]), np.array([[2.0], [1.0]]))
    assert squared.tolist() == [1.0, 4.0]
    several = np.array([[0.5, 0.25, 0.25]])
    assert row_losses(Label(name="k", task="multiclass", classes=("a", "b", "c")), np.array([1.0]), several) == pytest.approx([np.log(4)])


def test_importance_without_labels_is_refused() -> None:
    rows = rows_of("binary", 50)
    with pytest.raises(NotEnoughData, match="rows with labels"):
        permute(
            schema_of("binary"),
            lambda m: np.zeros((len(m), score_width(schema_of("binary").label)), dtype=np.float32),
            Rows(rows.X, np.full(50, np.nan)),
            rng=np.random.default_rng(0),
        )
