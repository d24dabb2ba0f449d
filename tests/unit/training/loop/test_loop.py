from __future__ import annotations

import datetime as dt
from typing import Any

import pytest

from cluster.ledger import Attempt, Closed, Event, Judged, Trained
from cluster.records import GateVerdict, Promotion, RetrainRequest
from cluster.settings import Loop, Settings
from cluster.training_settings import Gate
from monitoring.drift import Alarm
from monitoring.verdicts import WindowVerdicts
from tests.builders import make_settings
from training.loop.loop import Run, State, Step, consider, next_step, recall, rollback_target

DAY = 86400.0
START = dt.datetime(2013, 4, 1, tzinfo=dt.UTC).timestamp()
VERDICT = GateVerdict(passed=True, reasons=["better"], metric="roc_auc", rows=900, champion=0.7, challenger=0.72, improvement=None)
REQUEST = RetrainRequest(run="late-1", reason="alarm", now=9.0, since=0.0, train_until=8.0, seed=7)
FIRST = Promotion(pointer="champion", version="1", previous=None, by="somebody", reason="the first")
SECOND = Promotion(pointer="champion", version="2", previous="1", by="steward", reason="better")
TRAINED = Trained(run="late-1", version="2", rows=1000, seconds=3.5)
JUDGED = Judged(run="late-1", version="2", champion="1", verdict=VERDICT)
CLOSED = Closed(run="late-1", outcome="promoted", reason="better", now=9.0)


def settings_of(tmp_path: Any, **loop: Any) -> Settings:
    chosen = Loop(cooldown=dt.timedelta(days=14), **loop)
    return make_settings(tmp_path).model_copy(update={"loop": chosen, "gate": Gate(holdout=dt.timedelta(days=7))})


def window(day: int, *, bundle: str = "1", alarm: bool = False) -> WindowVerdicts:
    raised = Alarm(blamed=["feature_drift:wind"], began=START, evidence=200.0, threshold=180.0, message=f"wind moved on day {day}")
    return WindowVerdicts(
        sequence=day,
        model="late",
        bundle=bundle,
        look="drift",
        window_start=START + day * DAY,
        window_end=START + (day + 1) * DAY,
        rows=900,
        alarm=raised if alarm else None,
    )


def test_the_ledger_is_folded_event_by_event() -> None:
    told: list[Event] = [FIRST, REQUEST, Attempt(run="late-1", number=1), TRAINED, Attempt(run="late-1", number=1), JUDGED, SECOND, CLOSED]
    runs = [recall(told[:n]).run for n in range(len(told) + 1)]
    assert runs == [
        None,
        None,
        Run(REQUEST),
        Run(REQUEST, attempts=1),
        Run(REQUEST, attempts=0, version="2"),
        Run(REQUEST, attempts=1, version="2"),
        Run(REQUEST, attempts=1, version="2", verdict=VERDICT),
        Run(REQUEST, attempts=1, version="2", verdict=VERDICT),
        None,
    ]
    assert recall(told) == State(length=8, run=None, champions=("1", "2"), last_move=9.0)


def test_a_challenger_pointer_or_a_cleared_one_makes_no_champion() -> None:
    moves = [
        Promotion(pointer="challenger", version="2", previous=None, by="a", reason="b"),
        Promotion(pointer="champion", version=None, previous="1", by="a", reason="b"),
    ]
    assert recall(moves).champions == ()


@pytest.mark.parametrize(
    "late",
    [
        Attempt(run="late-0", number=9),
        Trained(run="late-0", version="9", rows=1, seconds=1.0),
        Judged(run="late-0", version="9", champion="1", verdict=VERDICT),
        Closed(run="late-0", outcome="abandoned", reason="late", now=1.0),
    ],
)
def test_what_a_stale_steward_says_of_a_closed_run_does_not_touch_the_open_one(late: Event) -> None:
    assert recall([REQUEST, late]) == State(length=2, run=Run(REQUEST))
    assert recall([late]) == State(length=1)


def test_a_second_request_while_a_run_is_open_is_ignored() -> None:
    other = RetrainRequest(run="late-2", reason="again", now=10.0, since=0.0, train_until=8.0, seed=7)
    assert recall([REQUEST, other]).run == Run(REQUEST)


@pytest.mark.parametrize(
    ("run", "expected"),
    [
        (None, Step.REST),
        (Run(REQUEST), Step.TRAIN),
        (Run(REQUEST, attempts=1), Step.TRAIN),
        (Run(REQUEST, attempts=2), Step.ABANDON),
        (Run(REQUEST, version="2"), Step.JUDGE),
        (Run(REQUEST, version="2", attempts=2), Step.ABANDON),
        (Run(REQUEST, version="2", attempts=2, verdict=VERDICT), Step.CONCLUDE),
    ],
)
def test_each_state_has_one_next_step(run: Run | None, expected: Step) -> None:
    assert next_step(State(run=run), max_attempts=2) is expected


