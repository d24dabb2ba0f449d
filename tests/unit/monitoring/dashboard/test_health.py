"""The sentence that a person reads first."""

from typing import Any

import pytest

from cluster.records import Pointers
from monitoring.dashboard.facts import JournalFiles
from monitoring.dashboard.health import judge
from monitoring.dashboard.traffic import Traffic
from monitoring.drift import REST
from tests.unit.monitoring.dashboard.sample import NOW, alarm, facts, record, settings, traffic, verdict
from tests.unit.monitoring.world import DAY


def test_a_model_without_an_alarm_is_well_and_says_how_far_it_is_from_one():
    health = judge(facts())
    assert (health.state, health.headline) == ("well", "Well")
    assert health.reasons == ["No alarm about version 1 stands after 5 windows; the evidence of change is at 5.0 % of what raises one."]


def test_an_alarm_says_what_moved_and_since_when():
    health = judge(facts(records=[record(30), alarm(31, began=30)]))
    assert (health.state, health.headline) == ("look", "Look: wind moved since 31 January 1970")
    assert health.reasons == ["Changed since about then: wind: mean went from 1 to 2."]


def test_alarms_that_stand_are_one_message():
    health = judge(facts(records=[alarm(31, "feature_drift:miles"), alarm(32), alarm(33, "performance:brier")]))
    assert health.headline == "Look: its answers became worse and wind and miles moved since 1 February 1970"
    assert health.reasons[0].endswith("2 earlier alarms stand too.")


@pytest.mark.parametrize(("after", "state"), [(REST - 1, "look"), (REST, "well")])
def test_an_alarm_that_is_not_told_again_falls(after, state):
    assert judge(facts(records=[alarm(30), *(record(30 + i) for i in range(1, after + 1))])).state == state


def test_an_alarm_about_another_bundle_says_nothing_of_the_champion():
    assert judge(facts(records=[alarm(30, bundle="0"), record(31)])).state == "well"


def test_requests_that_fail_come_before_what_moved():
    health = judge(facts(records=[alarm(30)], traffic=traffic(96, 4)))
    assert health.headline == "Look: 4.0 % of requests fail"
    assert health.reasons[0] == "In the last hour 4 of 100 requests failed."
    assert len(health.reasons) == 2


def test_a_share_of_failures_is_not_made_up_from_a_log_of_errors_alone():
    assert judge(facts(settings=settings(access_log="errors"), traffic=traffic(0, 50))).state == "well"


def test_a_limit_of_the_yaml_that_is_broken_needs_a_person():
    broken = verdict("fairness", "selection_rate[sex]", alarm=True, message="0.3 (0.2 to 0.4), and 0.1 is allowed", day=31)
    health = judge(facts(records=[record(30), record(31, [verdict(day=31), broken])]))
    assert health.headline == "Look: groups are treated too differently"
    assert health.reasons == ["Fairness, answered positive [sex]: 0.3 (0.2 to 0.4), and 0.1 is allowed."]


def test_records_that_cannot_be_read_need_a_person():
    health = judge(facts(problems=["the ledger was altered"]))
    assert (health.headline, health.reasons) == ("Look: some of its records cannot be read", ["the ledger was altered."])


UNKNOWN: dict[str, tuple[dict[str, Any], str]] = {
    "no champion": (
        {"pointers": Pointers(model="trips"), "records": []},
        "Cannot tell: there is no champion",
    ),
    "silence": ({"journal": JournalFiles(1, 10, NOW - 2.5 * DAY)}, "Cannot tell: no rows for 2 days"),
    "empty": ({"journal": JournalFiles(), "records": [], "traffic": Traffic()}, "Cannot tell: nothing has been asked of it yet"),
    "behind": ({"status": {"journal_lag_bytes": 64 << 20}}, "Cannot tell: the monitor is behind"),
    "not judged": ({"records": []}, "Cannot tell: no window of version 1 has been judged yet"),
    "another bundle": ({"records": [record(30, bundle="0")]}, "Cannot tell: no window of version 1 has been judged yet"),
    "few rows": ({"records": [record(30), record(31, [])]}, "Cannot tell: too few rows"),
}


@pytest.mark.parametrize("case", UNKNOWN)
def test_what_nobody_can_know_is_not_called_well(case):
    changes, headline = UNKNOWN[case]
    health = judge(facts(**changes))
    assert (health.state, health.headline) == ("unknown", headline)
    assert all(reason.endswith(".") for reason in health.reasons)


def test_an_alarm_stays_an_alarm_when_rows_stop_coming():
    health = judge(facts(records=[alarm(30)], journal=JournalFiles(1, 10, NOW - 3 * DAY)))
    assert health.headline.startswith("Look: wind moved")
    assert health.reasons[-1] == "Also, no rows for 3 days."
