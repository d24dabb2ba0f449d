"""Nothing that changes costs an answer: updates, scaling, swaps, and processes killed under load; and one answer to one row everywhere."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, Final

import httpx
import numpy as np
import pytest
import yaml

from cluster import service
from cluster.runtime import LocalCluster
from cluster.scorer import TOLERANCE
from cluster.settings import Settings
from serve_apps.client import HomeostatClient, Predictions, Retry
from tests import builders
from tests.load import Load, unjournaled
from tests.processes import HTTP_OF_REPLICAS, descendants, kill, listening, wait_until

ONE_RETRY: Final = Retry(attempts=2)
PATIENT: Final = Retry(attempts=1000, total_s=60)
"""Outlasts the start of a replica on a busy machine; the default's 15 s outlast it on an idle one."""
HARD: Final = builders.make_row(miles=100.0, wind=3.0, carrier="UA")
"""A row that the student leaves to the ensemble."""
EVERYWHERE_S: Final = 2
"""From publishing a pointer until no replica answers by the one before."""
AGAIN_S: Final = 15
"""From the load balancer's end to the next answer: 3.3 to 4.4 s on two busy cores; most of it is a Python process that starts."""


class Site:
    """One model's service, which is deployed again whenever other settings are asked for."""

    def __init__(self, root: Path, port: int, cluster_pid: int) -> None:
        builders.make_champion(root)
        self.root, self.cluster_pid = root, cluster_pid
        self._port = port
        self.settings: Settings | None = None
        self.url = ""

    def deploy(self, *, gateways: int = 1, **serving: Any) -> Settings:
        """Serve by these settings; returns when Serve says that they hold."""
        base = {
            "port": self._port,
            "gateway": {"min_replicas": gateways, "max_replicas": gateways},
            "ensemble": {"placement": "in_process"},
        }
        settings = builders.make_settings(self.root, **(base | serving))
        if settings != self.settings:
            path = self.root / "model.yaml"
            path.write_text(yaml.safe_dump(settings.dump()))
            self.url = service.up({str(path): settings}, loop=False)
            self.settings = settings
        return settings

    def replicas(self, deployment: str = "Gateway") -> dict[str, int]:
        """Replicas by their state."""
        assert self.settings is not None
        found: dict[str, int] = service.replicas(self.settings)[deployment]["replicas"]
        return found

    def wait_for(self, replicas: int, deployment: str = "Gateway", *, timeout_s: float = 60) -> None:
        """Return when so many replicas run and no others are left."""

        def settled() -> bool:
            found = self.replicas(deployment)
            return found.get("RUNNING", 0) == replicas == sum(found.values())

        wait_until(settled, timeout_s=timeout_s, what=f"{replicas} of {deployment}; there are {self.replicas(deployment)}")

    def addresses(self) -> list[str]:
        """Base URLs of the gateway's replicas, past HAProxy."""
        pids = [pid for pid, name in descendants(self.cluster_pid).items() if f"ServeReplica:{builders.MODEL}:Gateway" in name]
        return [f"http://127.0.0.1:{port}" for pid in pids for port in listening(pid) if port in HTTP_OF_REPLICAS]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, ray_cluster: LocalCluster, http_port: int) -> Iterator[Site]:
    """The service under test."""
    made = Site(tmp_path_factory.mktemp("changes"), http_port, ray_cluster.pid)
    yield made
    if made.settings is not None:
        service.down([made.settings])


def odd_rows(count: int) -> list[dict[str, Any]]:
    """Sure and hard rows, some with missing values, the same ones each time."""
    rng = np.random.default_rng(7)
    rows = [
        builders.make_row(miles=float(miles), wind=float(wind), carrier=str(rng.choice(["UA", "B6", "9E", "ZZ"])))
        for miles, wind in zip(rng.uniform(0, 5000, count).round(1), rng.normal(5, 4, count).round(2), strict=True)
    ]
    return [row | ({"wind": None} if n % 11 == 0 else {}) for n, row in enumerate(rows)]


def ask(url: str, rows: list[dict[str, Any]], *, batch: int) -> list[tuple[str, float]]:
    """Who answered each row and what, asking for `batch` rows at a time."""
    with HomeostatClient(url) as client:
        answers: list[Predictions] = [client.predict(rows[begin : begin + batch]) for begin in range(0, len(rows), batch)]
    return [(one.answered_by, float(one.probability or 0)) for answer in answers for one in answer]


def test_a_row_has_one_answer_on_every_replica_and_in_every_batch(site: Site) -> None:
    site.deploy(gateways=2)
    site.wait_for(2)
    rows = odd_rows(300)
    replicas = site.addresses()
    told = [ask(url, rows, batch=batch) for url in replicas for batch in (1, 7, 64, 300)]

    assert len(told) == 8
    assert {by for by, _ in told[0]} == {"student", "ensemble"}
    for other in told[1:]:
        assert [by for by, _ in other] == [by for by, _ in told[0]]
        assert [p for by, p in other if by == "student"] == [p for by, p in told[0] if by == "student"], "to the bit"
        np.testing.assert_allclose([p for _, p in other], [p for _, p in told[0]], rtol=0, atol=TOLERANCE)


