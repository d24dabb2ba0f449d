from __future__ import annotations

import datetime as dt
from typing import Any

import msgspec
import numpy as np
import pytest

from cluster.schema import Feature, FeatureSchema, Label
from training.judging import memorisation
from training.judging.memorisation import Columns, find

START = dt.datetime(2013, 1, 1, tzinfo=dt.UTC).timestamp()
DAY, HOUR = 86400.0, 3600.0


def calendar(days: int, *, rows_a_day: int = 12, utc_offset_h: float = 0.0, seed: int = 0) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Times, and columns by name. Local days begin `utc_offset_h` hours after UTC's."""
    rng = np.random.default_rng(seed)
    n = days * rows_a_day
    local = START + np.sort(rng.uniform(0, days * DAY, n))
    dates = [dt.datetime.fromtimestamp(t, dt.UTC) for t in local]
    number = np.floor((local - START) / DAY).astype(int)
    hours = np.floor((local - START) / HOUR).astype(int)
    columns = {
        "month": [d.month for d in dates],
        "day": [d.day for d in dates],
        "week": [d.isocalendar().week for d in dates],
        "year": [d.year for d in dates],
        "index": number,
        "weekday": [d.weekday() for d in dates],
        "hour": [d.hour for d in dates],
        "temp": np.cumsum(rng.normal(size=hours.max() + 1))[hours].round(),
        "precip": np.where(rng.random(hours.max() + 1) < 0.05, 1.0, 0.0)[hours],
        "holiday": np.isin(number, [0, 20, 47, 80]),
        "rowid": np.arange(n) + 10 * rng.random(n),
        "constant": np.ones(n),
        "noise": rng.normal(size=n),
    }
    return local + utc_offset_h * HOUR, {name: np.asarray(values, dtype=np.float32) for name, values in columns.items()}


def look(times: Any, columns: dict[str, np.ndarray], *, y: Any = None, task: Any = "binary", **more: Any) -> Columns:
    label = Label(name="late", task=task, classes=(0, 1) if task == "binary" else None)
    schema = FeatureSchema(features=tuple(Feature(name=name, type="number") for name in columns), label=label)
    matrix = np.column_stack(list(columns.values()))
    y = np.random.default_rng(1).integers(0, 2, len(matrix)).astype(np.float64) if y is None else y
    return find(schema, matrix, times, y, rng=np.random.default_rng(2), **more)


@pytest.fixture(autouse=True)
def not_priced(request, monkeypatch):
    """Fitting is left out where it is not what is tested."""
    if "priced" not in request.node.name:
        monkeypatch.setattr(memorisation, "_priced", lambda found, *_: found)


@pytest.mark.parametrize("days", [90, 365])
def test_columns_of_the_calendar_are_found_and_those_that_come_back_are_not(days):
    found = look(*calendar(days))
    assert {s.feature: s.reason for s in found.suspects} == {
        "month": "date",
        "day": "date",
        "week": "date",
        "index": "date",
        "rowid": "counter",
    }
    assert found.days == days


def test_years_are_found_over_years():
    times, columns = calendar(800, rows_a_day=6)
    assert {s.feature for s in look(times, {name: columns[name] for name in ("year", "weekday")}).suspects} == {"year"}


def test_the_evidence_is_told_in_words():
    found = look(*calendar(90))
    told = {s.feature: s.evidence for s in found.suspects}
    assert told["month"] == "100.0% of a day's rows share its value, and each of 3 values fills 1.0 separate stretches of days"
    assert told["rowid"] == "rises with time almost exactly (rank correlation +1.000)"
    assert found.message == "month, day, week, index, rowid tell the date"


def test_a_day_of_the_month_over_a_year_is_known_by_its_cycle():
    told = {s.feature: s.evidence for s in look(*calendar(365)).suspects}
    assert told["day"].endswith("each of 31 values fills 11.8 separate stretches of days, 31 days apart")


@pytest.mark.parametrize("offset", [-9.5, 5.0, 11.0])
def test_days_that_begin_at_another_hour_than_utc_s_are_found(offset):
    times, columns = calendar(90, utc_offset_h=offset)
    found = look(times, {name: columns[name] for name in ("day", "weekday", "noise")})
    assert [s.feature for s in found.suspects] == ["day"]


def test_a_few_rows_booked_to_another_day_do_not_hide_a_date():
    times, columns = calendar(90)
    wrong = np.random.default_rng(3).random(len(times)) < 0.02
    columns["day"][wrong] = 1
    columns["month"][wrong] = np.nan
    assert {s.feature for s in look(times, {name: columns[name] for name in ("day", "month")}).suspects} == {"day", "month"}


