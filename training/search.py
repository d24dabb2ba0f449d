"""Looks for better settings of the members, for a budget of seconds. Optuna's TPE proposes, the stopping fold judges.

A trial fits one member and is judged by the loss on the rows that stopped it. They come before the validation rows,
on which the blend must prove itself: those are never looked at. Each member gets an equal share of the budget and begins with the
settings it has; they are given up only for better ones by more than a standard error, since the least of many losses on one piece is
partly luck (the one-standard-error rule, Breiman et al. 1984, Classification and Regression Trees, 3.4.3); and only after at least five
other settings were tried: fewer are no search. The same number of trials
with the same seed proposes the same settings; how many trials a budget of seconds allows depends on the machine, which is why the settings
that were found are written down and a reproduction uses those.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Final

import numpy as np

from cluster.records import Record
from cluster.schema import Floats, Label, Matrix
from cluster.training_settings import Search
from training.composing.calibration import loss
from training.fitting import Fold
from training.members import Crew, Member, Rows

MOST_ROWS: Final = 100_000
"""Trials learn from the latest rows only, at most so many; the final fits learn from all."""
_LEAST_SHARE_S: Final = 1.0
_FEWEST: Final = 5
"""Other settings that must have been tried before any is taken; so many Optuna draws by lot before it learns from them."""
_BLOCKS: Final = 20
"""Runs of neighbouring rows whose losses are compared: rows near each other in time are not independent."""


class Trialled(Record, frozen=True, kw_only=True):
    """What one trial gave."""

    member: str
    settings: dict[str, float | int | str | None]
    """What was changed; empty for the settings it began with."""
    loss: float
    seconds: float


class Found(Record, frozen=True, kw_only=True):
    """What a search gave."""

    trials: list[Trialled]
    seconds: float
    rows: int
    """Rows a trial learned from."""


def search(
    members: Sequence[Member],
    label: Label,
    rows: Rows,
    fold: Fold,
    crew: Crew,
    chosen: Search,
    *,
    clock: Callable[[], float] = time.monotonic,
) -> tuple[list[Member], Found]:
    """The members with the best settings found, and what was tried.

    Parameters
    ----------
    rows
        In order of time, every label known.
    fold
        Its piece stops the fits and judges them (`Cuts.stopping`).
    clock
        Seconds; only decides when to stop.
    """
    first = max(0, fold.train - MOST_ROWS)
    train, valid = rows[first : fold.train], rows[fold.train : fold.until]
    began = clock()
    trials: list[Trialled] = []
    best: list[Member] = []
    for left, member in enumerate(members):
        share = (chosen.budget_s - (clock() - began)) / (len(members) - left)  # what one leaves over goes to those after it
        found, tried = _search_one(member, label, train, valid, crew, chosen.model_copy(update={"budget_s": share}), clock)
        best.append(found)
        trials += tried
    return best, Found(trials=trials, seconds=round(clock() - began, 3), rows=len(train))


def _search_one(
    member: Member, label: Label, train: Rows, valid: Rows, crew: Crew, chosen: Search, clock: Callable[[], float]
) -> tuple[Member, list[Trialled]]:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=crew.seed, n_startup_trials=_FEWEST))
    tried: list[tuple[Member, Trialled]] = []
    by_block: list[Floats] = []
    until = clock() + max(chosen.budget_s, _LEAST_SHARE_S)
    while not tried or (clock() < until and len(tried) < (chosen.trials or len(tried) + 1)):
        trial = study.ask()
        candidate = member.suggest(trial) if tried else member
        if tried and not trial.params:
            break  # nothing to search
        began = clock()
        fit = candidate.fit(train, valid, crew)
        scores = candidate.score(fit.native, valid.X)
        value = loss(label, valid.y, scores)
        by_block.append(_by_block(label, valid.y, scores))
        tried.append((candidate, Trialled(member=member.name, settings=dict(trial.params), loss=value, seconds=round(clock() - began, 3))))
        if trial.params:
            study.tell(trial, value)
        else:
            study.tell(trial, state=optuna.trial.TrialState.FAIL)  # the settings it began with are not of the search space
    best = min(range(len(tried)), key=lambda i: tried[i][1].loss)
    is_taken = len(tried) > _FEWEST and _surely_better(by_block[best], by_block[0])
    return tried[best if is_taken else 0][0], [record for _, record in tried]


def _by_block(label: Label, y: Floats, scores: Matrix) -> Floats:
    """Mean loss of each run of neighbouring rows, float64 (blocks,)."""
    runs = np.array_split(np.arange(len(y)), min(_BLOCKS, len(y)))
    return np.array([loss(label, y[run], scores[run]) for run in runs])


def _surely_better(losses: Floats, before: Floats) -> bool:
    """Whether losses are less than before by more than a standard error of the difference."""
    gain = before - losses
    error = gain.std(ddof=1) / np.sqrt(len(gain)) if len(gain) > 1 else 0.0
    return bool(gain.mean() > error)
