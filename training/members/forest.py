"""Boosted trees as one node of a graph, whichever library grew them. Knows no library.

A node of a tree asks one question of one feature; a leaf adds its weight to one or several targets. What a missing
value answers is part of each question. Thresholds are float32, as the rows are: who rounds one must keep its answers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import onnx

from cluster.schema import Label, score_width
from training.composing import graphs

Question = Literal["BRANCH_LT", "BRANCH_LEQ", "BRANCH_GT"]
_NODE_LISTS = ("treeids", "nodeids", "featureids", "values", "modes", "truenodeids", "falsenodeids", "missing_value_tracks_true")
_TARGET_LISTS = ("treeids", "nodeids", "ids", "weights")


@dataclass(frozen=True)
class Forest:
    """Trees put together node by node. The first node added to a tree is its root; trees are added one after the other.

    Examples
    --------
    >>> forest = Forest()
    >>> forest.ask(0, 0, feature=0, question="BRANCH_LT", value=1.5, yes=1, no=2, missing=2)
    >>> forest.leaf(0, 1, [-1.0])
    >>> forest.leaf(0, 2, [3.0])
    >>> graph = forest.to_onnx(Label(name="miles", task="regression"), features=1, base=[10.0])
    >>> graphs.run(graph, np.array([[1.0], [2.0], [np.nan]], dtype=np.float32)).ravel().tolist()
    [9.0, 13.0, 13.0]
    """

    nodes: dict[str, list[float] | list[str]] = field(default_factory=lambda: {name: [] for name in _NODE_LISTS})
    targets: dict[str, list[float]] = field(default_factory=lambda: {name: [] for name in _TARGET_LISTS})

    def ask(self, tree: int, node: int, *, feature: int, question: Question, value: float, yes: int, no: int, missing: int) -> None:
        """Add a question: the nodes that follow on yes, on no, and on a missing value (one of the two)."""
        self._node(tree, node, feature, value, question, yes, no, int(missing == yes))

    def leaf(self, tree: int, node: int, weights: Sequence[float], *, target: int = 0) -> None:
        """Add a leaf that adds `weights` to the targets from `target` on."""
        self._node(tree, node, 0, 0.0, "LEAF", 0, 0, 0)
        for number, weight in enumerate(weights):
            for name, item in zip(_TARGET_LISTS, (tree, node, target + number, weight), strict=True):
                self.targets[name].append(item)

    def _node(self, *items: float | str) -> None:
        for name, item in zip(_NODE_LISTS, items, strict=True):
            self.nodes[name].append(item)  # type: ignore[arg-type]

    def to_onnx(self, label: Label, *, features: int, base: Sequence[float]) -> onnx.ModelProto:
        """The graph from "X" to "scores": the sum of base and leaves, one margin a target, and the label's link."""
        width = score_width(label)
        margins = graphs.node(
            "TreeEnsembleRegressor",
            [graphs.INPUT],
            "margins",
            domain="ai.onnx.ml",
            n_targets=width,
            aggregate_function="SUM",
            post_transform="NONE",
            base_values=list(base),
            **{f"nodes_{name}": values for name, values in self.nodes.items()},
            **{f"target_{name}": values for name, values in self.targets.items()},
        )
        return graphs.model("trees", [margins, graphs.link(label, "margins")], [], features=features, width=width)


def round_down(threshold: float) -> float:
    """The largest float32 not above a threshold: a float32 that is at most the one is at most the other.

    >>> round_down(0.1) <= 0.1 < float(np.nextafter(np.float32(round_down(0.1)), np.float32(1)))
    True
    """
    with np.errstate(over="ignore"):
        rounded = np.float32(threshold)
    return float(rounded if float(rounded) <= threshold else np.nextafter(rounded, np.float32(-np.inf)))
