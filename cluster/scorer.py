"""Scores encoded rows: one ONNX graph for few of them, XGBoost's own trees and the rest of the graph for many.

What equality to expect, for one row of one bundle in one version of the runtime:

- trees give the same bits at every batch size, in either backend; so does a student, which is trees alone;
- an ensemble with a network or a linear member may differ in the last bits between batch sizes, because a product of
  matrices of few rows is added up in another order, and the last rows of a logarithm take another code path;
- the two backends add up their trees in another order.

Measured in blocks of 1 to 1,000 rows, on three tasks: at most 1.2e-7 between sizes and 4e-7 between backends.
`TOLERANCE` is what callers may rely on.

What the backends cost, on one thread, for an ensemble of 218 trees, a network and a linear model: 0.05 and 0.35 ms for one
row, 2.4 and 1.9 ms for 256, 38 and 25 ms for 4,096. A student stays with its graph: 60 trees break even at 1,000 rows and
win a third at 4,096 (7.2 against 4.4 ms and the calibration), which is not worth 140 MB in every gateway.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Final

import numpy as np
import onnxruntime as ort

from cluster.errors import BundleError
from cluster.schema import Matrix

TOLERANCE: Final = 1e-5
"""Two scores of one row by one bundle differ by at most this, in units of the score or of 1 where that is larger."""


class Graph:
    """An ONNX graph of one float32 input (n, features) and one float32 output (n, width).

    Parameters
    ----------
    path
        The file.
    threads
        Threads of one call; 1 is fastest for few rows, and more may change the last bits.

    Raises
    ------
    BundleError
        When the file is no such graph.
    """

    def __init__(self, path: Path, *, threads: int = 1) -> None:
        session = _session(path, threads, num_inputs=1)
        self._run, self._input, self._output = session.run, session.get_inputs()[0].name, [session.get_outputs()[0].name]

    def __call__(self, matrix: Matrix) -> Matrix:
        """Scores of shape (n, width)."""
        scores: Matrix = self._run(self._output, {self._input: matrix})[0]
        return scores


class Native:
    """XGBoost's own trees, and a graph of two inputs, the rows and the trees' scores, that does the rest.

    The package is imported here: it costs two seconds and 140 MB, which only pays where many rows come at once.

    Parameters
    ----------
    trees
        A booster in UBJ.
    rest
        An ONNX graph of (n, features) and (n, width) to (n, width), all float32.
    threads
        As for `Graph`.

    Raises
    ------
    BundleError
        When one of the files cannot be used.
    """

    def __init__(self, trees: Path, rest: Path, *, threads: int = 1) -> None:
        import xgboost

        self._booster = xgboost.Booster({"nthread": threads})
        try:
            self._booster.load_model(str(trees))
        except xgboost.core.XGBoostError as error:
            raise BundleError(f"'{trees}' is not a model that XGBoost can read: {error}") from error
        session = _session(rest, threads, num_inputs=2)
        self._run, self._output = session.run, [session.get_outputs()[0].name]
        self._rows, self._scores = (given.name for given in session.get_inputs())

    def __call__(self, matrix: Matrix) -> Matrix:
        """Scores of shape (n, width)."""
        of_trees = self._booster.inplace_predict(matrix).reshape(len(matrix), -1)
        scores: Matrix = self._run(self._output, {self._rows: matrix, self._scores: of_trees})[0]
        return scores


def _session(path: Path, threads: int, *, num_inputs: int) -> ort.InferenceSession:
    """A session over a graph of one output. Making it releases the interpreter's lock: other threads go on."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    try:
        session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's own errors share no public base
        raise BundleError(f"'{path}' is not a graph that can be run: {error}") from error
    found = len(session.get_inputs()), len(session.get_outputs())
    if found != (num_inputs, 1):
        raise BundleError(f"'{path}' has {found[0]} inputs and {found[1]} outputs; this scoring graph has {num_inputs} and 1")
    return session


def worst(scores: Matrix, expected: Matrix) -> tuple[int, float]:
    """The row where two scorings of the same rows differ most, and by how much, in `TOLERANCE`'s units.

    A number beside NaN differs infinitely, and so does another shape.

    >>> worst(np.array([[0.5], [300.0]], dtype=np.float32), np.array([[0.25], [200.0]], dtype=np.float32))
    (1, 0.5)
    """
    if scores.shape != expected.shape:
        return 0, math.inf
    same = (scores == expected) | (np.isnan(scores) & np.isnan(expected))
    with np.errstate(invalid="ignore"):
        differences = np.abs(scores.astype(np.float64) - expected) / np.maximum(1.0, np.abs(expected))
    by_row = np.where(same, 0.0, np.nan_to_num(differences, nan=math.inf)).max(axis=1, initial=0.0)
    row = int(np.argmax(by_row))
    return row, float(by_row[row])
