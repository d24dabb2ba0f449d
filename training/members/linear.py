"""The baseline: logistic, softmax or ridge regression on standardised numbers and one-hot categories.

Data-parallel: every worker adds up loss and gradient over its own rows, the sums are shared, and all take the
same L-BFGS steps (Liu & Nocedal 1989, by SciPy). So no worker ever needs all rows, and two workers find the
same optimum as one. Rows are standardised in blocks, so that a table larger than memory needs no copy. A category never seen in training keeps weight 0: it counts as average.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, NamedTuple

import msgspec
import numpy as np
import onnx
from scipy import sparse
from scipy.optimize import minimize

from cluster import member_settings
from cluster.records import Record
from cluster.schema import FeatureSchema, Floats, Label, Matrix, score_width
from training.composing import graphs
from training.composing.graphs import constant, node
from training.members import Crew, Fit, Rows, inputs

if TYPE_CHECKING:
    from optuna import Trial

_MOST_KEPT = 32_000_000  # numbers, 8 bytes each
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

    settings: member_settings.Linear
    schema: FeatureSchema
    name: str = "linear"
    native_name: str = "linear.json"

    def fit(self, train: Rows, valid: Rows | None, crew: Crew, *, effort: int | None = None) -> Fit:  # noqa: ARG002 -- a convex fit needs neither
        """Fit over all workers' rows; the native model is JSON, the effort 0."""
        label = self.schema.label
        read = inputs.learn(self.schema.features, train, crew)
        centre, spread = inputs.label_scale(label, train, crew)
        blocks = _Blocks(label, read, train, centre, spread)
        objective = _objective(label, blocks, self.settings.regularization, crew)
        found = minimize(
            objective,
            np.zeros((read.width + read.table_rows + 1) * score_width(label)),
            jac=True,
            method="L-BFGS-B",
            options={"maxiter": _MAX_STEPS, "gtol": _GRADIENT_TOLERANCE},
        )
        weights = found.x.reshape(-1, score_width(label)) * spread
        fitted = LinearModel(
            reads=read,
            numeric=inputs.pack(weights[: read.width]),
            table=inputs.pack(weights[read.width : -1]),
            intercept=inputs.pack(weights[-1] + centre),
        )
        return Fit(msgspec.json.encode(fitted), 0)

    def effort_for(self, effort: int, growth: float) -> int:  # noqa: ARG002
        """None."""
        return effort

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

    def suggest(self, trial: Trial) -> LinearMember:
        """The strength of the penalty, over six decades."""
        tried = trial.suggest_float("linear.regularization", 1e-3, 1e3, log=True)
        return replace(self, settings=self.settings.model_copy(update={"regularization": tried}))


class _Block(NamedTuple):
    """Some rows as a dense part of numbers and a sparse one of categories, with what they should be."""

    numeric: Floats
    one_hot: sparse.csr_array
    targets: Floats
    weight: Floats

    def margins(self, weights: Floats) -> Floats:
        split = self.numeric.shape[1]
        return np.asarray(self.numeric @ weights[:split] + self.one_hot @ weights[split:-1] + weights[-1])

    def back(self, slopes: Floats) -> Floats:
        return np.vstack([self.numeric.T @ slopes, self.one_hot.T @ slopes, slopes.sum(axis=0, keepdims=True)])


@dataclass(frozen=True)
class _Blocks:
    """The rows block by block. A small table's blocks are kept, a large one's are made anew at each pass."""

    label: Label
    read: inputs.Inputs
    rows: Rows
    centre: float
    spread: float
    kept: list[_Block] = field(default_factory=list)

    def __iter__(self) -> Iterator[_Block]:
        if self.kept:
            return iter(self.kept)
        made = (self._block(part) for part in inputs.chunks(self.rows))
        if len(self.rows) * (self.read.width + len(self.read.categories)) > _MOST_KEPT:
            return made
        self.kept.extend(made)
        return iter(self.kept)

    def _block(self, rows: Rows) -> _Block:
        targets = ((rows.y - self.centre) / self.spread)[:, None]
        if self.label.task == "multiclass":
            targets = np.eye(score_width(self.label))[rows.y.astype(int)]
        numeric = inputs.numeric(self.read, rows.X).astype(np.float64)
        return _Block(numeric, _one_hot(self.read, rows.X), targets, inputs.weights_of(rows)[:, None])


def _one_hot(read: inputs.Inputs, matrix: Matrix) -> sparse.csr_array:
    codes = inputs.codes(read, matrix)
    n, per_row = codes.shape
    pointers = np.arange(n + 1) * per_row
    return sparse.csr_array((np.ones(codes.size), codes.ravel(), pointers), shape=(n, read.table_rows))


def _objective(label: Label, blocks: _Blocks, regularization: float, crew: Crew) -> Callable[[Floats], tuple[float, Floats]]:
    width = score_width(label)
    weight = float(crew.total(np.array([inputs.weights_of(blocks.rows).sum()]))[0])

    def part(block: _Block, weights: Floats) -> Floats:
        loss, slopes = _loss(label, block.margins(weights), block.targets, block.weight)
        return np.concatenate([[loss], block.back(slopes).ravel()])

    def loss_and_slope(flat: Floats) -> tuple[float, Floats]:
        weights = flat.reshape(-1, width)
        sums = crew.total(inputs.sum_of(part(block, weights) for block in blocks))
        penalised = weights.copy()
        penalised[-1] = 0
        value = sums[0] + regularization / 2 * float((penalised**2).sum())
        return float(value / weight), (sums[1:] + regularization * penalised.ravel()) / weight

    return loss_and_slope


def _loss(label: Label, z: Floats, targets: Floats, weight: Floats) -> tuple[float, Floats]:
    """Summed loss over rows, and its slope by margin."""
    if label.task == "regression":
        return float((weight * (z - targets) ** 2).sum() / 2), weight * (z - targets)
    if label.task == "binary":
        softplus = np.logaddexp(0, z)
        return float((weight * (softplus - targets * z)).sum()), weight * (np.exp(z - softplus) - targets)
    shifted = z - z.max(axis=1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return float(-(weight * targets * log_p).sum()), weight * (np.exp(log_p) - targets)
