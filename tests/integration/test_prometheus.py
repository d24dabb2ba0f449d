"""A Prometheus server with the committed rules scrapes a running service: every query of rules and dashboards returns numbers."""

from __future__ import annotations

import datetime as dt
import subprocess
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import ray
import yaml

from cluster import service
from cluster.ledger import Closed, Ledger
from cluster.records import Pointer, RetrainRequest
from cluster.runtime import LocalCluster, free_port
from cluster.settings import Settings
from monitoring import verdicts
from monitoring.monitor import start
from monitoring.webhook import message
from tests import builders
from tests.integration.prometheus import Prometheus, Sample, program
from tests.integration.receiver import Receiver
from tests.integration.watched import DAY, FIRST_DAY, Caller, Day, make_settings, promote, publish
from tests.processes import kill, wait_until
from tests.unit.configs.watching import PROMETHEUS, PanelQuery, metrics_in, panel_queries, rules

RARE = {
    "ray_homeostat_ensemble_shed_total": "the ensemble must have more to do than it can",
    "ray_homeostat_ensemble_expired_total": "a request must wait in the queue until its time is over",
    "ray_homeostat_ensemble_cancelled_total": "a caller must leave while it waits",
    "ray_homeostat_ensemble_poisoned_total": "rows must make scoring itself fail",
}
"""Counters that nothing here makes count. Their queries must return numbers without them: nothing is 0, not silence."""


def locate(pointers: dict[str, Pointer], version: str) -> Pointer:
    """Where a version is."""
    return pointers[version]


class Watched(NamedTuple):
    """A service, its monitor, whoever is told, and the Prometheus that has seen them."""

    settings: Settings
    prometheus: Prometheus
    receiver: Receiver
    monitor: Any


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory, ray_cluster: LocalCluster, http_port: int) -> Iterator[Watched]:
    """Healthy days, then days on which everything happens that a panel shows: drift, a swap, a lost ensemble, a failed request."""
    root, rng = tmp_path_factory.mktemp("watched"), np.random.default_rng(5)
    reference = [Day(number, rng) for number in range(40)]
    pointers = {version: publish(root, reference, version=version) for version in ("2", "1")}
    with Receiver() as receiver:
        settings = make_settings(root, http_port=http_port, metrics_port=free_port(), webhook=receiver.url)
        path = root / "model.yaml"
        path.write_text(yaml.safe_dump(settings.dump()))
        url = service.up({str(path): settings}, loop=False)
        monitor = start(settings, locate=partial(locate, pointers))
        port = ray.get(monitor.status.remote(), timeout=60)["metrics_port"]
        targets = {"homeostat-monitor": f"127.0.0.1:{port}", "ray": f"127.0.0.1:{ray_cluster.metrics_port}"}
        caller = Caller(url)
        try:
            with Prometheus(tmp_path_factory.mktemp("prometheus"), targets) as prometheus:
                _happen(caller, prometheus, root, rng, ray_cluster, pointers)
                yield Watched(settings, prometheus, receiver, monitor)
        finally:
            caller.close()
            ray.kill(monitor)
            service.down([settings])


def _happen(
    caller: Caller, prometheus: Prometheus, root: Path, rng: np.random.Generator, cluster: LocalCluster, pointers: dict[str, Pointer]
) -> None:
    def have_come(number: int, *names: str) -> None:
        """Ray exports every few seconds; a rate needs to have seen a counter before and after."""
        for name in names:
            wait_until(lambda: _is_at_least(prometheus.ask(name), number), timeout_s=90, what=name)  # noqa: B023 - called at once

    _retrain(root)
    for number in range(40, 44):
        caller.send(Day(number, rng))
    caller.ask(timeout_s=1e-6)
    kill(cluster.pid, "Ensemble")
    wait_until(lambda: _hard(caller) == "degraded", timeout_s=60, what="an answer without the ensemble")
    wait_until(lambda: _hard(caller) == "ensemble", timeout_s=90, what="the ensemble to be back")
    have_come(1, 'ray_homeostat_served_rows_total{answered_by="degraded"}', 'ray_homeostat_requests_total{status="504"}')
    have_come(1, "ray_homeostat_ensemble_answered_total", 'ray_homeostat_audited_rows_total{outcome="audited"}')
    have_come(0, "homeostat_alarms_total")

    promote(root, pointers["2"])
    wait_until(lambda: caller.ask().json()["bundle"] == "2", timeout_s=30, what="the swap")
    caller.ask(miles=9000.0, at=dt.datetime.fromtimestamp((FIRST_DAY + 44.5) * DAY, dt.UTC).isoformat())  # no flight is so long
    for number in range(44, 54):
        caller.send(Day(number, rng, shift=250 if number > 44 else 0))
    caller.ask(timeout_s=1e-6)
    have_come(1, 'ray_homeostat_served_rows_total{bundle="2"}', "homeostat_alarms_total", "ray_homeostat_swap_seconds_count")
    have_come(2, 'ray_homeostat_requests_total{status="504"}')
    have_come(1, "increase(homeostat_alarms_total[2m]) > 0")

    def ensembles_rows_grow() -> bool:
        _hard(caller)  # a new replica's counter may be seen for the first time when it has all it will get
        return _is_at_least(prometheus.ask("increase(ray_homeostat_ensemble_rows_total[2m])"), 1)

    wait_until(ensembles_rows_grow, timeout_s=90, what="rows of the ensemble to grow")
    have_come(0, "model:homeostat_ensemble_refused:ratio_rate10m", "model:homeostat_request_errors:ratio_rate3d")