def test_a_promotion_and_a_rollback_reach_every_replica_within_two_seconds(site: Site) -> None:
    site.deploy(gateways=2)
    site.wait_for(2)
    replicas = site.addresses()
    folders = {version: site.root / "bundles" / version for version in ("2", "3")}
    digests = {version: builders.make_bundle(folder, bias=int(version) / 100) for version, folder in folders.items()}
    for before, after in (("1", "2"), ("2", "3"), ("3", "2")):
        with Load(replicas[0], 2) as one, Load(replicas[1], 2) as other:
            builders.publish(site.root, folders[after], version=after, digest=digests[after])
            published = time.monotonic()
            for load in (one, other):
                wait_until(partial(load.has_seen, after), timeout_s=20, what=f"version {after} to answer")

        for load in (one, other):
            assert load.failures == []
            assert load.last_at(before) - published < EVERYWHERE_S


def test_a_gateway_killed_beside_another_costs_at_most_its_requests_in_flight(site: Site) -> None:
    settings = site.deploy(gateways=2)
    site.wait_for(2)
    with Load(site.url, 4) as plain, Load(site.url, 4, retry=ONE_RETRY) as retrying:
        kill(site.cluster_pid, f"ServeReplica:{builders.MODEL}:Gateway")
        plain.wait_for_more(200)
        retrying.wait_for_more(200)
        site.wait_for(2)
        plain.wait_for_more(100)

    assert len(plain.failures) <= 4
    assert retrying.failures == []
    assert unjournaled([*plain.answers, *retrying.answers], settings) == 0


def test_the_ensemble_answers_alike_in_process_and_in_a_deployment_that_comes_back_from_zero(site: Site) -> None:
    site.deploy(gateways=2)
    rows = [HARD, *odd_rows(300)]
    here = ask(site.url, rows, batch=301)
    assert _place(site.url) == "in_process"

    ensemble = {"placement": "deployment", "min_replicas": 0, "max_replicas": 1, "downscale_delay": "2s"}
    site.deploy(ensemble=ensemble)
    site.wait_for(0, "Ensemble")
    assert _place(site.url) == "deployment"
    with Load(site.url, 2, row=HARD) as load:
        wait_until(lambda: load.answers[-1][0].answered_by == "ensemble", timeout_s=60, what="the ensemble to answer")
    assert load.failures == []
    assert all(answer[0].degraded or answer[0].answered_by == "ensemble" for answer in load.answers)

    there = ask(site.url, rows, batch=301)
    assert [by for by, _ in there] == [by for by, _ in here]
    np.testing.assert_allclose([p for _, p in there], [p for _, p in here], rtol=0, atol=TOLERANCE)

    with Load(site.url, 2) as load:  # sure rows, which ask for no ensemble
        site.wait_for(0, "Ensemble")
    assert load.failures == []


def _place(url: str) -> str:
    return str(httpx.get(f"{url}/v1/model").json()["placement"]["ensemble"])


def test_the_application_is_updated_three_times_under_load_without_a_failed_request(site: Site) -> None:
    site.deploy()
    with Load(site.url) as load, Load(site.url, 1, rows=300) as large:
        for max_rows in (1000, 1001, 1002):
            site.deploy(max_rows=max_rows)
            assert _most_rows(site.url) == max_rows
            load.wait_for_more(100)

    assert load.failures == large.failures == []


def _most_rows(url: str) -> int:
    body = httpx.get(f"{url}/openapi.json").json()["components"]["schemas"]["PredictBody"]
    found: int = body["oneOf"][0]["properties"]["rows"]["maxItems"]
    return found


def test_one_gateway_becomes_three_and_one_again_under_load_without_a_failed_request(site: Site) -> None:
    site.deploy()
    with Load(site.url) as load, Load(site.url, 1, rows=300) as large:
        for gateways in (3, 1):
            site.deploy(gateways=gateways)
            site.wait_for(gateways)
            load.wait_for_more(100)

    assert load.failures == large.failures == []


def test_load_adds_gateways_and_silence_takes_them_away_without_a_failed_request(site: Site) -> None:
    scaling = {"min_replicas": 1, "max_replicas": 3, "upscale_delay": "1s", "downscale_delay": "3s", "target_load": 0.08}
    site.deploy(gateway=scaling)
    with Load(site.url, 4, rows=64) as load:
        wait_until(lambda: site.replicas().get("RUNNING", 0) > 1, timeout_s=60, what="another gateway")
        load.wait_for_more(100)
    with Load(site.url, 1, pause_s=0.1) as quiet:
        site.wait_for(1, timeout_s=90)

    assert load.failures == quiet.failures == []


def test_a_client_that_asks_again_does_not_notice_that_the_only_gateway_was_killed(site: Site) -> None:
    settings = site.deploy()
    site.wait_for(1)
    with Load(site.url, 4, retry=PATIENT) as load:
        kill(site.cluster_pid, f"ServeReplica:{builders.MODEL}:Gateway")
        load.wait_for_more(200)

    assert load.failures == []
    assert unjournaled(load.answers, settings) == 0


@pytest.mark.parametrize("victim", ["/bin/haproxy ", "ray::HAProxyManager"])
def test_the_load_balancer_comes_back_and_a_client_that_asks_again_does_not_notice(site: Site, victim: str) -> None:
    site.deploy()
    with Load(site.url, 2) as plain, Load(site.url, 2, retry=PATIENT) as patient:
        killed = kill(site.cluster_pid, victim)
        wait_until(lambda: not os.path.exists(f"/proc/{killed}"), timeout_s=10, what="its end")  # noqa: PTH110
        plain.wait_for_more(200)
        patient.wait_for_more(200)

    assert patient.failures == []
    assert plain.longest_gap_s() < AGAIN_S
