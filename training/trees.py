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
from training import graphs

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
    >>> rows, late = np.array([[0.0], [1.0], [np.nan], [1.0]], dtype=np.float32), np.array([0.0, 1.0, 1.0, 1.0])
    >>> label = Label(name="late", classes=(0, 1))
    >>> booster = xgboost.train(task_parameters(label, seed=7, threads=1), xgboost.DMatrix(rows, late), 3)
    >>> bool(np.allclose(graphs.run(to_onnx(save(booster), label), rows), score(save(booster), rows), atol=1e-6))
    True
    """
    content = json.loads(bytes(load(native).save_raw(raw_format="json")))["learner"]
    forest = content["gradient_booster"]["model"]
    width = score_width(label)
    attributes: dict[str, Any] = {
        "n_targets": width,
        "aggregate_function": "SUM",
        "post_transform": "NONE",
        "base_values": _base_margins(content["learner_model_param"]["base_score"], label, width),
    }
    for name in ("treeids", "nodeids", "featureids", "values", "modes", "truenodeids", "falsenodeids", "missing_value_tracks_true"):
        attributes[f"nodes_{name}"] = []
    for name in ("treeids", "nodeids", "ids", "weights"):
        attributes[f"target_{name}"] = []
    for number, (tree, target) in enumerate(zip(forest["trees"], forest["tree_info"], strict=True)):
        _add_tree(attributes, tree, number, target)
    trees = graphs.node("TreeEnsembleRegressor", [graphs.INPUT], "margins", domain="ai.onnx.ml", **attributes)
    features = int(content["learner_model_param"]["num_feature"])
    return graphs.model("trees", [trees, graphs.link(label, "margins")], [], features=features, width=width)


def _base_margins(base_score: str, label: Label, width: int) -> list[float]:
    base = np.atleast_1d(np.asarray(json.loads(base_score), dtype=np.float64))
    if label.task == "binary":
        base = np.log(base) - np.log1p(-base)  # stored as a probability
    return [float(v) for v in np.broadcast_to(base, (width,))]


def _add_tree(attributes: dict[str, Any], tree: dict[str, Any], number: int, target: int) -> None:
    left, right = tree["left_children"], tree["right_children"]
    count = len(left)
    leaves = [i for i in range(count) if left[i] == -1]
    is_leaf = set(leaves)
    attributes["nodes_treeids"] += [number] * count
    attributes["nodes_nodeids"] += range(count)
    attributes["nodes_featureids"] += [0 if i in is_leaf else tree["split_indices"][i] for i in range(count)]
    attributes["nodes_values"] += [0.0 if i in is_leaf else tree["split_conditions"][i] for i in range(count)]
    attributes["nodes_modes"] += ["LEAF" if i in is_leaf else "BRANCH_LT" for i in range(count)]
    attributes["nodes_truenodeids"] += [0 if i in is_leaf else left[i] for i in range(count)]
    attributes["nodes_falsenodeids"] += [0 if i in is_leaf else right[i] for i in range(count)]
    attributes["nodes_missing_value_tracks_true"] += [0 if i in is_leaf else int(tree["default_left"][i]) for i in range(count)]
    attributes["target_treeids"] += [number] * len(leaves)
    attributes["target_nodeids"] += leaves
    attributes["target_ids"] += [target] * len(leaves)
    attributes["target_weights"] += [tree["split_conditions"][i] for i in leaves]  # a leaf keeps its value where others keep a threshold
