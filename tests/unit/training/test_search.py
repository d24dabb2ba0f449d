from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest

from cluster.schema import Label, Matrix
from cluster.training_settings import Search
from training import search
from training.fitting import Fold
from training.members import Crew, Fit, Rows

LABEL = Label(name="price", task="regression")
ROWS = Rows(np.zeros((100, 1), dtype=np.float32), np.full(100, 3.0))


@dataclass(frozen=True)
class Guess:
    """A member that answers one number, whatever the row."""

    value: float = 0.0
    name: str = "guess"
    tunable: bool = True

    def fit(self, train: Rows, valid: Rows | None, crew: Crew, *, effort: int | None = None) -> Fit:
        """Nothing to fit."""
        return Fit(str(self.value).encode(), 1)

    def score(self, native: bytes, matrix: Matrix) -> Matrix:
        """The number."""
        return np.full((len(matrix), 1), float(native), dtype=np.float32)

    def suggest(self, trial: Any) -> Guess:
        """Any number between -10 and 10."""
        return replace(self, value=trial.suggest_float("value", -10, 10)) if self.tunable else self


def run(
    members: list[Guess], *, trials: int | None = 25, budget_s: float = 1e9, clock: Any = lambda: 0.0
) -> tuple[list[Any], search.Found]:
    return search.search(members, LABEL, ROWS, Fold(50, 80), Crew(), Search(budget_s=budget_s, trials=trials), clock=clock)  # type: ignore[arg-type]


def test_better_settings_are_found_and_every_trial_is_written_down():
    (best,), found = run([Guess()])
    assert best.value == pytest.approx(3, abs=0.7)
    assert len(found.trials) == 25
    assert found.trials[0].settings == {}
    assert found.trials[0].loss == pytest.approx(9)
    assert min(t.loss for t in found.trials) == pytest.approx((best.value - 3) ** 2, abs=1e-3)
    assert found.rows == 50


def test_settings_that_are_better_by_luck_alone_are_not_taken():
    rng = np.random.default_rng(0)
    before = rng.normal(1.0, 0.1, 20)
    assert not search._surely_better(before - rng.normal(0.0, 0.05, 20) + 0.01, before)
    assert search._surely_better(before - 0.05 - rng.normal(0.0, 0.05, 20), before)


def test_settings_that_cannot_be_bettered_are_kept():
    (best,), _ = run([Guess(value=3.0)])
    assert best == Guess(value=3.0)


def test_the_same_seed_and_number_of_trials_find_the_same():
    assert run([Guess()])[0] == run([Guess()])[0]


def test_too_few_tries_are_no_search():
    (kept,), few = run([Guess()], trials=5)
    assert (kept, len(few.trials)) == (Guess(), 5)
    (taken,), _ = run([Guess()], trials=6)
    assert taken != Guess()


def test_a_member_without_a_search_space_is_tried_once():
    (best,), found = run([Guess(tunable=False)])
    assert (best, len(found.trials)) == (Guess(tunable=False), 1)


def test_the_budget_is_shared_and_each_member_gets_its_turn():
    ticks = iter(range(10**6))
    _, found = run([Guess(name="a"), Guess(name="b")], trials=None, budget_s=60, clock=lambda: float(next(ticks)))
    counts = [sum(t.member == name for t in found.trials) for name in ("a", "b")]
    assert min(counts) >= 5
    assert max(counts) <= 20
