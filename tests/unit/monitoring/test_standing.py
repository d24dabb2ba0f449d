"""How long an alarm stands."""

from __future__ import annotations

from pathlib import Path

from cluster.records import Pointer
from monitoring.core import MonitorCore
from monitoring.standing import standing
from monitoring.verdicts import VerdictLog
from tests.unit.monitoring import world
from tests.unit.monitoring.alarms import alarm
from tests.unit.monitoring.dashboard.sample import record
from tests.unit.monitoring.world import DAY


def test_an_alarm_stands_for_28_windows_and_the_newest_comes_first() -> None:
    records = [alarm(day) for day in (10, 20)]
    for newest, days in ((21, [20, 10]), (38, [20, 10]), (39, [20]), (48, [20]), (49, [])):
        assert [found.window_start / DAY for found in standing(records, newest * DAY, window_s=DAY)] == days


def test_a_monitor_knows_which_alarms_stand_from_the_verdict_log_alone(tmp_path: Path) -> None:
    settings = world.settings(tmp_path)
    log = VerdictLog(settings.places.verdicts("trips"))
    for written in (alarm(10, sequence=0), alarm(30, sequence=1), record(40, [], bundle="3"), alarm(90, sequence=50, bundle="4")):
        log.append(written)
    core = MonitorCore(settings, locate=lambda version: Pointer(version=version, uri="", digest=""))
    assert [found.window_start / DAY for found in core.standing("3")] == [30]  # 40 had too few rows, and counts as a window all the same
    assert [found.window_start / DAY for found in core.standing("4")] == [90]
    assert core.standing("5") == []
