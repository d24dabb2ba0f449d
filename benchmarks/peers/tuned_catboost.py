"""CatBoost with Optuna: categories are given as such, so that CatBoost encodes them in its own way."""

from __future__ import annotations

import time
from typing import Any, Final

import catboost
import numpy as np
import optuna
import pandas as pd

from benchmarks.peers.tabular import MOST_ROUNDS, PATIENCE, THREADS, Chosen, Fitted, Table, Tried, as_scores, search
from cluster.schema import Matrix

_LOSS: Final = {"binary": "Logloss", "multiclass": "MultiClass", "regression": "RMSE"}
_METRIC: Final = {"binary": "AUC", "multiclass": "MultiClass", "regression": "RMSE"}
_FIRST: Final = {"learning_rate": 0.1, "depth": 6, "l2_leaf_reg": 3.0, "random_strength": 1.0, "bagging_temperature": 1.0}
_MISSING: Final = -1


def fit(table: Table, *, budget_s: float, seed: int) -> Fitted:
    """Search, then fit on all rows."""
    learn, choose = _pool(table, table.learn), _pool(table, table.choose)

    def attempt(trial: optuna.Trial, seconds: float) -> Tried:
        stop = {"od_type": "Iter", "od_wait": PATIENCE, "use_best_model": True, "iterations": MOST_ROUNDS}
        model = catboost.CatBoost(_base(table, seed) | _settings(trial, table) | stop)
        model.fit(learn, eval_set=choose, callbacks=[_Deadline(time.monotonic() + seconds)])
        value = float(model.get_best_score()["validation"][_METRIC[table.task]])
        return Tried(-value if table.task == "binary" else value, int(model.get_best_iteration()) + 1)

    return _final(table, search(attempt, first=_FIRST, budget_s=budget_s, seed=seed), seed)


class _Deadline:
    """Ends a fit in time; what it has by then counts."""

    def __init__(self, until: float) -> None:
        self._until = until

    def after_iteration(self, info: Any) -> bool:  # noqa: ARG002 - CatBoost's signature
        return time.monotonic() < self._until


def _final(table: Table, found: Chosen, seed: int) -> Fitted:
    settings = _base(table, seed) | _settings(found.trial, table) | {"iterations": found.rounds}
    model = catboost.CatBoost(settings)
    model.fit(_pool(table, np.full(len(table.y), True)))
    kind = "RawFormulaVal" if table.task == "regression" else "Probability"

    def scores(matrix: Matrix) -> Matrix:
        found = model.predict(_frame(matrix, table.categorical), prediction_type=kind)
        return as_scores(table, found[:, 1] if table.task == "binary" else found)

    def single(row: Matrix) -> Any:
        values = [_frame(row, table.categorical).iloc[0].tolist()]
        values = [[int(v) if i in table.categorical else v for i, v in enumerate(values[0])]]
        return lambda: model.predict(values, prediction_type=kind, thread_count=1)

    return Fitted(scores, single, found.trials)


def _base(table: Table, seed: int) -> dict[str, Any]:
    return {
        "loss_function": _LOSS[table.task],
        "eval_metric": _METRIC[table.task],
        "thread_count": THREADS,
        "random_seed": seed,
        "verbose": False,
        "allow_writing_files": False,
    }


def _settings(trial: optuna.Trial | optuna.trial.FrozenTrial, table: Table) -> dict[str, Any]:
    settings: dict[str, Any] = {
        "learning_rate": trial.suggest_float("learning_rate", 0.02, 0.3, log=True),
        "depth": trial.suggest_int("depth", 4, 10),
        "l2_leaf_reg": trial.suggest_float("l2_leaf_reg", 1, 30, log=True),
        "random_strength": trial.suggest_float("random_strength", 0.1, 10, log=True),
        "bagging_temperature": trial.suggest_float("bagging_temperature", 0, 1),
    }
    if table.categorical:
        settings["one_hot_max_size"] = trial.suggest_categorical("one_hot_max_size", [2, 10, 50])
    return settings


def _pool(table: Table, rows: Any) -> Any:
    return catboost.Pool(_frame(table.X[rows], table.categorical), table.y[rows], cat_features=list(table.categorical))


def _frame(matrix: Matrix, categorical: tuple[int, ...]) -> Any:
    """CatBoost takes numbers as floats and categories as integers, in one frame."""
    columns = range(matrix.shape[1])
    codes = {i: np.nan_to_num(matrix[:, i], nan=_MISSING).astype(np.int32) for i in categorical}
    return pd.DataFrame({i: codes.get(i, matrix[:, i]) for i in columns})
