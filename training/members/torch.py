"""Trains the network of `training.members.network`, alone or by DistributedDataParallel.

The step size stays as it is and what counts is a moving average of the weights (Polyak & Juditsky 1992): at every epoch the average is
as good as a finished schedule would make it, so a fit that stops at epoch n without validation equals one that found n by it. Rows are
read batch by batch, from memory or from a file; randomness starts anew with each epoch, so a fit that goes on equals one never stopped.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import msgspec
import numpy as np
import onnx
import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from cluster import member_settings
from cluster.records import Record
from cluster.schema import FeatureSchema, Label, Matrix, score_width
from training.composing import graphs
from training.members import Crew, Fit, Rows, inputs, network
from training.members.inputs import Array
from training.members.network import Network, Reading, Shape

if TYPE_CHECKING:
    from optuna import Trial

State = dict[str, torch.Tensor]
HIDE_SHARE = 0.01
"""Share of categories shown as unknown in training, so that the unknown one learns what an average row is."""
REMAINS = 0.02
"""What is left in the average, after an epoch, of how it began."""
_LARGEST_SLOPE = 1.0
_LEAST_STEPS, _LEAST_BATCH = 128, 32  # a small table takes smaller batches, or an epoch would be a dozen steps
_MOST_STEPS, _LARGEST_BATCH = 2000, 4  # a big one takes larger ones, up to so many times the settings', and then a part of its rows
_WHOLE_ROWS, _SPAN, _SPANS = 1 << 20, 4096, 64  # more rows are drawn in spans of neighbours, mixed some spans at a time
_SCORING_ROWS = 8192


class TorchModel(Record, frozen=True, kw_only=True):
    """What `torch.json` holds."""

    reads: Reading
    networks: int
    hidden: tuple[int, ...]
    weights: dict[str, Array]
    """The network's parameters by name; for regression in units of the label."""


class _Progress(Record, frozen=True, kw_only=True):
    """A fit after an epoch: arrays by name."""

    epochs: int
    lowest: float
    best: int
    weights: dict[str, Array]
    average: dict[str, Array]
    kept: dict[str, Array]
    """The average at the best epoch."""
    first: dict[str, Array]
    """AdamW's mean of slopes."""
    second: dict[str, Array]
    """AdamW's mean of squared slopes."""
    steps: int


class _Scale(NamedTuple):
    """Units in which the network sees labels and weights."""

    centre: float
    spread: float
    weight: float
    """Mean weight of a row."""


@dataclass(frozen=True)
class TorchMember:
    """The networks at the epoch with the lowest validation loss."""

    settings: member_settings.Torch
    schema: FeatureSchema
    name: str = "torch"
    native_name: str = "torch.json"

    def fit(self, train: Rows, valid: Rows | None, crew: Crew, *, effort: int | None = None) -> Fit:
        """Train on all workers' rows; the native model is JSON, the effort its epochs."""
        label, chosen = self.schema.label, self.settings
        read = network.learn(inputs.learn(self.schema.features, train, crew), train, chosen.pieces, crew)
        rows, weight = crew.total(np.array([float(len(train)), inputs.weights_of(train).sum()]))
        scale = _Scale(*inputs.label_scale(label, train, crew), float(weight / rows))
        steps, batch = pace(float(rows) / crew.size, chosen.batch_size)
        with _seeded(crew.seed, crew.threads):
            course = _Course(self, Network(read, self._shape, dropout=chosen.dropout), scale, (steps, batch), crew)
            if crew.resume is not None:
                course.resume(msgspec.msgpack.decode(crew.resume, type=_Progress))
            most = chosen.epochs if effort is None else effort
            while course.epochs < most and course.epochs - course.best < chosen.patience:
                course.epoch(train)
                course.judge(valid)
                crew.save(partial(_encode, course))
        fitted = TorchModel(reads=read, networks=chosen.networks, hidden=chosen.hidden, weights=_pack(_in_units(course.kept, scale)))
        return Fit(msgspec.json.encode(fitted), course.best)

    @property
    def _shape(self) -> Shape:
        return Shape(self.settings.networks, self.settings.hidden, score_width(self.schema.label))

    def effort_for(self, effort: int, growth: float) -> int:  # noqa: ARG002
        """The same: epochs grow with the rows by themselves."""
        return effort

    def score(self, native: bytes, matrix: Matrix) -> Matrix:
        """Scores, float32 of shape (n, width)."""
        fitted = msgspec.json.decode(native, type=TorchModel)
        with _seeded(0, 1), torch.inference_mode():
            scoring = Network(fitted.reads, Shape(fitted.networks, fitted.hidden, score_width(self.schema.label))).eval()
            scoring.load_state_dict(_unpack(fitted.weights))
            parts = [scoring(torch.tensor(matrix[i : i + _SCORING_ROWS])).mean(dim=1) for i in range(0, max(1, len(matrix)), _SCORING_ROWS)]
        return graphs.apply_link(self.schema.label, torch.cat(parts).numpy())

    def to_onnx(self, native: bytes) -> onnx.ModelProto:
        """The graph from "X" to "scores"."""
        fitted = msgspec.json.decode(native, type=TorchModel)
        nodes, constants = network.margin_nodes(fitted.reads, {name: inputs.unpack(array) for name, array in fitted.weights.items()})
        nodes.append(graphs.link(self.schema.label, "margins"))
        return graphs.model("torch", nodes, constants, features=len(self.schema.features), width=score_width(self.schema.label))

    def suggest(self, trial: Trial) -> TorchMember:
        """A small space: the defaults are good, and each trial is slow."""
        width = trial.suggest_categorical("torch.width", [64, 128, 256])
        layers = trial.suggest_int("torch.layers", 1, 3)
        tried = {
            "hidden": (width,) * layers,
            "learning_rate": trial.suggest_float("torch.learning_rate", 1e-3, 1e-2, log=True),
            "weight_decay": trial.suggest_float("torch.weight_decay", 1e-5, 1e-1, log=True),
            "dropout": trial.suggest_float("torch.dropout", 0, 0.4),
        }
        return replace(self, settings=self.settings.model_copy(update=tried))