def test_a_counter_that_falls_is_found_and_one_with_gaps_too():
    times, columns = calendar(90)
    gaps = columns["rowid"].copy()
    gaps[::3] = np.nan
    found = look(times, {"left": -columns["rowid"], "gaps": gaps, "noise": columns["noise"]})
    assert {s.feature: s.evidence for s in found.suspects}["left"] == "falls with time almost exactly (rank correlation -1.000)"
    assert {s.feature for s in found.suspects} == {"left", "gaps"}


def test_a_slow_trend_with_noise_is_no_counter():
    times, columns = calendar(90)
    trend = (times - START) / DAY + 20 * columns["noise"]
    assert look(times, {"trend": trend.astype(np.float32)}).suspects == []


def test_the_order_of_rows_does_not_matter():
    times, columns = calendar(90)
    order = np.random.default_rng(4).permutation(len(times))
    assert look(times[order], {name: values[order] for name, values in columns.items()}).suspects == look(times, columns).suspects


def test_without_a_time_nothing_is_judged():
    _, columns = calendar(40)
    found = look(None, columns)
    assert (found.suspects, found.days, found.message) == ([], 0, "not judged: the table has no time")


def test_a_short_period_is_asked_for_counters_only():
    found = look(*calendar(30))
    assert [(s.feature, s.reason) for s in found.suspects] == [(name, "counter") for name in ("day", "index", "rowid")]
    assert found.message.endswith("dates by day not judged: 30 days, 36 are needed")


def test_few_rows_a_day_are_asked_for_counters_only():
    found = look(*calendar(400, rows_a_day=2))
    assert "month" not in {s.feature for s in found.suspects}
    assert "rows a day, 5 are needed" in found.message


def test_large_tables_are_thinned(monkeypatch):
    monkeypatch.setattr(memorisation, "MOST_ROWS", 900)
    found = look(*calendar(90))
    assert found.rows == 900
    assert {s.feature for s in found.suspects} == {"month", "day", "week", "index", "rowid"}


def luck_of_the_day() -> tuple[np.ndarray, dict[str, np.ndarray], np.ndarray]:
    """What the days of January and February teach of days of a month is the opposite of March; the noise matters always."""
    times, columns = calendar(85, rows_a_day=15)
    luck = np.where(columns["day"] % 2 == 0, 2, -2) * np.where(columns["month"] < 3, 1, -1)
    chance = 1 / (1 + np.exp(-luck - 1.5 * columns["noise"]))
    return times, columns, (np.random.default_rng(6).random(len(times)) < chance).astype(np.float64)


def test_what_leaving_suspects_out_gains_is_priced_on_later_rows():
    times, columns, y = luck_of_the_day()
    found = look(times, {name: columns[name] for name in ("day", "noise")}, y=y)
    assert [s.feature for s in found.suspects] == ["day"]
    assert found.with_suspects is not None
    assert found.without_suspects is not None
    assert found.gain is not None
    assert found.gain_interval is not None
    assert found.gain == pytest.approx(found.without_suspects - found.with_suspects)
    assert found.gain > 0
    assert found.gain_interval.lower <= found.gain <= found.gain_interval.upper
    assert "leaving out all of them gains" in found.message
    assert msgspec.json.decode(msgspec.json.encode(found), type=Columns) == found
    assert look(times, {name: columns[name] for name in ("day", "noise")}, y=y) == found


def test_suspects_that_carry_the_answer_are_priced_as_a_cost():
    times, columns = calendar(60)
    y = 3 * columns["rowid"].astype(np.float64) / 720 + 0.1 * columns["noise"]
    found = look(times, {"rowid": columns["rowid"], "hour": columns["hour"]}, y=y, task="regression")
    assert found.metric == "rmse"
    assert found.gain is not None
    assert found.gain < -0.1
    assert "costs" in found.message


def test_nothing_is_priced_when_every_column_is_a_suspect():
    times, columns = calendar(60)
    found = look(times, {"month": columns["month"], "index": columns["index"]})
    assert (found.gain, found.with_suspects) == (None, None)
    assert found.message == "month, index tell the date; not measured: no other column is left"


def test_nothing_is_priced_on_labels_of_one_class():
    times, columns = calendar(60)
    found = look(times, {"month": columns["month"], "noise": columns["noise"]}, y=np.zeros(len(times)))
    assert found.gain is None
    assert "not measured:" in found.message


def test_nothing_is_priced_without_suspects():
    times, columns = calendar(60)
    found = look(times, {"noise": columns["noise"]})
    assert (found.suspects, found.with_suspects, found.message) == ([], None, "no column is seen to tell the date")
