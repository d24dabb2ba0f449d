"""A network: embeddings of categories beside standardised numbers, then hidden layers.

Several workers train one network by DistributedDataParallel. The graph is written from the weights rather than
traced: for a dozen known nodes torch's exporter took 3.8 s in a fresh process (0.95 s after) and warned; this takes milliseconds.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise

import msgspec
import numpy as np
import onnx
import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from cluster import training_settings
from cluster.records import Record
from cluster.schema import FeatureSchema, Floats, Label, Matrix, score_width
from training import graphs
from training.graphs import constant, node
from training.members import Crew, Rows, inputs

EMBEDDING = 8
"""Numbers a category is embedded in."""
HIDE_SHARE = 0.01
"""Share of categories shown as unknown in training, so that the unknown one learns what an average row is."""
_LEAST_STEPS, _LEAST_BATCH = 64, 32  # a small table takes smaller batches, or six epochs would be a dozen steps
_SCORING_ROWS = 16_384


class Layer(Record, frozen=True, kw_only=True):
    """One linear layer."""

    weight: inputs.Array
    """(outputs, inputs)"""
    bias: inputs.Array


class TorchModel(Record, frozen=True, kw_only=True):
    """What `torch.json` holds."""

    reads: inputs.Inputs
    table: inputs.Array
    """Embeddings of all category codes, (table rows, EMBEDDING)."""
    layers: list[Layer]


class Network(nn.Module):
    """Margins from `inputs.numeric` and `inputs.codes`."""

    def __init__(self, read: inputs.Inputs, hidden: tuple[int, ...], width: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.table = nn.Embedding(max(1, read.table_rows), EMBEDDING)
        nn.init.normal_(self.table.weight, std=0.05)
        widths = [read.width + EMBEDDING * len(read.categories), *hidden, width]
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(widths))
        self.dropout = nn.Dropout(dropout)

    def forward(self, numeric: torch.Tensor, codes: torch.Tensor) -> torch.Tensor:
        """Margins of shape (n, width)."""
        hidden = torch.cat([numeric, self.table(codes).flatten(1)], dim=1)
        for layer in self.layers[:-1]:
            hidden = self.dropout(torch.relu(layer(hidden)))
        margins: torch.Tensor = self.layers[-1](hidden)
        return margins


@dataclass(frozen=True)
class TorchMember:
    """The network whose epoch had the lowest validation loss."""

    settings: training_settings.Torch
    schema: FeatureSchema
    name: str = "torch"
    native_name: str = "torch.json"

    def fit(self, train: Rows, valid: Rows, crew: Crew) -> bytes:
        """Train on all workers' rows; returns JSON."""
        label = self.schema.label
        read = inputs.learn(self.schema.features, train.X, crew)
        centre, spread = inputs.label_scale(label, train.y, crew)
        device = torch.device("cuda" if crew.use_gpu and torch.cuda.is_available() else "cpu")
        rows, held_out = (_Tensors.of(read, label, part, centre, spread, device) for part in (train, valid))
        steps = _steps(len(train), self.settings.batch_size, crew)
        with _seeded(crew.seed, crew.threads):
            network = Network(read, self.settings.hidden, score_width(label), self.settings.dropout).to(device)
            torch.manual_seed(crew.seed + 1 + crew.rank)  # the same start everywhere, then each worker's own order
            best = self._train(network, rows, held_out, read, steps, crew)
        return msgspec.json.encode(_record(read, best, centre, spread))

    def _train(
        self, network: Network, rows: _Tensors, held_out: _Tensors, read: inputs.Inputs, steps: int, crew: Crew
    ) -> dict[str, torch.Tensor]:
        chosen, label = self.settings, self.schema.label
        model: nn.Module = DistributedDataParallel(network) if crew.size > 1 else network
        optimizer = torch.optim.AdamW(network.parameters(), lr=chosen.learning_rate, weight_decay=chosen.weight_decay)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=chosen.epochs * steps)
        hidden_codes = torch.as_tensor(read.offsets + np.asarray(read.sizes, dtype=np.int64) - 2, device=rows.codes.device)
        lowest, best = float("inf"), copy.deepcopy(network.state_dict())
        for _ in range(chosen.epochs):
            network.train()
            for batch in torch.randperm(len(rows.y)).tensor_split(steps):
                codes = rows.codes[batch]
                codes = torch.where(torch.rand(codes.shape, device=codes.device) < HIDE_SHARE, hidden_codes, codes)
                optimizer.zero_grad()
                _loss(label, model(rows.numeric[batch], codes), rows.y[batch]).backward()  # type: ignore[no-untyped-call]
                optimizer.step()
                schedule.step()
            loss = _validate(label, network, held_out)
            if loss < lowest:
                lowest, best = loss, copy.deepcopy(network.state_dict())
        return best

    def score(self, native: bytes, matrix: Matrix) -> Matrix:
        """Scores, float32 of shape (n, width)."""
        fitted = msgspec.json.decode(native, type=TorchModel)
        hidden = tuple(layer.bias.shape[0] for layer in fitted.layers[:-1])
        with _seeded(0, 1):
            network = Network(fitted.reads, hidden, score_width(self.schema.label)).eval()
        network.load_state_dict(_state(fitted))
        with torch.inference_mode():
            margins = network(torch.from_numpy(inputs.numeric(fitted.reads, matrix)), torch.from_numpy(inputs.codes(fitted.reads, matrix)))
        return graphs.apply_link(self.schema.label, margins.numpy())

    def to_onnx(self, native: bytes) -> onnx.ModelProto:
        """The graph from "X" to "scores"."""
        fitted = msgspec.json.decode(native, type=TorchModel)
        nodes: list[onnx.NodeProto] = []
        constants: list[onnx.TensorProto] = []
        parts = []
        if fitted.reads.numbers:
            nodes, constants = inputs.numeric_nodes(fitted.reads)
            parts.append("numeric")
        if fitted.reads.categories:
            more, values = inputs.code_nodes(fitted.reads)
            nodes += [*more, node("Gather", ["table", "codes"], "embedded"), node("Flatten", ["embedded"], "embeddings", axis=1)]
            constants += [*values, constant("table", inputs.unpack(fitted.table))]
            parts.append("embeddings")
        nodes.append(node("Concat", parts, "hidden_0", axis=1))
        for i, layer in enumerate(fitted.layers):
            nodes.append(node("Gemm", [f"hidden_{i}", f"weight_{i}", f"bias_{i}"], f"margins_{i}", transB=1))
            nodes.append(node("Relu", [f"margins_{i}"], f"hidden_{i + 1}"))
            constants += [constant(f"weight_{i}", inputs.unpack(layer.weight)), constant(f"bias_{i}", inputs.unpack(layer.bias))]
        nodes[-1] = graphs.link(self.schema.label, f"margins_{len(fitted.layers) - 1}")
        return graphs.model("torch", nodes, constants, features=len(self.schema.features), width=score_width(self.schema.label))


