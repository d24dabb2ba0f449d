from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pytest

from serve_apps.autoscaling import BUSY, BusyPolicy, desired
from serve_apps.load import Load


@dataclass
class Situation:
    current_num_replicas: int
    aggregated_metrics: Mapping[str, Mapping[str, float]] | None


@pytest.mark.parametrize(
    ("busy", "current", "wanted"),
    [([0.6], 1, 1.0), ([1.2], 1, 2.0), ([0.9, 0.9, 0.9], 3, 4.5), ([0.01, 0.0, 0.0], 3, 0.017), ([], 2, 2.0), ([0.6], 3, 3.0)],
)
def test_as_many_replicas_are_wanted_as_share_the_load_at_its_target(busy: list[float], current: int, wanted: float) -> None:
    assert desired(busy, current, 0.6) == pytest.approx(wanted)


def test_the_policy_reads_what_replicas_report() -> None:
    policy = BusyPolicy(target_load=0.5)
    assert policy(Situation(2, {BUSY: {"a": 0.75, "b": 0.75}})) == (3.0, {})
    assert policy(Situation(2, None)) == (2.0, {})


def test_the_busy_share_follows_the_processor_and_forgets_the_past_by_halves() -> None:
    now, computed = 0.0, 0.0
    load = Load(clock=lambda: now, busy_clock=lambda: computed)
    seen = []
    for share in (1.0, 1.0, 0.0):
        now, computed = now + 2.0, computed + 2.0 * share
        load.look(lag_s=0.0)
        seen.append(load.busy)
    assert seen == [0.5, 0.75, 0.375]


def test_a_loop_counts_as_late_only_when_two_looks_in_a_row_say_so() -> None:
    load = Load(clock=lambda: 1.0, busy_clock=lambda: 1.0)
    seen = []
    for lag_s in (0.0, 2.0, 0.0, 1.0, 1.5):
        load.look(lag_s=lag_s)
        seen.append(load.lag_s)
    assert seen == [0.0, 0.0, 0.0, 0.0, 1.0]
    assert load.busy == 0.0
