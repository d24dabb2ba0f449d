"""From fitted members to graphs: one for the ensemble, one for the encoding; and proof that they agree.

Member graphs come from the members themselves; here they are joined, weighted and calibrated. Knows no files.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx
from onnx import TensorProto, compose, helper

from cluster.errors import BundleError, ParityError
from cluster.schema import FeatureSchema, Label, Matrix, score_width
from training import graphs
from training.ensemble import FLOOR, Calibration
from training.graphs import INPUT, OUTPUT, constant, node

TOLERANCE = 1e-4
_Part = tuple[list[onnx.NodeProto], list[onnx.TensorProto]]


def compose_ensemble(
    members: Mapping[str, onnx.ModelProto], weights: Mapping[str, float], calibration: Calibration, label: Label
) -> onnx.ModelProto:
    """One graph of all members with a weight above 0, blended and calibrated as `training.ensemble.apply` does.

    Parameters
    ----------
    members
        Scoring graphs by name, all over the same features.
    weights
        By member.
    calibration
        After the blend.

    Returns
    -------
    onnx.ModelProto
        Input "X" float32 (N, features), output "scores" float32 (N, width), N dynamic.

    Raises
    ------
    BundleError
        When no member has weight, or one with weight has no graph.
    """
    used = {name: weight for name, weight in weights.items() if weight > 0}
    if not used or not used.keys() <= members.keys():
        raise BundleError(f"cannot join {sorted(used)} out of the graphs of {sorted(members)}; every weighted member needs its graph")
    nodes: list[onnx.NodeProto] = []
    constants: list[onnx.TensorProto] = []
    for name, weight in used.items():
        part = compose.add_prefix(members[name], f"{name}.")
        nodes += [node("Identity", [INPUT], f"{name}.{INPUT}"), *part.graph.node]
        nodes.append(node("Mul", [f"{name}.{OUTPUT}", f"{name}.weight"], f"{name}.weighted"))
        constants += [*part.graph.initializer, constant(f"{name}.weight", weight)]
    nodes.append(node("Sum", [f"{name}.weighted" for name in used], "blended"))
    more, values = _calibration(label, calibration)
    features = next(iter(members.values())).graph.input[0].type.tensor_type.shape.dim[1].dim_value
    return graphs.model("ensemble", nodes + more, constants + values, features=features, width=score_width(label))


def _calibration(label: Label, calibration: Calibration) -> _Part:
    """Nodes from "blended" to "scores"."""
    if label.task == "regression" or calibration.is_identity:
        return [node("Identity", ["blended"], OUTPUT)], []
    constants = [
        constant("floor", FLOOR),
        constant("ceiling", 1 - FLOOR if label.task == "binary" else 1.0),
        constant("slope", calibration.slope),
        constant("intercept", calibration.intercept),
        constant("one", 1.0),
    ]
    nodes = [node("Clip", ["blended", "floor", "ceiling"], "inside"), node("Log", ["inside"], "log_p")]
    logit = "log_p"
    if label.task == "binary":
        nodes += [
            node("Sub", ["one", "inside"], "complement"),
            node("Log", ["complement"], "log_q"),
            node("Sub", ["log_p", "log_q"], "logit"),
        ]
        logit = "logit"
    nodes += [node("Mul", [logit, "slope"], "sloped"), node("Add", ["sloped", "intercept"], "margins"), graphs.link(label, "margins")]
    return nodes, constants


def encoding_graph(schema: FeatureSchema) -> onnx.ModelProto:
    """The frozen schema's encoding as a graph, equal to `cluster.schema.Encoder`.

    Inputs are one a feature, by its name: float32 (N, 1) with NaN for missing, or string (N, 1) with the empty
    string for missing. The output is "X", float32 (N, features). A number given for a category must be written
    as its canonical string.

    Raises
    ------
    BundleError
        When a feature is called "X", the output's name.
    """
    if INPUT in schema.names:
        raise BundleError(f"a feature named '{INPUT}' clashes with the encoding graph's output; rename the column")
    nodes, inputs, encoded = [], [], []
    for i, feature in enumerate(schema.features):
        kind = TensorProto.FLOAT if feature.categories is None else TensorProto.STRING
        inputs.append(helper.make_tensor_value_info(feature.name, kind, ["N", 1]))
        encoded.append(feature.name)
        if feature.categories is not None:
            encoded[-1] = f"homeostat.code.{i}"
            known = {category: float(code) for code, category in enumerate(feature.categories)} | {"": float("nan")}
            nodes.append(
                node(
                    "LabelEncoder",
                    [feature.name],
                    encoded[-1],
                    domain="ai.onnx.ml",
                    keys_strings=list(known),
                    values_floats=list(known.values()),
                    default_float=float(len(feature.categories)),
                )
            )
    nodes.append(node("Concat", encoded, INPUT, axis=1))
    output = helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, ["N", len(schema.features)])
    return graphs.finish(helper.make_graph(nodes, "encoding", inputs, [output]))


def check_parity(member: str, native: Matrix, graph: onnx.ModelProto, matrix: Matrix, *, tolerance: float = TOLERANCE) -> float:
    """Compare native scores with the graph's on the same rows; returns the worst difference.

    Differences count in units of the score, or of the largest native score where that exceeds 1: a price of
    300,000 has no float32 neighbour within 1e-4.

    Raises
    ------
    ParityError
        When one exceeds `tolerance`, naming member, difference and row.
    """
    exported = graphs.run(graph, matrix)
    if exported.shape != native.shape:
        raise ParityError(f"member '{member}': the exported graph gives scores of shape {exported.shape}, the native model {native.shape}")
    unit = max(1.0, float(np.abs(native).max(initial=0.0)))
    differences = (np.abs(exported.astype(np.float64) - native) / unit).max(axis=1, initial=0.0)
    if not len(differences):
        return 0.0
    row = int(np.argmax(np.where(np.isnan(differences), np.inf, differences)))
    worst = float(differences[row])
    if not worst <= tolerance:  # NaN is beyond any tolerance
        raise ParityError(
            f"member '{member}': exported and native scores differ by {worst:.3g} in row {row}; at most {tolerance:g} is allowed. "
            "The bundle is not saved",
            details=[{"member": member, "row": row, "difference": worst}],
        )
    return worst
