"""LightGBM as it comes: settings at their defaults, categories as its own, the number of trees by early stopping."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Final

import lightgbm as lgb
import numpy as np

from benchmarks.peers.tabular import MOST_ROUNDS, PATIENCE, THREADS, Fitted, Table, as_scores
from cluster.schema import Matrix

_OBJECTIVE: Final = {"binary": "binary", "multiclass": "multiclass", "regression": "regression"}
_METRIC: Final = {"binary": "auc", "multiclass": "multi_logloss", "regression": "rmse"}


def fit(table: Table, *, budget_s: float, seed: int) -> Fitted:
    """Find the number of trees in half of the budget, then fit on all rows."""
    settings: dict[str, Any] = {"objective": _OBJECTIVE[table.task], "metric": _METRIC[table.task], "seed": seed}
    settings |= {"num_threads": THREADS, "verbosity": -1} | ({"num_class": table.classes} if table.task == "multiclass" else {})
    learn = _data(table, table.learn)
    choose = _data(table, table.choose, reference=learn)
    stops = [lgb.early_stopping(PATIENCE, verbose=False), _deadline(time.monotonic() + budget_s / 2)]
    tried = lgb.train(settings, learn, MOST_ROUNDS, valid_sets=[choose], callbacks=stops)
    booster = lgb.train(settings, _data(table, np.full(len(table.y), True)), tried.best_iteration)

    def single(row: Matrix) -> Any:
        return lambda: booster.predict(row, num_threads=1)

    return Fitted(lambda matrix: as_scores(table, np.asarray(booster.predict(matrix))), single, 1)


def _deadline(until: float) -> Callable[[lgb.callback.CallbackEnv], None]:
    """Ends a fit in time; what it has by then counts."""

    def check(now: lgb.callback.CallbackEnv) -> None:
        if time.monotonic() > until:
            raise lgb.callback.EarlyStopException(now.iteration, now.evaluation_result_list or [])

    return check


def _data(table: Table, rows: Any, *, reference: lgb.Dataset | None = None) -> lgb.Dataset:
    return lgb.Dataset(
        table.X[rows], table.y[rows], categorical_feature=list(table.categorical), reference=reference, params={"verbosity": -1}
    )
