"""The baseline: logistic, softmax or ridge regression on standardised numbers and one-hot categories.

Data-parallel: every worker adds up loss and gradient over its own rows, the sums are shared, and all take the
same L-BFGS steps (Liu & Nocedal 1989, by SciPy). So no worker ever needs all rows, and two workers find the
same optimum as one. A category never seen in training keeps weight 0: it counts as average.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import msgspec
import numpy as np
import onnx
from scipy import sparse
from scipy.optimize import minimize

from cluster import training_settings
from cluster.records import Record
from cluster.schema import FeatureSchema, Floats, Label, Matrix, score_width
from training import graphs
from training.graphs import constant, node
from training.members import Crew, Rows, inputs

_MAX_STEPS = 150
_GRADIENT_TOLERANCE = 1e-5  # of the mean loss; 1e-7 moved no score by more than 1e-4 (64,000 rows of 30 features)


class LinearModel(Record, frozen=True, kw_only=True):
    """What `linear.json` holds."""

    reads: inputs.Inputs
    numeric: inputs.Array
    """Weights of the numeric columns, (2 * numbers, width)."""
    table: inputs.Array
    """Weights of the category codes, (table rows, width)."""
    intercept: inputs.Array
    """(width,)"""


@dataclass(frozen=True)
class LinearMember:
    """Logistic (binary), softmax (multiclass) or ridge (regression), with an L2 penalty on all but the intercept.

    Minimises the summed loss plus regularization / 2 times the squared weights; for regression the label is
    standardised and the loss is half the squared error.
    """

    settings: training_settings.Linear
    schema: FeatureSchema
    name: str = "linear"
    native_name: str = "linear.json"

    def fit(self, train: Rows, valid: Rows, crew: Crew) -> bytes:  # noqa: ARG002 -- a convex fit needs no validation rows
        """Fit over all workers' rows; returns JSON."""
        label = self.schema.label
        read = inputs.learn(self.schema.features, train.X, crew)
        design = _Design(inputs.numeric(read, train.X).astype(np.float64), _one_hot(read, train.X))
        centre, spread = inputs.label_scale(label, train.y, crew)
        objective = _objective(label, design, (train.y - centre) / spread, self.settings.regularization, crew)
        size = (design.width + 1) * score_width(label)
        found = minimize(
            objective, np.zeros(size), jac=True, method="L-BFGS-B", options={"maxiter": _MAX_STEPS, "gtol": _GRADIENT_TOLERANCE}
        )
        weights = found.x.reshape(-1, score_width(label)) * spread
        return msgspec.json.encode(
            LinearModel(
                reads=read,
                numeric=inputs.pack(weights[: read.width]),
                table=inputs.pack(weights[read.width : -1]),
                intercept=inputs.pack(weights[-1] + centre),
            )
        )

    def score(self, native: bytes, matrix: Matrix) -> Matrix:
        """Scores, float32 of shape (n, width)."""
        fitted = msgspec.json.decode(native, type=LinearModel)
        margins = inputs.numeric(fitted.reads, matrix) @ inputs.unpack(fitted.numeric) + inputs.unpack(fitted.intercept)
        margins = margins + inputs.unpack(fitted.table)[inputs.codes(fitted.reads, matrix)].sum(axis=1)
        return graphs.apply_link(self.schema.label, margins)

    def to_onnx(self, native: bytes) -> onnx.ModelProto:
        """The graph from "X" to "scores"."""
        fitted = msgspec.json.decode(native, type=LinearModel)
        nodes, constants = [], [constant("intercept", inputs.unpack(fitted.intercept))]
        terms = ["intercept"]
        if fitted.reads.numbers:
            more, values = inputs.numeric_nodes(fitted.reads)
            nodes += [*more, node("MatMul", ["numeric", "weights"], "of_numbers")]
            constants += [*values, constant("weights", inputs.unpack(fitted.numeric))]
            terms.append("of_numbers")
        if fitted.reads.categories:
            more, values = inputs.code_nodes(fitted.reads)
            nodes += [
                *more,
                node("Gather", ["table", "codes"], "of_codes"),
                node("ReduceSum", ["of_codes", "axis"], "of_categories", keepdims=0),
            ]
            constants += [*values, constant("table", inputs.unpack(fitted.table)), constant("axis", [1], np.int64)]
            terms.append("of_categories")
        nodes += [node("Sum", terms, "margins"), graphs.link(self.schema.label, "margins")]
        return graphs.model("linear", nodes, constants, features=len(self.schema.features), width=score_width(self.schema.label))


@dataclass(frozen=True)
class _Design:
    """Rows as a dense block of numbers and a sparse one of categories."""

    numeric: Floats
    one_hot: sparse.csr_array

    @property
    def width(self) -> int:
        return int(self.numeric.shape[1] + self.one_hot.shape[1])

    def margins(self, weights: Floats) -> Floats:
        split = self.numeric.shape[1]
        return np.asarray(self.numeric @ weights[:split] + self.one_hot @ weights[split:-1] + weights[-1])

    def back(self, slopes: Floats) -> Floats:
        return np.vstack([self.numeric.T @ slopes, self.one_hot.T @ slopes, slopes.sum(axis=0, keepdims=True)])


def _one_hot(read: inputs.Inputs, matrix: Matrix) -> sparse.csr_array:
    codes = inputs.codes(read, matrix)
    n, per_row = codes.shape
    pointers = np.arange(n + 1) * per_row
    return sparse.csr_array((np.ones(codes.size), codes.ravel(), pointers), shape=(n, read.table_rows))


def _objective(label: Label, design: _Design, y: Floats, regularization: float, crew: Crew) -> Callable[[Floats], tuple[float, Floats]]:
    width = score_width(label)
    targets = np.eye(width)[y.astype(int)] if label.task == "multiclass" else y[:, None]
    rows = float(crew.total(np.array([float(len(y))]))[0])

    def loss_and_slope(flat: Floats) -> tuple[float, Floats]:
        weights = flat.reshape(-1, width)
        margins = design.margins(weights)
        loss, slopes = _loss(label, margins, targets)
        sums = crew.total(np.concatenate([[loss], design.back(slopes).ravel()]))
        penalised = weights.copy()
        penalised[-1] = 0
        value = sums[0] + regularization / 2 * float((penalised**2).sum())
        return float(value / rows), (sums[1:] + regularization * penalised.ravel()) / rows

    return loss_and_slope


def _loss(label: Label, z: Floats, targets: Floats) -> tuple[float, Floats]:
    """Summed loss over rows, and its slope by margin."""
    if label.task == "regression":
        return float(((z - targets) ** 2).sum() / 2), z - targets
    if label.task == "binary":
        softplus = np.logaddexp(0, z)
        return float((softplus - targets * z).sum()), np.exp(z - softplus) - targets
    shifted = z - z.max(axis=1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return float(-(targets * log_p).sum()), np.exp(log_p) - targets
