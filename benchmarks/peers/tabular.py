"""What a model is given and what it gives back, and the search for settings that the tuned ones share.

The search is Optuna's TPE (Bergstra et al. 2011) under a budget of seconds: settings are judged on the rows kept for choosing, and
the best are fitted once more on all rows. It stops when another trial and that last fit would no longer fit the budget.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
import optuna

from cluster.schema import Floats, Matrix, Task

THREADS: Final = os.cpu_count() or 1
MOST_ROUNDS: Final = 4000
PATIENCE: Final = 50
"""Rounds without a better figure on the rows kept for choosing before a fit stops."""


class Table(NamedTuple):
    """Rows to learn from, encoded by Homeostat's encoder."""

    task: Task
    X: Matrix
    """A category is its code, a missing value NaN."""
    y: Floats
    choose: npt.NDArray[np.bool_]
    """The rows on which settings are chosen."""
    categorical: tuple[int, ...]
    """Columns that hold codes."""
    classes: int
    """0 for regression."""

    @property
    def learn(self) -> npt.NDArray[np.bool_]:
        """The rows that settings are tried with."""
        return ~self.choose

    @property
    def width(self) -> int:
        """Scores a row."""
        return self.classes if self.task == "multiclass" else 1


class Fitted(NamedTuple):
    """A model."""

    scores: Callable[[Matrix], Matrix]
    """Float32 of shape (n, width), as everywhere."""
    single: Callable[[Matrix], Callable[[], object]]
    """Given one row, the cheapest call that scores it, on one thread; preparing the row is not part of it."""
    trials: int


class Tried(NamedTuple):
    """One trial."""

    loss: float
    """Less is better."""
    rounds: int


class Chosen(NamedTuple):
    """What a search found."""

    trial: optuna.trial.FrozenTrial
    rounds: int
    trials: int


def search(
    attempt: Callable[[optuna.Trial, float], Tried],
    *,
    first: Mapping[str, float | int | bool],
    budget_s: float,
    seed: int,
    clock: Callable[[], float] = time.monotonic,
) -> Chosen:
    """Try settings until the budget is used but for the last fit.

    Parameters
    ----------
    attempt
        Fits with a trial's settings, for at most so many seconds.
    first
        Settings to begin with: what the library would do unasked.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=seed))
    study.enqueue_trial(dict(first))
    began, rounds, took = clock(), {}, {}
    while True:
        trial, started = study.ask(), clock()
        tried = attempt(trial, budget_s / 5)  # so that at least three fit the budget
        study.tell(trial, tried.loss)
        rounds[trial.number], took[trial.number] = tried.rounds, clock() - started
        best = study.best_trial
        ahead = sum(took.values()) / len(took) + 1.3 * took[best.number]  # a trial like the others, and the last fit on more rows
        if clock() - began + ahead > budget_s:
            return Chosen(best, rounds[best.number], len(took))


def as_scores(table: Table, raw: npt.NDArray[np.floating]) -> Matrix:
    """Whatever a library answers, in the shape of scores."""
    return np.asarray(raw, dtype=np.float32).reshape(-1, table.width)
