"""Alarms reach a real receiver over HTTP: one that fails, one that is away for long, and a sender that is killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from cluster.monitoring_settings import Webhook
from cluster.runtime import free_port
from cluster.settings import Settings
from monitoring import courier
from monitoring.courier import Courier
from monitoring.verdicts import VerdictLog
from monitoring.webhook import fingerprint
from tests.integration.receiver import Receiver
from tests.processes import wait_until
from tests.unit.monitoring.alarms import alarm
from tests.unit.monitoring.world import settings

ROOT = Path(__file__).parents[2]
ALARMS = [alarm(day) for day in (20, 31, 45)]
PRINTS = [fingerprint(record) for record in ALARMS]
SENDER = """
import sys
from cluster.settings import load
from monitoring import courier
from monitoring.verdicts import read

chosen = load(sys.argv[1])
alarms = [record for record in read(chosen.places.verdicts(chosen.model)) if record.alarm is not None]
sender = courier.of_alarms(chosen, [])
sender.offer(alarms)
print("begun", flush=True)
sys.stdin.read()
sender.stop()
"""


def told_at(root: Path, url: str, **webhook: Any) -> Settings:
    chosen = settings(root)
    section = Webhook.model_validate({"url": url, "timeout_s": 5, "longest_pause": "1s", **webhook})
    return chosen.model_copy(update={"monitoring": chosen.monitoring.model_copy(update={"webhook": section})})


def begin(chosen: Settings) -> Courier:
    made = courier.of_alarms(chosen, [])
    assert made is not None
    return made


def test_a_receiver_that_fails_twice_gets_every_alarm_once(tmp_path: Path) -> None:
    with Receiver(lambda before: (503, 0)[before] if before < 2 else 200) as receiver:
        made = begin(told_at(tmp_path, receiver.url))
        made.offer(ALARMS)
        wait_until(lambda: made.waiting == 0, timeout_s=30, what="three alarms to be accepted")
        made.stop()
    assert receiver.accepted() == PRINTS
    assert [told.status for told in receiver.told] == [503, 0, 200, 200, 200]
    assert made.failures == 2


def test_a_receiver_that_is_away_for_long_gets_everything_when_it_is_back(tmp_path: Path) -> None:
    port = free_port()
    made = begin(told_at(tmp_path, f"http://127.0.0.1:{port}/hook"))
    for count in (1, 2, 3):
        made.offer(ALARMS[:count])
        failures = made.failures
        wait_until(lambda: made.failures > failures + 1, timeout_s=30, what="tries that find nobody")  # noqa: B023 - called before the next
    assert made.waiting == 3
    with Receiver(port=port) as receiver:
        wait_until(lambda: made.waiting == 0, timeout_s=30, what="the alarms to be delivered")
        made.stop()
    assert receiver.accepted() == PRINTS


def test_the_bearer_token_is_read_at_each_try(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("old\n")
    with Receiver(lambda before: (401, 307)[before] if before < 2 else 200) as receiver:
        made = begin(told_at(tmp_path, receiver.url, token_file=str(token)))
        made.offer(ALARMS[:1])
        wait_until(lambda: len(receiver.told) >= 1, timeout_s=30, what="the first try")
        token.write_text("new\n")
        wait_until(lambda: made.waiting == 0, timeout_s=30, what="the alarm to be accepted")
        made.stop()
    assert receiver.told[0].token == "Bearer old"
    assert receiver.told[-1].token == "Bearer new"
    assert len(receiver.accepted()) == 1


def test_a_killed_sender_loses_nothing_and_repeats_only_what_was_not_answered(tmp_path: Path) -> None:
    processes: list[subprocess.Popen[str]] = []

    def answer(before: int) -> int:
        if before == 1:  # the second alarm has arrived, and its sender does not live to hear so
            os.kill(processes[0].pid, signal.SIGKILL)
            return 0
        return 200

    with Receiver(answer) as receiver:
        chosen = told_at(tmp_path, receiver.url)
        log = VerdictLog(chosen.places.verdicts(chosen.model))
        for record in ALARMS:
            log.append(record)
        path = tmp_path / "trips.json"
        path.write_text(json.dumps(chosen.dump()))  # JSON is YAML
        processes.append(_sender(path))
        assert processes[0].wait(60) == -signal.SIGKILL
        assert receiver.accepted() == PRINTS[:1]

        for _ in range(2):  # the second of them finds nothing to do
            processes.append(_sender(path))
            wait_until(lambda: len(receiver.accepted()) == 3, timeout_s=60, what="the rest")
            processes[-1].communicate(timeout=60)
            assert processes[-1].returncode == 0
    assert receiver.accepted() == PRINTS
    assert [told.fingerprint for told in receiver.told] == [PRINTS[0], PRINTS[1], PRINTS[1], PRINTS[2]]
    assert receiver.told[1].content == receiver.told[2].content


def _sender(path: Path) -> subprocess.Popen[str]:
    made = subprocess.Popen(
        [sys.executable, "-c", SENDER, str(path)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert made.stdout is not None
    assert made.stdout.readline() == "begun\n", made.communicate()
    return made