@dataclass(frozen=True)
class _Tensors:
    numeric: torch.Tensor
    codes: torch.Tensor
    y: torch.Tensor

    @classmethod
    def of(cls, read: inputs.Inputs, label: Label, rows: Rows, centre: float, spread: float, device: torch.device) -> _Tensors:
        y = torch.from_numpy(((rows.y - centre) / spread).astype(np.float32))
        return cls(
            numeric=torch.from_numpy(inputs.numeric(read, rows.X)).to(device),
            codes=torch.from_numpy(inputs.codes(read, rows.X)).to(device),
            y=(y.long() if label.task == "multiclass" else y[:, None]).to(device),
        )


def _steps(rows: int, batch_size: int, crew: Crew) -> int:
    """Steps an epoch, the same on every worker: one that stopped earlier would leave the others waiting."""
    each = float(crew.total(np.array([float(rows)]))[0]) / crew.size
    return max(1, round(each / batch_size), min(_LEAST_STEPS, int(each / _LEAST_BATCH)))


def _loss(label: Label, margins: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    if label.task == "binary":
        return nn.functional.binary_cross_entropy_with_logits(margins, y)
    if label.task == "multiclass":
        return nn.functional.cross_entropy(margins, y)
    return nn.functional.mse_loss(margins, y)


def _validate(label: Label, network: Network, rows: _Tensors) -> float:
    network.eval()
    with torch.inference_mode():
        total = 0.0
        for start in range(0, len(rows.y), _SCORING_ROWS):
            part = slice(start, start + _SCORING_ROWS)
            total += float(_loss(label, network(rows.numeric[part], rows.codes[part]), rows.y[part])) * len(rows.y[part])
    return total / len(rows.y)


@contextmanager
def _seeded(seed: int, threads: int) -> Iterator[None]:
    """Torch's own randomness and threads, put back afterwards."""
    before = torch.get_num_threads()
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        torch.set_num_threads(threads)
        try:
            yield
        finally:
            torch.set_num_threads(before)


def _record(read: inputs.Inputs, state: dict[str, torch.Tensor], centre: float, spread: float) -> TorchModel:
    """The weights, with the label's scale folded into the last layer."""
    arrays: dict[str, Floats] = {name: tensor.cpu().numpy().astype(np.float64) for name, tensor in state.items()}
    last = sum(name.endswith(".bias") for name in arrays) - 1
    arrays[f"layers.{last}.weight"] *= spread
    arrays[f"layers.{last}.bias"] = arrays[f"layers.{last}.bias"] * spread + centre
    layers = [
        Layer(weight=inputs.pack(arrays[f"layers.{i}.weight"]), bias=inputs.pack(arrays[f"layers.{i}.bias"])) for i in range(last + 1)
    ]
    return TorchModel(reads=read, table=inputs.pack(arrays["table.weight"]), layers=layers)


def _state(fitted: TorchModel) -> dict[str, torch.Tensor]:
    state = {"table.weight": torch.from_numpy(inputs.unpack(fitted.table))}
    for i, layer in enumerate(fitted.layers):
        state[f"layers.{i}.weight"] = torch.from_numpy(inputs.unpack(layer.weight))
        state[f"layers.{i}.bias"] = torch.from_numpy(inputs.unpack(layer.bias))
    return state
