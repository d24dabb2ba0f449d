from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest

from cluster.settings import Settings
from serve_apps.follower import Follower
from serve_apps.gateway import Gateway
from serve_apps.meter import Event, Swap
from serve_apps.periodic import Periodic
from serve_apps.placement import Placement
from serve_apps.served import ServedModel
from tests.builders import MODEL, make_champion, make_settings


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    make_champion(tmp_path)
    return make_settings(tmp_path, poll_s=0.01)


def make_gateway(settings: Settings) -> Gateway:
    return Gateway([ServedModel(settings, Placement("in_process", "the test says so"))])


def test_swaps_and_events_are_handed_on_and_the_last_ones_when_it_stops(tmp_path: Path, settings: Settings) -> None:
    gateway, seen = make_gateway(settings), []
    swapped = threading.Event()

    def export(events: Sequence[Event], swaps: Sequence[Swap]) -> None:
        seen.append((list(events), [(swap.model, swap.role, swap.version) for swap in swaps]))
        if swaps:
            swapped.set()

    follower = Follower(gateway, exports=[export])
    make_champion(tmp_path, version="2")
    follower.start()
    assert swapped.wait(20)
    event = Event(0.0, MODEL, "/v1/predict", "POST", 200, 0.001, "2", 1, 0, 0)
    gateway.meter.note(event)
    follower.stop()
    assert [swap for _, swaps in seen for swap in swaps] == [(MODEL, "champion", "2")]
    assert [event for events, _ in seen for event in events] == [event]


def test_a_loop_that_does_not_come_to_it_is_late_until_it_does(settings: Settings) -> None:
    gateway = make_gateway(settings)
    follower = Follower(gateway)

    async def run() -> tuple[float, float]:
        gateway.loop = asyncio.get_running_loop()
        for _ in range(3):
            follower._look()  # the loop has not run since the first
        late = gateway.load.lag_s
        await asyncio.sleep(0)
        follower._look()
        return late, gateway.load.lag_s

    late, after = asyncio.run(run())
    assert late > 0
    assert after == 0.0


def test_a_step_that_fails_is_logged_and_the_others_go_on(caplog: pytest.LogCaptureFixture) -> None:
    done = threading.Semaphore(0)

    def fail() -> None:
        raise ZeroDivisionError

    with caplog.at_level(logging.ERROR, "homeostat.serve"):
        periodic = Periodic("test", [(0.001, fail), (0.001, done.release)])
        periodic.start()
        for _ in range(3):
            assert done.acquire(timeout=20)
        periodic.stop()
    assert "a step beside the event loop failed" in caplog.text


def test_steps_come_at_their_own_periods() -> None:
    counts, enough = {"often": 0, "rarely": 0}, threading.Event()

    def often() -> None:
        counts["often"] += 1
        if counts["often"] == 20:
            enough.set()

    def rarely() -> None:
        counts["rarely"] += 1

    periodic = Periodic("test", [(0.001, often), (1000.0, rarely)])
    periodic.start()
    assert enough.wait(20)
    periodic.stop()
    assert counts["rarely"] == 0
