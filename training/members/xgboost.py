"""Gradient-boosted trees, grown on every worker's rows together through XGBoost's own collective."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import cast

import onnx
import xgboost
from xgboost.collective import CommunicatorContext
from xgboost.tracker import RabitTracker

from cluster import training_settings
from cluster.schema import FeatureSchema, Matrix
from training import trees
from training.members import Crew, Rows

_TRACKER_TIMEOUT_S = 120


@dataclass(frozen=True)
class XGBoostMember:
    """Boosted trees, stopped early on the validation loss; the native model holds the best rounds only."""

    settings: training_settings.XGBoost
    schema: FeatureSchema
    name: str = "xgboost"
    native_name: str = "xgboost.ubj"

    def fit(self, train: Rows, valid: Rows, crew: Crew) -> bytes:
        """Grow trees over all workers' rows; returns UBJ."""
        with collective(crew):
            rows = xgboost.QuantileDMatrix(train.X, train.y, nthread=crew.threads)
            held_out = xgboost.QuantileDMatrix(valid.X, valid.y, ref=rows, nthread=crew.threads)
            booster = xgboost.train(
                self._parameters(crew),
                rows,
                self.settings.rounds,
                evals=[(held_out, "valid")],
                early_stopping_rounds=self.settings.early_stopping_rounds,
                verbose_eval=False,
            )
        return trees.save(booster[: booster.best_iteration + 1])

    def _parameters(self, crew: Crew) -> trees.Parameters:
        chosen = self.settings.model_dump(exclude={"rounds", "early_stopping_rounds"})
        return trees.task_parameters(self.schema.label, seed=crew.seed, threads=crew.threads) | chosen

    def score(self, native: bytes, matrix: Matrix) -> Matrix:
        """Scores, float32 of shape (n, width)."""
        return trees.score(native, matrix)

    def to_onnx(self, native: bytes) -> onnx.ModelProto:
        """The graph from "X" to "scores"."""
        return trees.to_onnx(native, self.schema.label)


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
