"""XGBoost with Optuna: categories by their codes or as XGBoost's own, whichever does better."""

from __future__ import annotations

import time
from typing import Any, Final

import numpy as np
import optuna
import xgboost as xgb

from benchmarks.peers.tabular import MOST_ROUNDS, PATIENCE, THREADS, Chosen, Fitted, Table, Tried, as_scores, search
from cluster.schema import Matrix

_OBJECTIVE: Final = {"binary": "binary:logistic", "multiclass": "multi:softprob", "regression": "reg:squarederror"}
_METRIC: Final = {"binary": "auc", "multiclass": "mlogloss", "regression": "rmse"}
_FIRST: Final = {
    "learning_rate": 0.1,
    "max_depth": 6,
    "min_child_weight": 1.0,
    "subsample": 1.0,
    "colsample_bytree": 1.0,
    "reg_lambda": 1.0,
    "reg_alpha": 0.001,
}


def fit(table: Table, *, budget_s: float, seed: int) -> Fitted:
    """Search, then fit on all rows."""

    def attempt(trial: optuna.Trial, seconds: float) -> Tried:
        settings, native = _settings(trial, table)
        learn, choose = (_data(table, rows, native=native) for rows in (table.learn, table.choose))
        stop = xgb.callback.EarlyStopping(rounds=PATIENCE)
        booster = xgb.train(
            _base(table, seed) | settings,
            learn,
            MOST_ROUNDS,
            evals=[(choose, "choose")],
            callbacks=[stop, _Deadline(time.monotonic() + seconds)],
            verbose_eval=False,
        )
        value = float(booster.best_score)
        return Tried(-value if table.task == "binary" else value, int(booster.best_iteration) + 1)

    return _final(table, search(attempt, first=_FIRST, budget_s=budget_s, seed=seed), seed)


class _Deadline(xgb.callback.TrainingCallback):  # type: ignore[misc] # XGBoost is untyped here
    """Ends a fit in time; what it has by then counts."""

    def __init__(self, until: float) -> None:
        super().__init__()
        self._until = until

    def after_iteration(self, model: Any, epoch: int, evals_log: Any) -> bool:  # noqa: ARG002 - XGBoost's signature
        return time.monotonic() > self._until


def _final(table: Table, found: Chosen, seed: int) -> Fitted:
    settings, native = _settings(found.trial, table)
    data = _data(table, np.full(len(table.y), True), native=native)
    booster = xgb.train(_base(table, seed) | settings, data, found.rounds)

    def single(row: Matrix) -> Any:
        booster.set_param({"nthread": 1})
        return lambda: booster.inplace_predict(row)

    return Fitted(lambda matrix: as_scores(table, booster.inplace_predict(matrix)), single, found.trials)


def _base(table: Table, seed: int) -> dict[str, Any]:
    base = {
        "objective": _OBJECTIVE[table.task],
        "eval_metric": _METRIC[table.task],
        "tree_method": "hist",
        "nthread": THREADS,
        "seed": seed,
    }
    return base | ({"num_class": table.classes} if table.task == "multiclass" else {})


def _settings(trial: optuna.Trial | optuna.trial.FrozenTrial, table: Table) -> tuple[dict[str, Any], bool]:
    settings = {
        "learning_rate": trial.suggest_float("learning_rate", 0.01, 0.3, log=True),
        "max_depth": trial.suggest_int("max_depth", 3, 10),
        "min_child_weight": trial.suggest_float("min_child_weight", 1, 100, log=True),
        "subsample": trial.suggest_float("subsample", 0.5, 1),
        "colsample_bytree": trial.suggest_float("colsample_bytree", 0.3, 1),
        "reg_lambda": trial.suggest_float("reg_lambda", 0.01, 30, log=True),
        "reg_alpha": trial.suggest_float("reg_alpha", 0.001, 10, log=True),
    }
    return settings, bool(table.categorical) and trial.suggest_categorical("native", [False, True])


def _data(table: Table, rows: Any, *, native: bool) -> Any:
    kinds = ["c" if native and i in table.categorical else "q" for i in range(table.X.shape[1])]
    return xgb.DMatrix(table.X[rows], table.y[rows], feature_types=kinds, enable_categorical=native)
