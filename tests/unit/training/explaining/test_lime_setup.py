from __future__ import annotations

import warnings
from pathlib import Path

import msgspec
import numpy as np
import pytest

from cluster.errors import BundleError, NotEnoughData
from cluster.schema import Matrix, Task
from tests.unit.training.tables import rows_of, schema_of
from training.explaining.attributions import Scorer
from training.explaining.lime_setup import NAME, LimeSetup, lime_explainer, lime_row, lime_scorer, lime_setup

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from lime.lime_tabular import LimeTabularExplainer


def scorer_of(task: Task) -> Scorer:
    def score(matrix: Matrix) -> Matrix:
        z = 2 * np.nan_to_num(matrix[:, 0], nan=-4.0) + np.nan_to_num(matrix[:, 1]) - 2.5
        p = 1 / (1 + np.exp(-z))
        scores = {"binary": [p], "multiclass": [p / 2, p / 2, 1 - p], "regression": [z]}[task]
        return np.asarray(np.column_stack(scores), dtype=np.float32)

    return score


def complete(task: Task) -> Matrix:
    X = rows_of(task, 400).X
    X[:, 1] = np.where(np.isnan(X[:, 1]), 0, X[:, 1])
    return np.asarray(np.nan_to_num(X, nan=0.5), dtype=np.float32)


def told(explanation, label: int = 1) -> dict[str, float]:
    return {name.replace("'", ""): weight for name, weight in explanation.as_list(label=label)}


@pytest.mark.parametrize("task", ["binary", "multiclass", "regression"])
def test_without_the_rows_lime_explains_as_with_them(task: Task) -> None:
    schema, X = schema_of(task), complete(task)
    setup = msgspec.json.decode(msgspec.json.encode(lime_setup(schema, X)), type=LimeSetup)
    with_rows = LimeTabularExplainer(
        X.astype(np.float64),
        mode="regression" if task == "regression" else "classification",
        feature_names=list(schema.names),
        categorical_features=[1],
        categorical_names={1: [*"ABCDE", "(unknown)"]},
        class_names=[str(c) for c in schema.label.classes or ()] or None,
        random_state=11,
    )
    score = lime_scorer(setup, scorer_of(task))
    expected = with_rows.explain_instance(X[3].astype(np.float64), score, num_samples=400)
    found = lime_explainer(setup, seed=11).explain_instance(lime_row(setup, X[3]), score, num_samples=400)
    assert list(told(found)) == list(told(expected))
    assert list(told(found).values()) == pytest.approx(list(told(expected).values()), abs=1e-9)


def test_a_missing_number_is_missing_to_the_scorer_and_told_by_name() -> None:
    schema, X = schema_of("binary"), rows_of("binary", 400).X
    setup = lime_setup(schema, X)
    asked: list[Matrix] = []

    def score(matrix: Matrix) -> Matrix:
        asked.append(matrix)
        return scorer_of("binary")(matrix)

    row = np.array([np.nan, np.nan, 0.3, 1e5], dtype=np.float32)
    found = told(lime_explainer(setup).explain_instance(lime_row(setup, row), lime_scorer(setup, score), num_samples=2000))
    assert np.isnan(asked[0][0, :2]).all()
    assert np.isnan(asked[0]).mean(axis=0) == pytest.approx(np.isnan(X).mean(axis=0), abs=0.02)
    assert np.nanmax(np.abs(asked[0])) < 2e5
    assert found["wind is missing"] < -0.2
    assert "carrier=(missing)" in found


def test_a_number_that_has_one_value_keeps_it() -> None:
    schema, X = schema_of("binary"), complete("binary")
    X[:, 2] = 7
    setup = lime_setup(schema, X)
    asked: list[Matrix] = []

    def score(matrix: Matrix) -> Matrix:
        asked.append(matrix)
        return scorer_of("binary")(matrix)

    lime_explainer(setup).explain_instance(lime_row(setup, X[0]), lime_scorer(setup, score), num_samples=100)
    assert set(asked[0][:, 2].tolist()) == {7.0}


def test_a_feature_that_is_never_known_stays_missing() -> None:
    schema, X = schema_of("binary"), complete("binary")
    X[:, 0] = np.nan
    setup = lime_setup(schema, X)
    assert setup.numbers["wind"].rows == [0, 0, 400]
    found = told(lime_explainer(setup).explain_instance(lime_row(setup, X[0]), lime_scorer(setup, scorer_of("binary")), num_samples=200))
    assert found["wind is missing"] == pytest.approx(0, abs=1e-9)


def test_the_setup_is_read_from_a_bundle(tmp_path: Path) -> None:
    setup = lime_setup(schema_of("regression"), rows_of("regression", 100).X)
    (tmp_path / NAME).parent.mkdir()
    (tmp_path / NAME).write_bytes(msgspec.json.encode(setup))
    assert lime_explainer(tmp_path).feature_names == ["wind", "carrier", "miles", "seconds"]
    (tmp_path / NAME).write_bytes(b"{}")
    with pytest.raises(BundleError, match="cannot be read"):
        lime_explainer(tmp_path)
    with pytest.raises(BundleError, match=r"has no explanation/lime\.json"):
        lime_explainer(tmp_path / "elsewhere")


def test_no_rows_are_refused() -> None:
    with pytest.raises(NotEnoughData, match="there are none"):
        lime_setup(schema_of("binary"), np.empty((0, 4), dtype=np.float32))
