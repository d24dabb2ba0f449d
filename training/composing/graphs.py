"""Building blocks of scoring graphs: ONNX models of one input "X" and one output "scores".

Graphs are written node by node with onnx.helper: they stay small, carry no converter's leftovers, and their
opsets agree, so that graphs of several members merge into one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

from cluster.schema import Label, Matrix

IR_VERSION = 8
OPSETS = {"": 17, "ai.onnx.ml": 3}
INPUT, OUTPUT = "X", "scores"
_BLOCK_ROWS = 16_384


def model(
    name: str, nodes: Sequence[onnx.NodeProto], constants: Sequence[onnx.TensorProto], *, features: int, width: int
) -> onnx.ModelProto:
    """A checked scoring graph over nodes that read "X" and write "scores"."""
    graph = helper.make_graph(
        list(nodes),
        name,
        [helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, ["N", features])],
        [helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, ["N", width])],
        initializer=list(constants),
    )
    return finish(graph)


def finish(graph: onnx.GraphProto) -> onnx.ModelProto:
    """A graph as a checked model of the one opset and format version that all of ours have."""
    opsets = [helper.make_opsetid(domain, version) for domain, version in OPSETS.items()]
    proto = helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION, producer_name="homeostat")
    onnx.checker.check_model(proto)
    return proto


def constant(name: str, values: npt.ArrayLike, dtype: type[np.generic] = np.float32) -> onnx.TensorProto:
    """A named constant of a graph."""
    return numpy_helper.from_array(np.ascontiguousarray(values, dtype=dtype), name)


def node(kind: str, inputs: Iterable[str], output: str, **attributes: object) -> onnx.NodeProto:
    """One node with one output."""
    return helper.make_node(kind, list(inputs), [output], name=output, **attributes)


def link(label: Label, source: str, target: str = OUTPUT) -> onnx.NodeProto:
    """The node from margins to scores: sigmoid, softmax, or nothing for regression."""
    if label.task == "binary":
        return node("Sigmoid", [source], target)
    if label.task == "multiclass":
        return node("Softmax", [source], target, axis=1)
    return node("Identity", [source], target)


def apply_link(label: Label, margins: npt.NDArray[np.floating]) -> Matrix:
    """The same in numpy: margins (n, width) to float32 scores (n, width)."""
    z = margins.astype(np.float64)
    if label.task == "binary":
        e = np.exp(-np.abs(z))
        z = np.where(z >= 0, 1 / (1 + e), e / (1 + e))
    elif label.task == "multiclass":
        e = np.exp(z - z.max(axis=1, keepdims=True))
        z = e / e.sum(axis=1, keepdims=True)
    return z.astype(np.float32)


def scorer(proto: onnx.ModelProto, *, threads: int = 1) -> Callable[[Matrix], Matrix]:
    """A graph as a function from float32 (n, features) to float32 (n, width)."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    session = ort.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])

    def score(matrix: Matrix) -> Matrix:
        scores: Matrix = session.run([OUTPUT], {INPUT: np.ascontiguousarray(matrix, dtype=np.float32)})[0]
        return scores

    return score


def run(proto: onnx.ModelProto, matrix: Matrix, *, threads: int = 1) -> Matrix:
    """Scores of a graph, float32 of shape (n, width), a block of rows at a time."""
    score = scorer(proto, threads=threads)
    if len(matrix) <= _BLOCK_ROWS:
        return score(matrix)
    return np.concatenate([score(matrix[start : start + _BLOCK_ROWS]) for start in range(0, len(matrix), _BLOCK_ROWS)])
