"""The budget, on streams whose truth is known."""

from collections.abc import Callable

import numpy as np
import pytest

from cluster.schema import Matrix
from monitoring import drift
from monitoring.agreement import Audits, Promise
from monitoring.looks import agreement_looks, drift_figures, drift_looks, performance_figures, performance_looks
from monitoring.profile import Profile
from monitoring.sketches import Sketcher
from tests.unit.monitoring.world import DAY, SCHEMA, Stream, profile_of

REFERENCE, BUDGET = 40, 100.0
Change = Callable[[Matrix], None]


def watch(seed: int, *, days: int, memory: float = 0.5, change: Change | None = None, flip: bool = False) -> list[tuple[int, drift.Alarm]]:
    """Alarms of a stream, with the day after the reference on which each was raised; `change` begins on day 10."""
    stream = Stream(np.random.default_rng(seed), REFERENCE + days, memory=memory)
    profile = profile_of(stream, REFERENCE)
    sketcher, state, alarms = Sketcher(profile.columns), drift.State(), []
    for day in range(days):
        rows = stream.rows(REFERENCE + day)
        matrix, scores, y = stream.X[rows].copy(), stream.scores[rows], stream.y[rows]
        if change is not None and day >= 10:
            change(matrix)
        if flip and day >= 10:
            y = 1 - y
        looks = drift_looks(profile, sketcher, sketcher.summarise(np.column_stack([matrix, scores])), min_rows=50)
        looks += performance_looks(profile, SCHEMA.label, scores, y)
        state, _, alarm = drift.judge(profile, state, looks, window_start=DAY * (REFERENCE + day), threshold=BUDGET)
        alarms += [(day, alarm)] if alarm else []
    return alarms


@pytest.mark.parametrize("memory", [0.0, 0.5])
def test_healthy_streams_of_dependent_days_alarm_no_oftener_than_the_budget(memory):
    """10 streams of 100 windows, the budget being one alarm in 100 windows: at most 10 alarms on average."""
    alarms = sum(len(watch(seed, days=100, memory=memory)) for seed in range(10))
    assert alarms <= 10


def shift(matrix: Matrix) -> None:
    matrix[:, 1] += 1.5


def nulls(matrix: Matrix) -> None:
    matrix[::20, 0] = np.nan


def unit(matrix: Matrix) -> None:
    matrix[:, 1] *= 3.6


def vanish(matrix: Matrix) -> None:
    matrix[matrix[:, 2] == 2, 2] = 1


def unknown(matrix: Matrix) -> None:
    matrix[::15, 2] = 4


@pytest.mark.parametrize(
    ("change", "blamed", "within"),
    [
        (shift, "feature_drift:wind", 5),
        (nulls, "quality:miles.missing", 3),
        (unit, "feature_drift:wind", 5),
        (vanish, "feature_drift:carrier", 5),
        (unknown, "quality:carrier.unknown", 3),
    ],
)
def test_a_planted_change_is_found_blamed_and_dated(change, blamed, within):
    for seed in range(100, 104):
        day, alarm = next((d, a) for d, a in watch(seed, days=10 + within, change=change) if d >= 10)
        assert day < 10 + within
        assert blamed in alarm.blamed
        assert abs(alarm.began / DAY - REFERENCE - 10) <= 6
        assert alarm.evidence >= alarm.threshold == BUDGET


def test_a_changed_meaning_of_the_label_is_found_by_performance_alone():
    _, alarm = next((d, a) for d, a in watch(7, days=14, flip=True) if d >= 10)
    assert alarm.blamed == ["performance:brier"]
    assert "brier of predictions went from" in alarm.message


def test_no_metric_alarms_on_one_window_alone():
    assert not [d for d, _ in watch(100, days=11, change=shift) if d == 10]


def test_a_lasting_change_is_told_again_but_not_every_day():
    days = [d for d, _ in watch(101, days=80, change=shift) if d >= 10]
    assert 2 <= len(days) <= 4
    assert min(np.diff(days)) >= 7


def _profile() -> Profile:
    return profile_of(Stream(np.random.default_rng(1), 20), 20)


def test_the_budget_is_shared_out_whole():
    weights = drift.weights_of(_profile())
    assert sum(weights.values()) == pytest.approx(1.0)
    assert weights["performance:brier"] == pytest.approx(0.2 / 0.9)  # no pair of columns goes together here


