"""What each section shows."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from cluster.ledger import Closed, Event, Judged, Trained
from cluster.records import GateVerdict, Pointer, Pointers, Promotion, RetrainRequest
from monitoring.dashboard import charts, tables, watched
from monitoring.dashboard.decisions import decisions
from monitoring.dashboard.facts import Decision
from monitoring.dashboard.figure import Span
from monitoring.dashboard.spread import spreads
from monitoring.dashboard.views import Views, build, span_of_days
from monitoring.profile import Profile
from monitoring.sketches import Column
from tests.unit.monitoring.dashboard.sample import PROFILE, alarm, facts, record, settings, verdict
from tests.unit.monitoring.world import DAY

WIND = next(column for column in PROFILE.columns if column.name == "wind")


def shown(views: Views, name: str) -> tuple[str, str]:
    return next((figure.value, figure.more) for figure in views.figures if figure.name == name)


def test_champion_challenger_and_traffic_are_seen_at_a_glance():
    one, two = (Pointer(version=version, uri="", digest="") for version in "12")
    views = build(facts(pointers=Pointers(model="trips", champion=one, challenger=two, challenger_share=0.1)))
    assert shown(views, "champion") == ("version 1", "made on 2026-01-01")
    assert shown(views, "challenger") == ("version 2", "answers 10.0 % of requests")
    assert shown(views, "requests in the last hour") == ("100", "none failed")
    assert shown(views, "median answer time")[0] == "4.2 ms"
    assert sum(minute.answered for minute in views.minutes) == 100


def test_without_a_log_of_all_requests_rows_are_shown_and_no_latency_is_made_up():
    views = build(facts(settings=settings(access_log="errors")))
    assert shown(views, "rows answered") == ("1,000", "in all")
    assert views.minutes == ()
    assert "median answer time" not in [figure.name for figure in views.figures]


def test_an_alarm_shows_then_and_now_of_what_it_blames():
    cells = [0] * WIND.cells
    cells[-1], cells[3] = 150, 50
    (seen,) = build(facts(records=[alarm(31, cells={"feature:wind": cells})])).alarms
    (spread,) = seen.spreads
    assert (spread.column, spread.rows, spread.now[-1], spread.now[3]) == ("wind", 200, 0.75, 0.25)
    assert sum(spread.then) == pytest.approx(1)
    assert "from 0.0% to 75.0%" in spread.told
    assert [one.name for one in seen.verdicts] == ["wind"]
    assert tables.spread(spread).rows[-1][2] == "75.0 %"


def test_an_alarm_that_is_told_again_is_one_alarm_told_twice():
    seen = build(facts(records=[alarm(31, began=30), alarm(40, began=35), alarm(41, "feature_drift:miles")])).alarms
    assert [(one.headline, one.told) for one in seen] == [
        ("Miles moved since 11 February 1970", 1),
        ("Wind moved since 31 January 1970", 2),
    ]


def test_cells_that_do_not_fit_the_profile_are_not_drawn():
    assert spreads(PROFILE, {"feature:wind": [1, 2], "feature:gone": [1]}) == []
    assert spreads(PROFILE, {"feature:wind": [0] * WIND.cells}) == []


def test_many_categories_are_folded_and_few_values_have_a_cell_each():
    carriers = Column(name="carrier", type="category", categories=[f"c{i}" for i in range(40)])
    weekdays = Column(name="weekday", type="number", edges=[0.0, 1.0, 2.0, 2.0000002])
    profile = msgspec.structs.replace(PROFILE, columns=[carriers, weekdays], shares=[[1 / 40] * 40, [0.0, 0.5, 0.25, 0.25, 0.0]])
    assert isinstance(profile, Profile)
    folded, few = spreads(profile, {"feature:carrier": [5] * 39 + [805], "feature:weekday": [0, 10, 20, 30, 0]})
    assert (folded.cells[0], folded.cells[-1], len(folded.cells)) == ("c39", "28 others", 13)
    assert sum(folded.now) == pytest.approx(1)
    assert (few.cells, few.edges, few.now) == (("0", "1", "2"), (), (1 / 6, 1 / 3, 1 / 2))


def test_what_is_watched_is_listed_by_its_evidence():
    verdicts = [verdict(name="miles", evidence=1.0), verdict(name="wind", evidence=50.0), verdict("quality", "wind.missing", evidence=2.0)]
    newest = build(facts(records=[record(30, verdicts)])).newest
    assert newest is not None
    assert [(one.name, one.share) for one in newest.metrics] == [("wind", 0.5), ("wind.missing", 0.02), ("miles", 0.01)]


def test_an_estimate_stands_where_labels_are_awaited_and_only_there():
    measured = [verdict("performance", "brier", day=30, value=0.2, unit="brier")]
    guesses = [
        record(day, [verdict(day=day), verdict("estimate", "brier", day=day, value=0.3, lower=0.1, upper=0.5, unit="brier")])
        for day in (30, 31)
    ]
    (series,) = build(facts(records=[*guesses, record(30, measured, look="performance")])).series
    assert (series.times, series.values, series.expected) == ((30 * DAY,), (0.2,), 0.1)
    assert series.guesses == ((31 * DAY, 0.3, 0.1, 0.5),)
    assert [row[1:] for row in tables.series(series).rows] == [("0.3 (0.1 to 0.5)", "estimated"), ("0.2", "measured")]


def test_an_estimate_that_cannot_be_known_is_said_and_not_drawn():
    unknown = verdict("estimate", "brier", value=None, unit="brier", message="cannot be known: too far away")
    views = build(facts(records=[record(30, [verdict(), unknown])]))
    assert [one.guesses for one in views.series] == []
    assert tables.verdicts("estimate", views.told["performance"]["estimate"]).rows[0][-1] == "cannot be known: too far away"


def test_every_kind_has_a_place_on_the_page():
    kinds = ["performance_so_far", "estimate", "fairness", "stability", "correctness", "attribution_drift", "data_quality", "something_new"]
    told = build(facts(records=[record(30, [verdict(), *(verdict(kind, "x") for kind in kinds)])])).told
    assert {section: list(found) for section, found in told.items()} == {
        "performance": ["performance_so_far", "estimate"],
        "quality": ["data_quality"],
        "fairness": ["fairness"],
        "explanations": ["attribution_drift"],
        "behaviour": ["stability", "correctness", "something_new"],
    }


def test_a_feature_whose_contributions_changed_is_said_first_and_shown_among_the_explanations():
    common: dict[str, Any] = {"unit": "mean size of its contribution (log odds)"}
    steady = verdict("attribution", "miles", lower=0.1, upper=0.3, message="from 0.2 to 0.2", **common)
    moved = verdict("attribution", "wind", value=0.4, lower=0.3, upper=0.5, alarm=True, message="from 0.2 to 0.4", **common)
    views = build(facts(records=[record(30, [verdict(), steady, moved])]))
    assert views.health.headline == "Look: its answers rest on wind otherwise than they did"
    table = tables.verdicts("attribution", views.told["explanations"]["attribution"])
    assert table.caption == "What answers rest on, in the newest window"
    assert [row[:4] for row in table.rows] == [("wind", "0.4", "0.1", "0.3 to 0.5"), ("miles", "0.2", "0.1", "0.1 to 0.3")]
    assert table.rows[0][-1] == "has changed; mean size of its contribution (log odds); from 0.2 to 0.4"
    drawing = charts.attribution(views.attribution)
    assert [one.name for one in views.attribution] == ["wind", "miles"]
    assert "Shown to have changed: wind from 0.1 to 0.4." in drawing
    assert "mean size of its contribution (log odds)</text>" in drawing
    assert "var(--bad)" in drawing
    calm = charts.attribution(views.attribution[1:])
    assert "None is shown to have changed." in calm
    assert "var(--bad)" not in calm


def test_of_many_features_the_largest_are_drawn_and_those_that_have_changed():
    many = [verdict("attribution", f"f{i}", value=float(i), expected=0.5) for i in range(20)]
    changed, unknown = verdict("attribution", "small", value=0.25, alarm=True), verdict("attribution", "unknown", value=None)
    assert [one.name for one in watched.largest([*many, changed, unknown], most=4)] == ["f19", "f18", "f17", "small"]


def test_a_span_of_days_is_counted_from_the_newest_window_and_not_from_the_clock():
    seen = facts(records=[record(day) for day in range(10, 40)])
    assert span_of_days(seen, 7) == Span(33 * DAY)
    assert len(build(seen, span_of_days(seen, 7)).rows) == 7
    assert len(build(seen, span_of_days(seen, None)).rows) == 30


VERDICT = GateVerdict(passed=False, reasons=["worse"], metric="roc_auc", rows=900, champion=0.7, challenger=0.6, improvement=None)
EVENTS: dict[str, tuple[Event, str]] = {
    "Promotion": (
        Promotion(pointer="challenger", version="3", previous=None, by="homeostat canary", reason="asked for", share=0.1),
        "Version 3 became challenger, for 10.0 % of requests: asked for, by homeostat canary",
    ),
    "end": (
        Promotion(pointer="challenger", version=None, previous="3", by="me", reason="no"),
        "Version 3 is challenger no more: no, by me",
    ),
    "RetrainRequest": (RetrainRequest(run="r", reason="wind", now=1, since=0, train_until=1, seed=1), "Retrain asked for: wind"),
    "Trained": (Trained(run="r", version="2", rows=1000, seconds=61), "Version 2 trained: on 1,000 rows, in 1 minute"),
    "Judged": (
        Judged(run="r", version="2", champion="1", verdict=VERDICT),
        "Version 2 refused by the gate: roc_auc: version 1 0.7, version 2 0.6, on 900 rows",
    ),
    "Closed": (Closed(run="r", outcome="refused", reason="worse", now=1), "Run refused: worse"),
}


@pytest.mark.parametrize("case", EVENTS)
def test_a_decision_is_a_sentence(case):
    event, told = EVENTS[case]
    (line,) = decisions([Decision(0, 0.0, event)])
    assert f"{line.title}: {line.text}" == told


def test_the_newest_decision_comes_first():
    entries = [Decision(number, float(number), EVENTS["Closed"][0]) for number in range(3)]
    assert [line.number for line in decisions(entries)] == [2, 1, 0]


def test_the_cell_of_a_single_value_is_drawn_with_its_neighbour():
    rain = Column(name="rain", type="number", edges=[0.0, 0.01, 5.0, 50.0])
    profile = msgspec.structs.replace(PROFILE, columns=[rain], shares=[[0.0, 0.9, 0.05, 0.05, 0.0]])
    assert isinstance(profile, Profile)
    (seen,) = spreads(profile, {"feature:rain": [1, 2, 3, 4, 0]})
    assert (seen.edges, seen.cells[1]) == ((0.0, 5.0, 50.0), "0 to 5")
    assert seen.then == pytest.approx((0.0, 0.95, 0.05, 0.0))
    assert seen.now == pytest.approx((0.1, 0.5, 0.4, 0.0))
