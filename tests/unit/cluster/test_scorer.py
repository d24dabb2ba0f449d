from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import xgboost

from cluster.errors import BundleError
from cluster.scorer import Graph, Native, worst
from tests.builders import make_graph


def test_a_graph_with_two_outputs_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "two.onnx"
    path.write_bytes(make_graph((1.0,), outputs=2))
    with pytest.raises(BundleError, match="has 1 inputs and 2 outputs; this scoring graph has 1 and 1"):
        Graph(path)


def test_a_graph_scores_one_row_as_it_scores_it_among_many(tmp_path: Path) -> None:
    path = tmp_path / "one.onnx"
    path.write_bytes(make_graph((0.5, -0.25)))
    graph = Graph(path)
    matrix = np.random.default_rng(7).normal(size=(50, 2)).astype(np.float32)
    matrix[3, 1] = np.nan
    together = graph(matrix)
    assert together.shape == (50, 1)
    np.testing.assert_array_equal(np.concatenate([graph(matrix[i : i + 1]) for i in range(50)]), together)


def make_native(folder: Path) -> Native:
    """Trees that are real beside a graph of one input, which is none of a native part."""
    rows = np.random.default_rng(7).normal(size=(50, 2)).astype(np.float32)
    xgboost.train({"nthread": 1}, xgboost.DMatrix(rows, rows[:, 0]), 2).save_model(folder / "trees.ubj")
    (folder / "rest.onnx").write_bytes(make_graph((0.5, -0.25)))
    return Native(folder / "trees.ubj", folder / "rest.onnx")


def test_a_rest_that_does_not_take_the_scores_of_trees_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"rest.onnx' has 1 inputs and 1 outputs; this scoring graph has 2 and 1"):
        make_native(tmp_path)


def test_trees_that_are_none_are_refused(tmp_path: Path) -> None:
    (tmp_path / "trees.ubj").write_bytes(b"{")
    with pytest.raises(BundleError, match=r"trees.ubj' is not a model that XGBoost can read"):
        Native(tmp_path / "trees.ubj", tmp_path / "rest.onnx")


def column(*values: float) -> np.ndarray:
    return np.array(values, dtype=np.float32)[:, None]


def test_the_row_that_differs_most_is_found_in_units_of_the_score_or_of_one() -> None:
    assert worst(column(0.5, 0.25), column(0.5, 0.25)) == (0, 0.0)
    assert worst(column(0.5, 0.75), column(0.5, 0.25)) == (1, 0.5)
    assert worst(column(300, 0.5), column(200, 0.25)) == (0, 0.5)


def test_what_is_no_number_equals_only_itself() -> None:
    nan, inf = float("nan"), float("inf")
    assert worst(column(1, nan, -inf), column(1, nan, -inf)) == (0, 0.0)
    assert worst(column(1, nan), column(1, 2)) == (1, inf)
    assert worst(column(1, 2), column(1, nan)) == (1, inf)
    assert worst(column(1, 2), column(1)) == (0, inf)
