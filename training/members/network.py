"""What the network is: how it reads a row, its layers, and both as ONNX nodes. Knows nothing of training.

Several networks share their weights and differ in how they scale each input and in their last layer, which averages
them (Gorishniy et al. 2024, "TabM"; BatchEnsemble: Wen et al. 2020). A number is read piecewise linearly (Gorishniy et
al. 2022, "On Embeddings for Numerical Features"): each piece tells how far the number has come through it, from 0 to 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import onnx
import torch
from torch import nn

from cluster.records import Record
from cluster.schema import Matrix
from training.composing.graphs import INPUT, constant, node
from training.members import Crew, Rows, inputs
from training.members.inputs import CLIP, Array, Inputs

NUMBER_WIDTH, CATEGORY_WIDTH = 8, 8
"""Numbers that a number and a category are embedded in."""
_MOST_SAMPLED = 200_000  # rows of rank 0 whose quantiles end the pieces


class Reading(Record, frozen=True, kw_only=True):
    """How columns are read: `inputs` says which are numbers and which categories; the arrays say where the numbers' pieces lie."""

    inputs: Inputs
    low: Array
    """Lowest number of the training rows, (numbers,); what is beyond counts as it."""
    high: Array
    knots: Array
    """Where each piece begins, (numbers, pieces)."""
    steepness: Array
    """Reciprocal of each piece's width, (numbers, pieces); 0 for a piece that a column does not need."""

    @property
    def width(self) -> int:
        """Inputs of the first layer."""
        return NUMBER_WIDTH * len(self.inputs.numbers) + CATEGORY_WIDTH * len(self.inputs.categories)

    @property
    def parts(self) -> int:
        """What is told of a number: its pieces, the standardised number, and whether it is missing."""
        return self.knots.shape[1] + 2


class Shape(NamedTuple):
    """Sizes of a network."""

    networks: int
    hidden: tuple[int, ...]
    width: int
    """Margins a row has."""


