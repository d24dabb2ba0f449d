"""Boosted trees: training parameters by task, native scores, and the trees as an ONNX graph.

The graph is read off XGBoost's own JSON rather than made by a converter: base scores are vectors since
XGBoost 3.1, missing values follow each node's default branch, and one output of shape (n, width) is wanted.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import onnx
import xgboost

from cluster.schema import Label, Matrix, score_width
from training.members.forest import Forest

Parameters = dict[str, str | int | float]
_OBJECTIVE = {"binary": "binary:logistic", "multiclass": "multi:softprob", "regression": "reg:squarederror"}
_LOSS = {"binary": "logloss", "multiclass": "mlogloss", "regression": "rmse"}


def task_parameters(label: Label, *, seed: int, threads: int) -> Parameters:
    """What every booster of this task is trained with."""
    parameters: Parameters = {
        "objective": _OBJECTIVE[label.task],
        "eval_metric": _LOSS[label.task],
        "tree_method": "hist",
        "seed": seed,
        "nthread": threads,
        "verbosity": 0,
    }
    if label.task == "multiclass":
        parameters["num_class"] = score_width(label)
    return parameters


def save(booster: xgboost.Booster) -> bytes:
    """A booster as UBJ, XGBoost's binary JSON."""
    return bytes(booster.save_raw(raw_format="ubj"))


def load(native: bytes) -> xgboost.Booster:
    """A booster from UBJ; scoring uses one thread."""
    booster = xgboost.Booster({"nthread": 1})
    booster.load_model(bytearray(native))
    return booster


def score(native: bytes, matrix: Matrix) -> Matrix:
    """Native scores, float32 of shape (n, width)."""
    scores = load(native).inplace_predict(np.ascontiguousarray(matrix, dtype=np.float32))
    return np.asarray(scores, dtype=np.float32).reshape(len(matrix), -1)


def to_onnx(native: bytes, label: Label) -> onnx.ModelProto:
    """The booster as a graph from "X" to "scores".

    Examples
    --------
    >>> from training.composing import graphs
    >>> rows, late = np.array([[0.0], [1.0], [np.nan], [1.0]], dtype=np.float32), np.array([0.0, 1.0, 1.0, 1.0])
    >>> label = Label(name="late", classes=(0, 1))
    >>> booster = xgboost.train(task_parameters(label, seed=7, threads=1), xgboost.DMatrix(rows, late), 3)
    >>> bool(np.allclose(graphs.run(to_onnx(save(booster), label), rows), score(save(booster), rows), atol=1e-6))
    True
    """
    content = json.loads(bytes(load(native).save_raw(raw_format="json")))["learner"]
    model = content["gradient_booster"]["model"]
    forest = Forest()
    for number, (tree, target) in enumerate(zip(model["trees"], model["tree_info"], strict=True)):
        _add_tree(forest, tree, number, target)
    parameters = content["learner_model_param"]
    base = _base_margins(parameters["base_score"], label, score_width(label))
    return forest.to_onnx(label, features=int(parameters["num_feature"]), base=base)


def _base_margins(base_score: str, label: Label, width: int) -> list[float]:
    base = np.atleast_1d(np.asarray(json.loads(base_score), dtype=np.float64))
    if label.task == "binary":
        base = np.log(base) - np.log1p(-base)  # stored as a probability
    return [float(v) for v in np.broadcast_to(base, (width,))]


def _add_tree(forest: Forest, tree: dict[str, Any], number: int, target: int) -> None:
    left, right, values = tree["left_children"], tree["right_children"], tree["split_conditions"]
    for node, (yes, no) in enumerate(zip(left, right, strict=True)):
        if yes == -1:
            forest.leaf(number, node, [values[node]], target=target)  # a leaf keeps its value where others keep a threshold
            continue
        missing = yes if tree["default_left"][node] else no
        feature = tree["split_indices"][node]
        forest.ask(number, node, feature=feature, question="BRANCH_LT", value=values[node], yes=yes, no=no, missing=missing)
