import numpy as np
import pytest

from benchmarks.peers.tabular import Table, Tried, as_scores, search
from cluster.schema import Task


class Clock:
    """Time that only passes while something is tried."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def found(*, budget_s: float, takes_s: float = 2.0, best: float = 0.3):
    """A search for the x nearest to `best`, each try of which takes as long."""
    clock, asked, given = Clock(), [], []

    def attempt(trial, seconds):
        x = trial.suggest_float("x", 0, 1)
        asked.append(x)
        given.append(seconds)
        clock.now += takes_s
        return Tried((x - best) ** 2, round(100 * x))

    return search(attempt, first={"x": 0.9}, budget_s=budget_s, seed=1, clock=clock), asked, given, clock


def test_a_search_begins_with_what_the_library_would_do_unasked():
    assert found(budget_s=10)[1][0] == 0.9


def test_a_search_leaves_time_for_another_trial_and_the_last_fit():
    chosen, asked, _, clock = found(budget_s=30)
    assert chosen.trials == len(asked) == 13  # of 2 s: a 14th and a last fit of 2.6 s would take 30.6 s
    assert clock.now + 2 * 1.3 <= 30


def test_a_budget_for_nothing_still_tries_once():
    chosen, asked, _, _ = found(budget_s=0.1)
    assert (chosen.trials, asked, chosen.rounds) == (1, [0.9], 90)


def test_trials_that_use_all_they_may_are_still_three():
    given = found(budget_s=30)[2][0]
    assert given == 6
    assert found(budget_s=30, takes_s=given)[0].trials == 3


def test_the_best_trial_is_chosen_with_its_rounds():
    chosen, asked, _, _ = found(budget_s=100)
    best = min(asked, key=lambda x: (x - 0.3) ** 2)
    assert (chosen.trial.params["x"], chosen.rounds) == (best, round(100 * best))
    assert abs(best - 0.3) < 0.05


def test_the_same_seed_tries_the_same_settings():
    assert found(budget_s=40)[1] == found(budget_s=40)[1]


@pytest.mark.parametrize(("task", "width"), [("binary", 1), ("multiclass", 3), ("regression", 1)])
def test_answers_take_the_shape_of_scores(task: Task, width: int):
    table = Table(task, np.zeros((2, 1), dtype=np.float32), np.zeros(2), np.array([True, False]), (), 3)
    scores = as_scores(table, np.arange(2 * width, dtype=np.float64))
    assert scores.shape == (2, width)
    assert scores.dtype == np.dtype("float32")
    assert table.learn.tolist() == [False, True]
