"""The monitoring actor is killed and comes back knowing what it knew."""

import os
import signal
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import ray

from cluster.journal import Writer, scan
from cluster.records import Pointer
from monitoring import verdicts
from monitoring.core import MonitorCore
from monitoring.monitor import start
from tests.unit.monitoring.world import DAY, Stream, journal, profile_of, seal, settings

pytestmark = pytest.mark.usefixtures("ray_cluster")
VOLATILE = {"pid", "errors", "metrics_port"}


def locate(pointer: Pointer, version: str) -> Pointer:
    assert version == pointer.version
    return pointer


def test_a_killed_monitor_comes_back_with_the_counts_of_an_offline_recount(tmp_path: Path) -> None:
    stream = Stream(np.random.default_rng(3), 42)
    chosen = settings(tmp_path / "var", poll_s=0.1)
    find = partial(locate, seal(tmp_path / "bundle", profile_of(stream, 30)))
    root = chosen.places.journal("trips")
    writer = Writer(root, clock_ns=lambda: 2 * 10**18, segment_bytes=30_000)
    labels = journal(writer, stream, range(30, 36))

    actor = start(chosen, locate=find)
    before: dict[str, Any] = ray.get(actor.catch_up.remote(), timeout=60)
    assert before["labels_joined"] == labels
    judged = verdicts.read(chosen.places.verdicts("trips"))

    os.kill(int(before["pid"]), signal.SIGKILL)
    labels += journal(writer, stream, range(36, 42))
    after: dict[str, Any] = ray.get(actor.catch_up.remote(), timeout=60)
    ray.kill(actor)

    assert after["pid"] != before["pid"]
    assert after["errors"] == 0
    assert after["metrics_port"] is None
    assert after["rows"] == sum(entry.rows for entry in scan(root) if entry.kind == "prediction")
    assert after["labels_joined"] == after["label_entries"] == labels
    assert after["windows_judged"] == 11
    log = verdicts.read(chosen.places.verdicts("trips"))
    assert log[: len(judged)] == judged
    assert [r.window_start / DAY for r in log if r.look == "drift"] == list(range(30, 41))
    offline = MonitorCore(chosen, locate=find).catch_up()
    assert offline == {key: value for key, value in after.items() if key not in VOLATILE}


def test_starting_twice_gives_the_one_that_runs(tmp_path: Path) -> None:
    chosen = settings(tmp_path / "var").model_copy(update={"model": "other"})
    find = partial(locate, Pointer(version="1", uri="", digest=""))
    first, second = start(chosen, locate=find), start(chosen, locate=find)
    pids = {int(ray.get(actor.status.remote(), timeout=60)["pid"]) for actor in (first, second)}
    ray.kill(first)
    assert len(pids) == 1