class _Course:
    """A fit under way: weights, their average, the optimizer, and the best average so far. `pace` is as of `pace()`."""

    def __init__(self, member: TorchMember, fresh: Network, scale: _Scale, pace: tuple[int, int], crew: Crew) -> None:
        self.label, self.scale, self.crew = member.schema.label, scale, crew
        self.steps, self.batch = pace
        on_gpu = crew.use_gpu and torch.cuda.is_available()
        self.device = torch.device("cuda" if on_gpu else "cpu")
        self.network = fresh.to(self.device)
        self.model: nn.Module = DistributedDataParallel(self.network) if crew.size > 1 else self.network
        chosen = member.settings
        step = chosen.learning_rate * min(1.0, self.batch / chosen.batch_size) ** 0.5  # noisier slopes, smaller steps
        self.optimizer = torch.optim.AdamW(self.network.parameters(), lr=step, weight_decay=chosen.weight_decay)
        self.average: State = {name: weights.detach().clone() for name, weights in self.network.named_parameters()}
        self.kept, self.lowest, self.best, self.epochs = self.average, math.inf, 0, 0

    def epoch(self, train: Rows) -> None:
        """One pass over this worker's rows, or over a part of them."""
        torch.manual_seed((self.crew.seed * 1_000_003 + self.epochs) * 4099 + self.crew.rank)  # each worker's own order
        self.network.train()
        remains = REMAINS ** (1 / self.steps)
        weights = list(self.network.parameters())
        for index in draw(len(train), self.steps, self.batch):
            rows, y, weight = self._batch(train, index)
            self.optimizer.zero_grad()
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self.device.type == "cuda"):
                margins = self.model(rows, HIDE_SHARE)
            (_losses(self.label, margins.float(), y).mean(dim=1) * weight).mean().backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(weights, _LARGEST_SLOPE)
            self.optimizer.step()
            torch._foreach_lerp_(list(self.average.values()), [w.detach() for w in weights], 1 - remains)
        self.epochs += 1

    def judge(self, valid: Rows | None) -> None:
        """Keep the average when its loss on all workers' validation rows is the lowest; without any, keep it anyway."""
        loss = -float(self.epochs) if valid is None else self._validate(valid)
        if loss < self.lowest:
            self.lowest, self.best = loss, self.epochs
            self.kept = {name: weights.clone() for name, weights in self.average.items()}

    def _validate(self, valid: Rows) -> float:
        self.network.eval()
        loss = 0.0
        with torch.inference_mode():
            for start in range(0, len(valid), _SCORING_ROWS):
                rows, y, weight = self._batch(valid, slice(start, start + _SCORING_ROWS))
                margins = torch.func.functional_call(self.network, self.average, (rows,)).mean(dim=1, keepdim=True)
                loss += float((_losses(self.label, margins, y)[:, 0].double() * weight).sum())
        total, count = self.crew.total(np.array([loss, float(len(valid))]))
        return float(total / max(1.0, count))

    def _batch(self, rows: Rows, index: slice | torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        part = rows[index if isinstance(index, slice) else index.numpy()]
        y = torch.tensor((part.y - self.scale.centre) / self.scale.spread, dtype=torch.float32)
        weight = torch.tensor(inputs.weights_of(part) / self.scale.weight, dtype=torch.float32)
        return torch.tensor(part.X).to(self.device), y.to(self.device), weight.to(self.device)

    def resume(self, made: _Progress) -> None:
        """Go on from what was saved."""
        self.epochs, self.lowest, self.best = made.epochs, made.lowest, made.best
        self.network.load_state_dict(_unpack(made.weights))
        self.average, self.kept, first, second = (
            {name: weights.to(self.device) for name, weights in _unpack(arrays).items()}
            for arrays in (made.average, made.kept, made.first, made.second)
        )
        for name, weights in self.network.named_parameters():
            step = torch.tensor(float(made.steps))
            self.optimizer.state[weights] = {"step": step, "exp_avg": first[name], "exp_avg_sq": second[name]}

    def progress(self) -> _Progress:
        """All that `resume` needs."""
        moments = {name: self.optimizer.state[weights] for name, weights in self.network.named_parameters()}
        return _Progress(
            epochs=self.epochs,
            lowest=self.lowest,
            best=self.best,
            weights=_pack(dict(self.network.named_parameters())),
            average=_pack(self.average),
            kept=_pack(self.kept),
            first=_pack({name: state["exp_avg"] for name, state in moments.items()}),
            second=_pack({name: state["exp_avg_sq"] for name, state in moments.items()}),
            steps=self.epochs * self.steps,
        )


def pace(rows: float, batch_size: int) -> tuple[int, int]:
    """Steps of an epoch and rows of a batch for a worker's mean number of rows.

    The same on every worker: one that stopped earlier would leave the others waiting.

    >>> pace(75_000, 256), pace(1000, 256), pace(20_000_000, 256)
    ((293, 256), (31, 32), (2000, 1024))
    """
    steps = max(1, round(rows / batch_size), min(_LEAST_STEPS, int(rows / _LEAST_BATCH)))
    batch = max(1, round(rows / steps))
    if steps <= _MOST_STEPS:
        return steps, batch
    return _MOST_STEPS, min(batch_size * _LARGEST_BATCH, round(rows / _MOST_STEPS))


def draw(rows: int, steps: int, batch: int) -> Iterator[torch.Tensor]:
    """Indices of the rows of each step, by torch's own randomness; each row at most once.

    Of many rows, neighbours are drawn together and mixed with others, so that reading them from a file stays quick.
    """
    order = torch.randperm(rows) if rows <= _WHOLE_ROWS else _spans(rows)
    most = steps * batch
    return iter((order[:most] if rows > 2 * most or rows > _WHOLE_ROWS else order).tensor_split(steps))


def _spans(rows: int) -> torch.Tensor:
    starts = torch.randperm(rows // _SPAN) * _SPAN
    mixed = [(part[:, None] + torch.arange(_SPAN)).flatten() for part in starts.split(_SPANS)]  # type: ignore[no-untyped-call]
    return torch.cat([part[torch.randperm(len(part))] for part in mixed])


def _losses(label: Label, margins: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Loss of each row and network, of shape (n, networks)."""
    if label.task == "multiclass":
        targets = y.long()[:, None].expand(margins.shape[:2])
        return nn.functional.cross_entropy(margins.flatten(0, 1), targets.flatten(), reduction="none").view(targets.shape)
    targets = y[:, None].expand(margins.shape[:2])
    if label.task == "binary":
        return nn.functional.binary_cross_entropy_with_logits(margins[..., 0], targets, reduction="none")
    return (margins[..., 0] - targets) ** 2


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


def _in_units(weights: State, scale: _Scale) -> State:
    """The last layer in units of the label."""
    heads, start = weights["heads"].double() * scale.spread, weights["start"].double() * scale.spread + scale.centre
    return weights | {"heads": heads, "start": start}


def _encode(course: _Course) -> bytes:
    return msgspec.msgpack.encode(course.progress())


def _pack(state: State) -> dict[str, Array]:
    return {name: inputs.pack(weights.detach().cpu().numpy()) for name, weights in state.items()}


def _unpack(arrays: dict[str, Array]) -> State:
    return {name: torch.from_numpy(inputs.unpack(array)) for name, array in arrays.items()}