def learn(read: Inputs, rows: Rows, pieces: int, crew: Crew) -> Reading:
    """Pieces that end at quantiles of rank 0's rows, the same on every worker. How much a row counts plays no part."""
    made = _pieces(read, rows.X[:: max(1, len(rows) // _MOST_SAMPLED)], pieces) if crew.rank == 0 else None
    shared: Any = crew.share(made)
    return Reading(inputs=read, **dict(zip(("low", "high", "knots", "steepness"), map(inputs.pack, shared), strict=True)))


def _pieces(read: Inputs, sample: Matrix, pieces: int) -> list[Matrix]:
    count = len(read.numbers)
    low, high = np.zeros((2, count), dtype=np.float32)
    knots, steepness = np.zeros((2, count, pieces), dtype=np.float32)
    for i, column in enumerate(read.numbers):
        known = sample[:, column][np.isfinite(sample[:, column])]
        ends = np.unique(np.quantile(known, np.linspace(0, 1, pieces + 1)).astype(np.float32)) if len(known) else np.zeros(1, np.float32)
        low[i], high[i] = ends[0], ends[-1]
        knots[i, : len(ends) - 1] = ends[:-1]
        steepness[i, : len(ends) - 1] = 1 / np.diff(ends.astype(np.float64))
    return [low, high, knots, steepness]


class Network(nn.Module):
    """Margins of every network from rows as the encoder gives them."""

    low: torch.Tensor
    high: torch.Tensor
    knots: torch.Tensor
    steepness: torch.Tensor
    mean: torch.Tensor
    scale: torch.Tensor
    gaps: torch.Tensor
    last: torch.Tensor
    offsets: torch.Tensor

    def __init__(self, read: Reading, shape: Shape, *, dropout: float = 0.0) -> None:
        super().__init__()
        self.read, numbers = read, len(read.inputs.numbers)
        for name in ("low", "high", "knots", "steepness"):
            self.register_buffer(name, torch.from_numpy(inputs.unpack(getattr(read, name))), persistent=False)
        for name in ("mean", "scale", "gaps"):
            self.register_buffer(name, torch.tensor(getattr(read.inputs, name), dtype=torch.float32), persistent=False)
        self.register_buffer("last", torch.tensor(read.inputs.sizes, dtype=torch.float32) - 1, persistent=False)
        self.register_buffer("offsets", torch.from_numpy(read.inputs.offsets), persistent=False)
        self.numbers = nn.Parameter(0.05 * torch.randn(numbers, read.parts, NUMBER_WIDTH))
        with torch.no_grad():
            self.numbers[:, -2] *= 10
        self.bias = nn.Parameter(0.1 * torch.randn(numbers, NUMBER_WIDTH))
        self.table = nn.Embedding(max(1, read.inputs.table_rows), CATEGORY_WIDTH)
        nn.init.normal_(self.table.weight, std=0.3)
        self.scales = nn.Parameter(_signs(shape.networks, read.width))
        widths = [read.width, *shape.hidden]
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(widths))
        self.dropout = nn.Dropout(dropout)
        self.heads = nn.Parameter((2 * torch.rand(shape.networks, widths[-1], shape.width) - 1) / widths[-1] ** 0.5)
        self.start = nn.Parameter(torch.zeros(shape.networks, shape.width))

    def forward(self, rows: torch.Tensor, hide: float = 0.0) -> torch.Tensor:
        """Margins of shape (n, networks, width) of float32 rows (n, features); `hide` is the share of categories shown as unknown."""
        parts = []
        if self.read.inputs.numbers:
            parts.append(self._numbers(rows[:, self.read.inputs.numbers]))
        if self.read.inputs.categories:
            parts.append(self._categories(rows[:, self.read.inputs.categories], hide))
        hidden = torch.cat(parts, dim=1)[:, None] * self.scales
        for layer in self.layers:
            hidden = self.dropout(torch.relu(layer(hidden)))
        margins: torch.Tensor = torch.einsum("nkd,kdw->nkw", hidden, self.heads) + self.start
        return margins

    def _numbers(self, values: torch.Tensor) -> torch.Tensor:
        missing = torch.isnan(values)
        filled = torch.minimum(torch.maximum(torch.where(missing, self.mean, values), self.low), self.high)
        pieces = ((filled[:, :, None] - self.knots) * self.steepness).clamp(0, 1)
        scaled = ((filled - self.mean) * self.scale).clamp(-CLIP, CLIP)
        parts = torch.cat([pieces, scaled[:, :, None], (missing * self.gaps)[:, :, None]], dim=2)
        return (torch.bmm(parts.transpose(0, 1), self.numbers).transpose(0, 1) + self.bias).flatten(1)

    def _categories(self, values: torch.Tensor, hide: float) -> torch.Tensor:
        codes = torch.where(torch.isnan(values), self.last, torch.minimum(values.clamp(min=0), self.last - 1))
        if hide:
            codes = torch.where(torch.rand_like(codes) < hide, self.last - 1, codes)
        embedded: torch.Tensor = self.table(codes.long() + self.offsets)
        return embedded.flatten(1)


def _signs(networks: int, width: int) -> torch.Tensor:
    """Networks differ by the signs of their inputs; one alone reads them as they are."""
    return torch.randint(0, 2, (networks, width)) * 2.0 - 1 if networks > 1 else torch.ones(1, width)


Part = tuple[list[onnx.NodeProto], list[onnx.TensorProto]]


def margin_nodes(read: Reading, weights: dict[str, Matrix]) -> Part:
    """Nodes from "X" to "margins", the mean over the networks, from the arrays of a network's state."""
    layers = sum(name.startswith("layers.") and name.endswith(".bias") for name in weights)
    parts = [part for part in (_number_nodes(read, weights), _category_nodes(read, weights)) if part[0]]
    nodes, constants = ([item for part in parts for item in part[kind]] for kind in (0, 1))
    heads, start = weights["heads"], weights["start"]
    nodes += [
        node("Concat", [part[0][-1].output[0] for part in parts], "embedded", axis=1),
        node("Unsqueeze", ["embedded", "second"], "once"),
        node("Mul", ["once", "scales"], "hidden_0"),
        *_layer_nodes(layers),
        node("Flatten", [f"hidden_{layers}"], "flat", axis=1),
        node("Gemm", ["flat", "heads", "start"], "margins"),
    ]
    constants += [
        constant("second", [1], np.int64),
        constant("scales", weights["scales"]),
        constant("heads", heads.reshape(-1, heads.shape[2]) / len(heads)),
        constant("start", start.astype(np.float64).mean(axis=0)),
    ]
    for i in range(layers):
        constants += [constant(f"weight_{i}", weights[f"layers.{i}.weight"].T), constant(f"bias_{i}", weights[f"layers.{i}.bias"])]
    return nodes, constants


def _layer_nodes(layers: int) -> Sequence[onnx.NodeProto]:
    return [
        made
        for i in range(layers)
        for made in (
            node("MatMul", [f"hidden_{i}", f"weight_{i}"], f"product_{i}"),
            node("Add", [f"product_{i}", f"bias_{i}"], f"sum_{i}"),
            node("Relu", [f"sum_{i}"], f"hidden_{i + 1}"),
        )
    ]


def _number_nodes(read: Reading, weights: dict[str, Matrix]) -> Part:
    if not read.inputs.numbers:
        return [], []
    nodes = [
        node("Gather", [INPUT, "number_columns"], "numbers", axis=1),
        node("IsNaN", ["numbers"], "number_missing"),
        node("Where", ["number_missing", "mean", "numbers"], "filled"),
        node("Max", ["filled", "low"], "above"),
        node("Min", ["above", "high"], "bounded"),
        node("Unsqueeze", ["bounded", "third"], "apart"),
        node("Sub", ["apart", "knots"], "beyond"),
        node("Mul", ["beyond", "steepness"], "share"),
        node("Clip", ["share", "nothing", "all"], "pieces"),
        node("Sub", ["bounded", "mean"], "centred"),
        node("Mul", ["centred", "scale"], "unclipped"),
        node("Clip", ["unclipped", "clip_low", "clip_high"], "scaled"),
        node("Unsqueeze", ["scaled", "third"], "scaled_part"),
        node("Cast", ["number_missing"], "indicator", to=onnx.TensorProto.FLOAT),
        node("Mul", ["indicator", "gaps"], "gap"),
        node("Unsqueeze", ["gap", "third"], "gap_part"),
        node("Concat", ["pieces", "scaled_part", "gap_part"], "parts", axis=2),
        node("Transpose", ["parts"], "by_number", perm=[1, 0, 2]),
        node("MatMul", ["by_number", "number_weights"], "number_products"),
        node("Transpose", ["number_products"], "by_row", perm=[1, 0, 2]),
        node("Add", ["by_row", "number_bias"], "number_sums"),
        node("Flatten", ["number_sums"], "number_embeddings", axis=1),
    ]
    constants = [
        constant("number_columns", read.inputs.numbers, np.int64),
        constant("third", [2], np.int64),
        *(constant(name, getattr(read.inputs, name)) for name in ("mean", "scale", "gaps")),
        *(constant(name, inputs.unpack(getattr(read, name))) for name in ("low", "high", "knots", "steepness")),
        constant("nothing", 0.0),
        constant("all", 1.0),
        constant("clip_low", -CLIP),
        constant("clip_high", CLIP),
        constant("number_weights", weights["numbers"]),
        constant("number_bias", weights["bias"]),
    ]
    return nodes, constants


def _category_nodes(read: Reading, weights: dict[str, Matrix]) -> Part:
    if not read.inputs.categories:
        return [], []
    nodes, constants = inputs.code_nodes(read.inputs)
    nodes += [node("Gather", ["table", "codes"], "category_rows"), node("Flatten", ["category_rows"], "category_embeddings", axis=1)]
    return nodes, [*constants, constant("table", weights["table.weight"])]