PROMISE = Promise(most=0.02)


def audited(rate: Callable[[int], float], *, days: int, seed: int = 0, rows: int = 100) -> list[tuple[int, drift.Alarm]]:
    """Alarms of a stream of which only audits are known."""
    profile, state, alarms, rng = _profile(), drift.State(), [], np.random.default_rng(seed)
    for day in range(days):
        looks = agreement_looks(PROMISE, Audits(rows=rows, differ=int(rng.binomial(rows, rate(day)))))
        state, _, alarm = drift.judge(profile, state, looks, window_start=DAY * day, threshold=BUDGET, promise=PROMISE)
        alarms += [(day, alarm)] if alarm else []
    return alarms


def test_a_promise_takes_a_tenth_of_the_budget_and_leaves_the_rest_as_it_was_shared():
    alone, together = drift.weights_of(_profile()), drift.weights_of(_profile(), PROMISE)
    assert together.pop("cascade:agreement") == 0.1
    assert together == pytest.approx({key: 0.9 * weight for key, weight in alone.items()})


def test_a_promise_that_is_just_kept_alarms_no_oftener_than_its_part_of_the_budget():
    """10 streams of 200 windows, the cascade's part being one alarm in 1,000 windows: 2 on average."""
    assert sum(len(audited(lambda _: 0.02, days=200, seed=seed)) for seed in range(10)) <= 6


def test_a_promise_that_is_broken_is_told_dated_and_told_again_only_after_a_rest():
    alarms = audited(lambda day: 0.01 if day < 30 else 0.08, days=120)
    (day, first), (later, second), *_ = alarms
    assert 30 < day <= 40
    assert first.blamed == ["cascade:agreement"]
    assert first.began / DAY == pytest.approx(30, abs=3)
    assert "the student disagrees with the ensemble on" in first.message
    assert first.message.endswith("2.0% was promised")
    assert later - day > 28
    assert second.blamed == first.blamed


def test_not_even_a_window_in_which_the_two_never_agree_alarms_alone():
    assert audited(lambda day: 1.0 if day == 5 else 0.0, days=10, rows=5000) == []


def test_a_window_without_audits_says_nothing_of_the_promise():
    assert agreement_looks(PROMISE, Audits()) == []
    assert agreement_looks(None, Audits(rows=10, differ=1)) == []


def test_judging_leaves_the_state_it_was_given_as_it_was():
    profile, before = _profile(), drift.State()
    stream = Stream(np.random.default_rng(1), 20)
    sketcher = Sketcher(profile.columns)
    looks = drift_looks(profile, sketcher, sketcher.summarise(np.column_stack([stream.X[:200], stream.scores[:200]])), min_rows=50)
    after, findings, _ = drift.judge(profile, before, looks, window_start=0.0, threshold=BUDGET)
    assert before == drift.State()
    assert after.looks == 1
    assert len(findings) == len(looks)
    assert after.memory is not None


def test_the_test_says_the_same_of_a_window_with_words_and_without():
    profile, told, mute, raised = _profile(), drift.State(), drift.State(), 0
    stream, sketcher = Stream(np.random.default_rng(2), 30), Sketcher(profile.columns)
    for day in range(30):
        rows = stream.rows(day)
        matrix, scores, y = stream.X[rows].copy(), stream.scores[rows], stream.y[rows]
        matrix[:, 1] += 3.0
        summary = sketcher.summarise(np.column_stack([matrix, scores]))
        looks = drift_looks(profile, sketcher, summary, min_rows=50) + performance_looks(profile, SCHEMA.label, scores, y)
        told, findings, alarm = drift.judge(profile, told, looks, window_start=DAY * day, threshold=BUDGET)
        figures = np.fmax(drift_figures(profile, sketcher, summary, min_rows=50), performance_figures(profile, SCHEMA.label, scores, y))
        mute, weighed = drift.weigh(profile, mute, figures, window_start=DAY * day, threshold=BUDGET)
        assert mute == told
        assert {f.look.reference.key: f.evidence for f in findings}.items() <= weighed.parts.items()
        assert (None if alarm is None else alarm.blamed) == (None if weighed.raised is None else weighed.raised.blamed)
        raised += alarm is not None
    assert raised >= 1
