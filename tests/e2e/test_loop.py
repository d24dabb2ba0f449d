"""The loop on a world that changes, while every role is killed: nothing acknowledged is lost, every role comes back."""

from __future__ import annotations

import asyncio
import threading
import time
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import ray
import yaml

from cluster import service
from cluster.bundle import Bundle
from cluster.cli import main
from cluster.ledger import Closed, Ledger
from cluster.records import Promotion, RetrainRequest
from cluster.registry import Registry
from cluster.runtime import NAMESPACE, LocalCluster, monitor_name, steward_name
from cluster.settings import Settings, load
from monitoring.verdicts import VerdictLog
from tests.processes import descendants, kill, wait_until
from training.demo.findings import served, unjournaled
from training.demo.replay import Outcome, Replay, days_of

DAY_S = 86400.0
ROWS_A_DAY = 240
TURN = 36
"""The day on which risk turns round: what was safe becomes risky."""
KILLS = {33: "ServeReplica:trips:Gateway", 34: "ServeReplica:trips:Ensemble", 35: "ray::Monitor"}


def world(days: int, rng: np.random.Generator) -> pa.Table:
    """Trips whose lateness depends on wind and carrier; from `TURN` on the other way round, and windier."""
    n = days * ROWS_A_DAY
    times = np.arange(n) * (DAY_S / ROWS_A_DAY)
    late_world = times >= TURN * DAY_S
    wind = rng.normal(10, 3, n) + np.where(late_world, 8, 0)
    carrier = rng.integers(0, 3, n)
    risk = (wind - 10) * 0.5 + (carrier - 1)
    late = rng.random(n) < 1 / (1 + np.exp(-np.where(late_world, 4 - risk, risk)))
    names = np.array(["AA", "BB", "CC"])[carrier]
    return pa.table({"at": pa.array(times), "wind": wind, "miles": rng.normal(500, 80, n), "carrier": names, "late": late.astype(np.int64)})


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory, http_port: int) -> Path:
    """A model that learns from the first 30 days."""
    root = tmp_path_factory.mktemp("loop")
    pq.write_table(world(44, np.random.default_rng(5)), root / "trips.parquet")
    numbers = [{"name": name, "type": "number"} for name in ("wind", "miles")]
    content: dict[str, Any] = {
        "model": "trips",
        "data": {"source": str(root / "trips.parquet"), "until": "1970-01-31"},
        "schema": {"features": [*numbers, {"name": "carrier", "type": "category"}], "label": {"name": "late", "delay": "1d"}, "time": "at"},
        "members": {"xgboost": {"rounds": 40}, "torch": None},
        "distillation": {"sizes": [20]},
        "gate": {"holdout": "2d", "min_rows": 200},
        "serving": {"port": http_port, "poll_s": 0.1, "ensemble": {"placement": "deployment"}},
        "monitoring": {"one_false_alarm_in": "100d", "metrics_port": 0, "min_rows": 50},
        "loop": {"cooldown": "4d", "train_window": "30d"},
        "places": {"root": str(root / "var")},
    }
    path = root / "trips.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


def champion_of(url: str) -> str:
    return str(httpx.get(f"{url}/v1/model", timeout=10).json()["bundle"])


class Disturbance:
    """Kills one role after another while the replay goes on, and the steward in the middle of a retrain."""

    def __init__(self, settings: Settings, cluster: LocalCluster) -> None:
        self._settings = settings
        self._cluster = cluster
        self._ledger = Ledger(settings.places.ledger("trips"), clock=time.time)
        self.killed: list[str] = []

    async def after_day(self, end: float, _: Outcome) -> None:
        if name := KILLS.get(int(end // DAY_S)):
            threading.Timer(0.05, self._kill, [name]).start()
        await ray.get_actor(monitor_name("trips"), namespace=NAMESPACE).catch_up.remote()
        settling = ray.get_actor(steward_name("trips"), namespace=NAMESPACE).settle.remote()
        if "ray::StewardActor" not in self.killed and self._is_training():
            self._kill("ray::StewardActor")
        await settling

    def _is_training(self) -> bool:
        """Whether a retrain begins within the next moments."""
        for _ in range(40):
            events = self._ledger.events()
            if events and type(events[-1]).__name__ == "Attempt":
                return True
            time.sleep(0.05)
        return False

    def _kill(self, name: str) -> None:
        kill(self._cluster.pid, name)
        self.killed.append(name)


def test_the_loop_survives_the_death_of_every_role(config: Path, ray_cluster: LocalCluster) -> None:
    assert main(["train", str(config)]) == 0
    settings = load(config)
    first = Registry(settings).champion()
    static = Bundle(Path(first.uri), version=first.version, digest=first.digest)
    url = service.up({str(config): settings})
    disturbance = Disturbance(settings, ray_cluster)
    try:
        table = pq.read_table(config.parent / "trips.parquet")
        future = table.filter(pa.array(table.column("at").to_numpy() >= 30 * DAY_S))
        replay = Replay(url, delay=settings.columns.label.delay, after_day=disturbance.after_day)
        outcome = asyncio.run(replay.run(days_of(future, settings.columns)))

        assert set(disturbance.killed) == {*KILLS.values(), "ray::StewardActor"}
        seen = served(settings, static.schema, static)
        assert outcome.rows_served > 0.8 * future.num_rows
        assert unjournaled(outcome, seen) == 0
        assert int((~np.isnan(seen.y)).sum()) >= outcome.labels_sent > 0

        status: dict[str, Any] = ray.get(ray.get_actor(monitor_name("trips"), namespace=NAMESPACE).catch_up.remote())
        assert (status["rows"], status["labels_joined"]) == (seen.history.num_rows, int((~np.isnan(seen.y)).sum()))
        assert any(record.alarm for record in VerdictLog(settings.places.verdicts("trips")).read())

        _check_the_ledger(settings)
        champion = Registry(settings).champion().version
        assert champion != first.version
        wait_until(lambda: champion_of(url) == champion, timeout_s=5, what="the champion to answer")

        assert main(["rollback", str(config), "--to", first.version]) == 0
        wait_until(lambda: champion_of(url) == first.version, timeout_s=2, what="the rollback to take effect")
        commands = descendants(ray_cluster.pid).values()
        assert all(any(name in command for command in commands) for name in disturbance.killed), "a role did not come back"
    finally:
        service.down([settings])


def _check_the_ledger(settings: Settings) -> None:
    """Every retrain ended, none began before the one before it had, and one that was promoted moved the pointer."""
    open_run: str | None = None
    closed: list[Closed] = []
    promoted = 0
    for event in Ledger(settings.places.ledger("trips"), clock=time.time).events():
        if isinstance(event, RetrainRequest):
            assert open_run is None, "two retrains at once"
            open_run = event.run
        elif isinstance(event, Closed):
            assert event.run == open_run
            open_run = None
            closed.append(event)
        elif isinstance(event, Promotion) and event.by == "steward":
            promoted += 1
    assert open_run is None
    assert promoted == sum(event.outcome == "promoted" for event in closed) > 0
