"""Values that cannot be: which they are, which row was the first, and when they are news."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.journal import Writer
from cluster.records import Prediction
from cluster.schema import FeatureSchema
from monitoring import impossible, verdicts
from monitoring.core import MonitorCore
from monitoring.impossible import First, Requests
from monitoring.said import Live
from monitoring.sketches import Sketcher
from monitoring.webhook import message
from tests.unit.monitoring.world import DAY, SCHEMA, Stream, journal, prediction, profile_of, seal, settings

STREAM = Stream(np.random.default_rng(11), 45)
PROFILE = profile_of(STREAM, 30)
RULES = impossible.rules_of(SCHEMA, SCHEMA)


def with_values(sent: Prediction, row: int, **values: Any) -> Prediction:
    """The same request with other values in one row."""
    columns = {name: list(column) for name, column in sent.columns.items()}
    for name, value in values.items():
        columns[name][row] = value
    return msgspec.structs.replace(sent, columns=columns)


def test_only_what_the_yaml_states_is_impossible() -> None:
    assert [(rule.name, rule.limit) for rule in RULES] == [("miles.below", -50.0), ("miles.above", 50.0), ("carrier.unknown", 4.0)]
    plain = SCHEMA.model_dump(mode="json")
    open_ = [feature | {"categories": None} for feature in plain["features"]]
    stated = FeatureSchema.model_validate(plain | {"features": open_})
    assert [rule.name for rule in impossible.rules_of(SCHEMA, stated)] == ["miles.below", "miles.above"]


def test_the_ends_of_a_range_and_what_is_missing_are_possible() -> None:
    X = np.array([[-50, 0, 3], [50, 0, np.nan], [np.nan, 0, 0], [-50.5, 0, 4], [51, 0, 1]], dtype=np.float32)
    whole = np.column_stack([X, np.full(5, 0.5, np.float32)])
    quality = Sketcher(PROFILE.columns).summarise(whole).quality
    found = impossible.firsts(RULES, quality, X, np.arange(5), Requests(["a", "b"], [3, 2], np.arange(5.0)))
    assert found == {"miles.below": First(3.0, "b", 0), "miles.above": First(4.0, "b", 1), "carrier.unknown": First(3.0, "b", 0)}


@given(st.permutations(range(6)), st.integers(1, 5))
def test_the_first_row_is_the_same_in_whatever_order_and_pieces_rows_are_read(order: list[int], cut: int) -> None:
    times = [5.0, 3.0, 3.0, 9.0, 4.0, 3.0]
    requests = [Requests([f"r{i}"], [1], np.array([times[i]])) for i in order]
    found = [{"miles.above": one.earliest(np.array([0]))} for one in requests]
    halves = []
    for part in (found[:cut], found[cut:]):
        merged: dict[str, First] = {}
        for one in part:
            merged = impossible.merged(merged, one)
        halves.append(merged)
    assert impossible.merged(*halves) == {"miles.above": First(3.0, "r1", 0)}


def judged(day: int, live: Live, *, above: int = 2, usual: float = 0.0) -> tuple[list[Any], list[str], Live]:
    quality = np.zeros((4, 4), np.int64)
    quality[0, 3] = above
    bad = [[0.0, 0.0, 0.0, usual], *PROFILE.bad[1:]]
    profile = msgspec.structs.replace(PROFILE, bad=bad)
    earliest = {"miles.above": First(day * DAY + 60, "q-1", 7)} if above else {}
    return impossible.judge(RULES, profile, quality, earliest, 400, live, start=day * DAY, window_s=DAY)


def test_a_verdict_counts_and_names_the_first_row() -> None:
    [figure], news, _ = judged(3, Live())
    assert (figure.kind, figure.name, figure.value, figure.expected, figure.rows, figure.alarm) == (
        *("data_quality", "miles.above", 0.005, 0.0, 400, True),
    )
    assert figure.message == "miles is above 50 in 2 of 400 rows; the first at 1970-01-04 00:01:00 UTC: request q-1, row 7"
    assert news == ["miles.above"]
    assert judged(3, Live(), above=0) == ([], [], Live())


def test_what_goes_on_is_news_once_and_again_after_four_weeks_without() -> None:
    live, told = Live(), []
    for day in (1, 2, 5, 30, 60, 61):
        _, news, live = judged(day, live)
        told.append(bool(news))
    assert told == [True, False, False, False, True, False]


def test_what_the_training_rows_held_too_is_told_and_is_no_finding() -> None:
    [figure], news, live = judged(3, Live(), usual=0.01)
    assert (figure.alarm, news, live) == (False, [], Live())
    assert "so were 1.00% of the training rows" in figure.message


class Watched(NamedTuple):
    """A monitor that has judged, its log, and another that begins then."""

    core: MonitorCore
    log: list[verdicts.WindowVerdicts]
    again: MonitorCore


@pytest.fixture
def watched(tmp_path: Path) -> Watched:
    """Two days of rows; one of the first has a carrier that is not listed, two of the second miles that cannot be; a third of few rows."""
    chosen = settings(tmp_path / "var")
    clock = itertools.count(1_800_000_000 * 10**9)
    writer = Writer(chosen.places.journal("trips"), clock_ns=lambda: next(clock))
    pointer = seal(tmp_path / "bundle", PROFILE)
    for day in (30, 31):
        rows = STREAM.rows(day)
        sent = prediction(STREAM, rows)
        sent = with_values(sent, 5, carrier="ZZ") if day == 30 else with_values(with_values(sent, 9, miles=1e6), 4, miles=99.0)
        writer.append(sent)
    few = STREAM.rows(32)
    writer.append(with_values(prediction(STREAM, slice(few.start, few.start + 9)), 0, miles=77.0, carrier="ZZ"))
    journal(writer, STREAM, range(34, 35), label=False)
    core = MonitorCore(chosen, locate=lambda _: pointer)
    core.poll()
    return Watched(core, verdicts.read(chosen.places.verdicts("trips")), MonitorCore(chosen, locate=lambda _: pointer))


def test_impossible_values_are_verdicts_of_their_window_however_few_its_rows(watched) -> None:
    core, log, _ = watched
    found = {int(r.window_start / DAY): r for r in log if r.look == "drift"}
    told = {day: [(v.name, round(v.value * v.rows), v.alarm) for v in r.verdicts if v.kind == "data_quality"] for day, r in found.items()}
    assert told == {
        30: [("carrier.unknown", 1, True)],
        31: [("miles.above", 2, True)],
        32: [("miles.above", 1, True), ("carrier.unknown", 1, True)],
    }
    times = STREAM.times[STREAM.rows(31)]
    first = min((4, 9), key=lambda i: times[i])
    assert f"row {first}" in next(v.message for v in found[31].verdicts if v.kind == "data_quality")
    assert core.status()["impossible_values"] == 5
    assert core.impossible == {"miles.below": 0, "miles.above": 3, "carrier.unknown": 2}
    assert [r.news for r in log if r.look == "drift"] == [["carrier.unknown"], ["miles.above"], []]
    assert {key: int(r.window_start / DAY) for key, r in core.latest.items()}["1", "drift"] == 31  # too few rows to say how they lie


def test_a_rebuilt_monitor_tells_the_same_and_nobody_is_told_twice(watched) -> None:
    core, log, again = watched
    again.poll()
    assert again.status() == core.status()
    assert again.impossible == core.impossible
    assert again.told == core.told == [record for record in log if record.news]


def test_the_webhook_says_which_feature_and_how(watched) -> None:
    core, _, _ = watched
    sent = message(core.told[1])
    [alert] = sent["alerts"]
    assert alert["labels"] == sent["commonLabels"]
    assert (alert["labels"]["alertname"], alert["labels"]["feature"], alert["labels"]["fault"]) == (
        "HomeostatImpossibleValues",
        "miles",
        "above",
    )
    assert sent["groupLabels"] == {"alertname": "HomeostatImpossibleValues", "model": "trips"}
    assert alert["annotations"]["description"].startswith("miles is above 50 in 2 of ")
