"""Gradient-boosted trees, grown on every worker's rows together through XGBoost's own collective.

A long fit is grown in slices: between two, the booster is written down and read again, whether somebody keeps it or not. So a fit
that goes on after a worker died grows the same trees as one that nothing happened to: what a booster keeps in memory only, such as
where its draws of columns stand, starts anew at the same rounds. Sampling is seeded by round for the same reason.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, cast

import msgspec
import numpy as np
import onnx
import xgboost
from xgboost.collective import CommunicatorContext
from xgboost.tracker import RabitTracker

from cluster import member_settings
from cluster.records import Record
from cluster.schema import FeatureSchema, Matrix
from training.composing import trees
from training.members import Crew, Fit, Rows

if TYPE_CHECKING:
    from optuna import Trial

_TRACKER_TIMEOUT_S = 120
SLICE_ROUNDS = 200  # reading 200 trees again cost 1.1 s of 500,000 rows whose 200 rounds took 36 s
LONG_FIT = 200_000_000
"""Rows times rounds, over all workers, from which a fit is grown in slices."""


class _State(Record, frozen=True, kw_only=True):
    """A fit under way, after a slice."""

    rounds: int = 0
    booster: bytes = b""
    """UBJ; empty before the first slice."""
    lowest: float = math.inf
    """The least validation loss so far."""
    best: int = -1
    """Its round."""


@dataclass(frozen=True)
class XGBoostMember:
    """Boosted trees, stopped early on the validation loss; the native model holds the best rounds only."""

    settings: member_settings.XGBoost
    schema: FeatureSchema
    name: str = "xgboost"
    native_name: str = "xgboost.ubj"

    def fit(self, train: Rows, valid: Rows | None, crew: Crew, *, effort: int | None = None) -> Fit:
        """Grow trees over all workers' rows; the native model is UBJ, the effort its rounds."""
        rounds = self.settings.rounds if effort is None else effort
        in_all = float(crew.total(np.array([float(len(train))]))[0]) * rounds
        with collective(crew):
            rows = xgboost.QuantileDMatrix(train.X, train.y, weight=train.weight, nthread=crew.threads)
            held_out = None
            if valid is not None:
                held_out = xgboost.QuantileDMatrix(valid.X, valid.y, weight=valid.weight, ref=rows, nthread=crew.threads)
            state = _State() if crew.resume is None else msgspec.msgpack.decode(crew.resume, type=_State)
            size = SLICE_ROUNDS if in_all >= LONG_FIT else rounds
            while True:
                until = min(rounds, state.rounds + size)
                state = self._grow(state, rows, held_out, until, crew)
                if state.rounds < until or state.rounds == rounds:
                    break
                crew.save(partial(msgspec.msgpack.encode, state))
        booster = trees.load(state.booster)
        kept = state.rounds if held_out is None else state.best + 1
        return Fit(trees.save(booster[:kept]), kept)

    def _grow(self, state: _State, rows: xgboost.DMatrix, held_out: xgboost.DMatrix | None, until: int, crew: Crew) -> _State:
        """Grow on until so many rounds, or until the validation loss has stopped falling: then the state has fewer."""
        watched = [] if held_out is None else [(held_out, "valid")]
        booster = xgboost.Booster(self._parameters(crew), [rows, *(matrix for matrix, _ in watched)], bytearray(state.booster) or None)
        lowest, best, number = state.lowest, state.best, state.rounds
        while number < until:
            booster.update(rows, number)
            if watched:
                loss = float(booster.eval_set(watched, number).rpartition(":")[2])
                if loss < lowest:
                    lowest, best = loss, number
                elif number - best >= self.settings.early_stopping_rounds:
                    break
            number += 1
        return _State(rounds=number, booster=trees.save(booster), lowest=lowest, best=best)

    def _parameters(self, crew: Crew) -> trees.Parameters:
        chosen = self.settings.model_dump(exclude={"rounds", "early_stopping_rounds"})
        device: trees.Parameters = {"device": "cuda"} if crew.use_gpu else {}
        seeded = trees.task_parameters(self.schema.label, seed=crew.seed, threads=crew.threads) | {"seed_per_iteration": True}
        return seeded | chosen | device

    def effort_for(self, effort: int, growth: float) -> int:
        """As many times more trees, up to `rounds`."""
        return min(round(effort * growth), self.settings.rounds)

    def score(self, native: bytes, matrix: Matrix) -> Matrix:
        """Scores, float32 of shape (n, width)."""
        return trees.score(native, matrix)

    def to_onnx(self, native: bytes) -> onnx.ModelProto:
        """The graph from "X" to "scores"."""
        return trees.to_onnx(native, self.schema.label)

    def suggest(self, trial: Trial) -> XGBoostMember:
        """Ranges as they are common in tuned trees; rounds are left to early stopping. Faster steps stop by chance on noisy rows."""
        tried = {
            "learning_rate": trial.suggest_float("xgboost.learning_rate", 0.01, 0.1, log=True),
            "max_depth": trial.suggest_int("xgboost.max_depth", 3, 10),
            "min_child_weight": trial.suggest_float("xgboost.min_child_weight", 0.1, 100, log=True),
            "subsample": trial.suggest_float("xgboost.subsample", 0.5, 1),
            "colsample_bytree": trial.suggest_float("xgboost.colsample_bytree", 0.3, 1),
            "reg_lambda": trial.suggest_float("xgboost.reg_lambda", 1e-3, 100, log=True),
        }
        return replace(self, settings=self.settings.model_copy(update=tried))


@contextmanager
def collective(crew: Crew) -> Iterator[None]:
    """XGBoost's communication group over the crew; nothing to set up for one worker."""
    if crew.size == 1:
        yield
        return
    tracker = None
    arguments: dict[str, str | int] = {}
    if crew.rank == 0:
        tracker = RabitTracker(n_workers=crew.size, host_ip=crew.host, sortby="task", timeout=_TRACKER_TIMEOUT_S)
        tracker.start()
        arguments = dict(tracker.worker_args())
    arguments = dict(cast("dict[str, str | int]", crew.share(arguments)))
    with CommunicatorContext(**arguments, dmlc_task_id=f"{crew.rank:06d}"):  # sorted by task: XGBoost's ranks are the crew's
        yield
    if tracker is not None:
        tracker.wait_for(_TRACKER_TIMEOUT_S)