def _retrain(root: Path) -> None:
    """What the ledger says of a retrain that a steward began and the gate refused."""
    ledger = Ledger(builders.make_settings(root).places.ledger(builders.MODEL), clock=time.time)
    ledger.append(RetrainRequest(run="late-1", reason="alarm", now=40 * DAY, since=0, train_until=30 * DAY, seed=7))
    ledger.append(Closed(run="late-1", outcome="refused", reason="it is worse", now=40 * DAY))


def _is_at_least(samples: list[Sample], number: int) -> bool:
    return bool(samples) and sum(sample.value for sample in samples) >= number


def _hard(caller: Caller) -> str:
    """Who answers a row that the student is not sure of."""
    answer = caller.ask(miles=0.0, wind=0.0, carrier="UA").raise_for_status().json()
    found = answer["predictions"][0]
    return "degraded" if found.get("degraded") else str(found["answered_by"])


@pytest.mark.parametrize("query", panel_queries(), ids=lambda query: f"{query.board}-{query.panel}-{query.expression[:40]}")
def test_every_query_of_every_panel_returns_a_number(watched: Watched, query: PanelQuery) -> None:
    expression = query.expression.replace("$__rate_interval", "5m").replace("$__range", "1h").replace("$model", ".*")
    assert "$" not in expression
    assert watched.prometheus.ask(expression), query


def test_a_query_of_what_nobody_exports_would_be_found(watched: Watched) -> None:
    assert watched.prometheus.ask("homeostat_made_up") == []
    assert watched.prometheus.ask("0 * up / 0") == []


def test_every_metric_that_rules_and_dashboards_read_is_there_but_the_rare(watched: Watched) -> None:
    read = {name for rule in rules() for name in metrics_in(rule["expr"])}
    read |= {name for query in panel_queries() for name in metrics_in(query.expression)}
    assert read - watched.prometheus.names() <= RARE.keys()


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule.get("alert") or rule["record"])
def test_every_rule_is_evaluated_without_a_fault(watched: Watched, rule: dict[str, Any]) -> None:
    found = watched.prometheus.ask(rule["expr"])
    if "record" in rule:
        assert found
        assert watched.prometheus.ask(rule["record"])
    assert watched.prometheus.faults() == []


def test_what_happened_raises_its_alert_and_nothing_is_said_to_be_down(watched: Watched) -> None:
    wait_until(lambda: "HomeostatAlarm" in watched.prometheus.firing(), timeout_s=30, what="the alert to fire")
    firing = watched.prometheus.firing()
    assert firing["HomeostatAlarm"]["model"] == watched.settings.model
    assert not firing.keys() & {"HomeostatMonitorDown", "HomeostatRayDown", "HomeostatMonitorFailing", "HomeostatAlarmsNotDelivered"}


def test_a_value_that_cannot_be_is_counted_under_its_column(watched: Watched) -> None:
    found = watched.prometheus.ask("homeostat_impossible_values_total > 0")
    assert [(sample.labels["feature"], sample.labels["fault"], sample.value) for sample in found] == [("miles", "above", 1)]


def test_a_retrain_of_the_ledger_is_counted_by_how_it_ended(watched: Watched) -> None:
    found = watched.prometheus.ask("homeostat_retrains_ended_total")
    assert {sample.labels["outcome"]: sample.value for sample in found} == {"promoted": 0, "refused": 1, "abandoned": 0}


def test_every_alarm_and_every_impossible_value_that_is_news_was_told_once(watched: Watched) -> None:
    model = watched.settings.model

    def waiting() -> int:
        return int(ray.get(watched.monitor.status.remote(), timeout=60)["notifications_waiting"])

    wait_until(lambda: waiting() == 0, timeout_s=60, what="alarms to be delivered")
    told = [record for record in verdicts.read(watched.settings.places.verdicts(model)) if record.is_told]
    assert sum(record.alarm is not None for record in told) >= 1
    assert sum(record.news == ["miles.above"] for record in told) == 1
    assert watched.receiver.accepted() == [message(record)["alerts"][0]["fingerprint"] for record in told]


@pytest.mark.parametrize(
    "command",
    [
        ["check", "rules", "rules.yml"],
        ["check", "config", "prometheus.yml"],
        ["test", "rules", "rules.test.yml"],
    ],
    ids=lambda command: " ".join(command[:2]),
)
def test_promtool_finds_nothing_wrong(command: list[str]) -> None:
    done = subprocess.run([program("promtool"), *command], cwd=PROMETHEUS, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
