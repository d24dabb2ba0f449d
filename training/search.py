"""Looks for better settings of the members, for a budget of seconds. Optuna's TPE proposes, the stopping fold judges.

A trial fits one member and is judged by the loss on the rows that stopped it. They come before the validation rows,
on which the blend must prove itself: those are never looked at. Each member gets an equal share of the budget and begins with the
settings it has, so a search can only improve on them, as far as that piece can tell. The same number of trials
with the same seed proposes the same settings; how many trials a budget of seconds allows depends on the machine, which is why the settings
that were found are written down and a reproduction uses those.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Final

from cluster.records import Record
from cluster.schema import Label
from cluster.training_settings import Search
from training.composing.calibration import loss
from training.fitting import Fold
from training.members import Crew, Member, Rows

MOST_ROWS: Final = 100_000
"""Trials learn from the latest rows only, at most so many; the final fits learn from all."""
_LEAST_SHARE_S: Final = 1.0


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
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=crew.seed, n_startup_trials=5))
    tried: list[tuple[Member, Trialled]] = []
    until = clock() + max(chosen.budget_s, _LEAST_SHARE_S)
    while not tried or (clock() < until and len(tried) < (chosen.trials or len(tried) + 1)):
        trial = study.ask()
        candidate = member.suggest(trial) if tried else member
        if tried and not trial.params:
            break  # nothing to search
        began = clock()
        fit = candidate.fit(train, valid, crew)
        value = loss(label, valid.y, candidate.score(fit.native, valid.X))
        tried.append((candidate, Trialled(member=member.name, settings=dict(trial.params), loss=value, seconds=round(clock() - began, 3))))
        if trial.params:
            study.tell(trial, value)
        else:
            study.tell(trial, state=optuna.trial.TrialState.FAIL)  # the settings it began with are not of the search space
    best = min(tried, key=lambda one: one[1].loss)[0]
    return best, [record for _, record in tried]