def test_an_alarm_asks_for_a_retrain_at_the_end_of_the_latest_window(tmp_path: Any) -> None:
    request = consider(settings_of(tmp_path), recall([FIRST]), [window(0, alarm=True), window(1)])
    assert request == RetrainRequest(
        run="late-20130403T000000",
        reason="alarm: wind moved on day 0",
        now=START + 2 * DAY,
        since=START + 2 * DAY - 90 * DAY,
        train_until=START + 2 * DAY - 7 * DAY,
        seed=7,
    )


def test_the_same_verdicts_ask_for_the_same_retrain(tmp_path: Any) -> None:
    records = [window(0, alarm=True), window(1, alarm=True)]
    settings, state = settings_of(tmp_path), recall([FIRST])
    asked = consider(settings, state, records)
    assert asked is not None
    assert asked == consider(settings, state, records)


def test_without_alarms_or_verdicts_nothing_is_asked(tmp_path: Any) -> None:
    assert consider(settings_of(tmp_path), recall([FIRST]), [window(0)]) is None
    assert consider(settings_of(tmp_path), recall([FIRST]), []) is None


def test_an_alarm_of_a_bundle_that_is_not_champion_is_ignored(tmp_path: Any) -> None:
    assert consider(settings_of(tmp_path), recall([FIRST, SECOND]), [window(0, bundle="1", alarm=True), window(1, bundle="2")]) is None
    assert consider(settings_of(tmp_path), recall([]), [window(0, alarm=True)]) is None


def test_a_loop_that_is_off_asks_for_nothing(tmp_path: Any) -> None:
    assert consider(settings_of(tmp_path, enabled=False), recall([FIRST]), [window(0, alarm=True)]) is None
    assert consider(settings_of(tmp_path, on_alarm=False), recall([FIRST]), [window(0, alarm=True)]) is None


def test_while_a_retrain_is_open_none_is_asked(tmp_path: Any) -> None:
    assert consider(settings_of(tmp_path), recall([FIRST, REQUEST]), [window(0, alarm=True)]) is None


@pytest.mark.parametrize(("day", "asked"), [(12, False), (13, True)])
@pytest.mark.parametrize("outcome", ["refused", "abandoned", "promoted"])
def test_after_a_retrain_the_cooldown_counts_whatever_became_of_it(tmp_path: Any, day: int, asked: bool, outcome: str) -> None:
    state = recall([FIRST, REQUEST, Closed(run="late-1", outcome=outcome, reason="r", now=START)])
    assert (consider(settings_of(tmp_path), state, [window(day, alarm=True)]) is not None) is asked


def test_an_alarm_from_before_the_last_retrain_is_spent(tmp_path: Any) -> None:
    state = recall([FIRST, REQUEST, Closed(run="late-1", outcome="refused", reason="r", now=START + DAY)])
    assert consider(settings_of(tmp_path), state, [window(0, alarm=True), window(30)]) is None


def test_an_alarm_raised_during_the_cooldown_still_counts_after_it(tmp_path: Any) -> None:
    state = recall([FIRST, REQUEST, Closed(run="late-1", outcome="refused", reason="r", now=START)])
    request = consider(settings_of(tmp_path), state, [window(3, alarm=True), window(20)])
    assert request is not None
    assert request.reason == "alarm: wind moved on day 3"


@pytest.mark.parametrize(("day", "asked"), [(28, False), (29, True)])
def test_a_schedule_counts_from_the_first_window_and_then_from_the_last_retrain(tmp_path: Any, day: int, asked: bool) -> None:
    settings = settings_of(tmp_path, every=dt.timedelta(days=30))
    from_first = consider(settings, recall([FIRST]), [window(0), window(day)])
    closed = recall([FIRST, REQUEST, Closed(run="late-1", outcome="refused", reason="r", now=START)])
    from_last = consider(settings, closed, [window(-20), window(day)])
    assert [request is not None for request in (from_first, from_last)] == [asked, asked]
    if from_first is not None and from_last is not None:
        assert from_first.reason == "schedule: 30 days since the first window"
        assert from_last.reason == "schedule: 30 days since the last retrain"


@pytest.mark.parametrize(
    ("champions", "wanted", "target"),
    [
        ((), None, None),
        (("1",), None, None),
        (("1", "2"), None, "1"),
        (("1", "2", "1"), None, "2"),
        (("1", "2", "2"), None, "1"),
        (("1", "2", "3"), "1", "1"),
    ],
)
def test_a_rollback_goes_to_the_version_before_or_the_one_wanted(
    champions: tuple[str, ...], wanted: str | None, target: str | None
) -> None:
    assert rollback_target(State(champions=champions), wanted) == target
