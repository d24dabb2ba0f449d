"""A real Phoenix server receives the spans of a real service, of a monitor and of a steward."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import msgspec
import numpy as np
import pytest
import yaml

from cluster import service
from cluster.errors import ConfigError
from cluster.journal import Writer
from cluster.ledger import Attempt, Closed, Judged, Ledger, Trained
from cluster.records import GateVerdict, Interval, Pointer, RetrainRequest
from cluster.runtime import LocalCluster, free_port
from cluster.settings import Settings, parse
from cluster.tracing import Span, attributes, span_id, trace_id
from cluster.tracing_settings import Tracing
from monitoring.monitor import Monitor
from serve_apps.app import build
from serve_apps.placement import Placement
from serve_apps.traces import TracedGateway, TracedModel, gateway_of
from tests import builders
from tests.processes import wait_until
from tests.unit.monitoring import world
from training.loop.steward import StewardActor

PROJECT = "homeostat-test"


class Phoenix(NamedTuple):
    """A server that runs."""

    url: str

    def spans(self) -> list[dict[str, Any]]:
        """All that it has received for our project."""
        found = httpx.get(f"{self.url}/v1/projects/{PROJECT}/spans", params={"limit": 1000}, timeout=30)
        return [] if found.status_code == 404 else list(found.raise_for_status().json()["data"])

    def wait_for(self, count: int, **attributes: str) -> list[dict[str, Any]]:
        """Spans with these attributes, once there are at least so many."""
        seen: list[dict[str, Any]] = []

        def there_are() -> bool:
            seen[:] = [span for span in self.spans() if all(meta(span).get(name) == value for name, value in attributes.items())]
            return len(seen) >= count

        wait_until(there_are, timeout_s=60, what=f"{count} spans with {attributes} in Phoenix; there are {len(seen)}")
        return seen


def meta(span: dict[str, Any]) -> dict[str, Any]:
    """A span's metadata; Phoenix has read the JSON, and its REST API gives each of its keys as an attribute."""
    found = span["attributes"]
    return {name.removeprefix("metadata."): value for name, value in found.items() if name.startswith("metadata.")}


@pytest.fixture(scope="module")
def phoenix(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Phoenix]:
    """A real Phoenix; its database is a file in a folder of its own."""
    folder = tmp_path_factory.mktemp("phoenix")
    port = free_port()
    own = {
        "PHOENIX_WORKING_DIR": str(folder),
        "PHOENIX_HOST": "127.0.0.1",
        "PHOENIX_PORT": str(port),
        "PHOENIX_GRPC_PORT": str(free_port()),
        "PHOENIX_ALLOW_EXTERNAL_RESOURCES": "false",
    }
    log = folder / "log"
    with log.open("wb") as output:
        command = [sys.executable, "-m", "phoenix.server.main", "serve"]
        server = subprocess.Popen(command, env=os.environ | own, stdout=output, stderr=subprocess.STDOUT)
    found = Phoenix(f"http://127.0.0.1:{port}")

    def answers() -> bool:
        assert server.poll() is None, log.read_text()[-2000:]
        try:
            return httpx.get(f"{found.url}/v1/projects", timeout=5).status_code == 200
        except httpx.TransportError:
            return False

    try:
        wait_until(answers, timeout_s=240, what="Phoenix to answer")
        yield found
    finally:
        server.send_signal(signal.SIGINT)
        try:
            server.wait(30)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def traced(settings: Settings, endpoint: str, **more: Any) -> Settings:
    return settings.model_copy(update={"tracing": Tracing(endpoint=endpoint, sample=1.0, project=PROJECT, **more)})


def test_requests_arrive_with_who_answered_them_and_a_refusal_with_its_status(
    phoenix: Phoenix, tmp_path: Path, ray_cluster: LocalCluster, http_port: int
) -> None:
    builders.make_champion(tmp_path)
    settings = traced(builders.make_settings(tmp_path, port=http_port), phoenix.url)
    path = tmp_path / "model.yaml"
    path.write_text(yaml.safe_dump(settings.dump()))
    url = service.up({str(path): settings}, loop=False)
    try:
        sure, hard = builders.make_row(miles=2000.0, carrier="UA"), builders.make_row(miles=0.0, wind=0.0, carrier="UA")
        good = httpx.post(f"{url}/v1/predict", json={"rows": [sure, hard, sure]}, timeout=30)
        bad = httpx.post(f"{url}/v1/predict", json={"rows": [builders.make_row(miles="far")]}, timeout=30)
        assert (good.status_code, bad.status_code) == (200, 422)
        phoenix.wait_for(4, model=builders.MODEL)
        spans = phoenix.spans()
    finally:
        service.down([settings])

    answered, refused = sorted((span for span in spans if span["parent_id"] is None), key=lambda span: meta(span)["status"])
    assert {span["name"]: span["parent_id"] for span in spans if span["parent_id"]} == {
        "student": answered["context"]["span_id"],
        "ensemble": answered["context"]["span_id"],
    }
    request_id = good.headers["X-Homeostat-Request"]
    assert answered["context"]["trace_id"] == f"{trace_id(f'request/{builders.MODEL}/{request_id}'):032x}"
    assert (answered["name"], answered["span_kind"], answered["status_code"]) == ("POST /v1/predict", "CHAIN", "OK")
    assert meta(answered) == {
        "model": builders.MODEL,
        "route": "/v1/predict",
        "status": 200,
        "bundle": "1",
        "request_id": request_id,
        "answered_by": "both",
        "rows": 3,
        "student": 2,
        "ensemble": 1,
        "degraded": 0,
    }
    assert answered["attributes"]["input.mime_type"] == "application/json"
    assert msgspec.json.decode(answered["attributes"]["output.value"]) == {"student": 2, "ensemble": 1, "degraded": 0}
    assert answered["end_time"] > answered["start_time"]
    assert (refused["status_code"], refused["status_message"]) == ("ERROR", "refused with 422")
    assert "female" not in str(answered) + str(refused)


def test_a_monitors_verdicts_arrive_once_though_it_is_started_twice(phoenix: Phoenix, tmp_path: Path) -> None:
    stream = world.Stream(np.random.default_rng(3), 36)
    settings = traced(world.settings(tmp_path / "var", poll_s=3600.0), phoenix.url)
    pointer = world.seal(tmp_path / "bundle", world.profile_of(stream, 30))
    world.journal(Writer(settings.places.journal("trips"), clock_ns=lambda: 2 * 10**18), stream, range(30, 36))
    for time_around in ("first", "second"):
        monitor = Monitor(settings.dump(), locate=partial(_always, pointer))
        looks = monitor.catch_up()["looks"]
        assert monitor._traces is not None
        monitor._traces.tracer.send([_mark(time_around)])
        phoenix.wait_for(1, model=time_around)  # what was sent before it has arrived too
        monitor.stop()
        spans = [span for span in phoenix.spans() if meta(span)["model"] == "trips"]
        assert len(spans) == looks

    one = min((span for span in spans if meta(span)["look"] == "drift"), key=lambda span: str(meta(span)["window_start"]))
    assert (one["name"], one["span_kind"]) == ("drift verdict", "EVALUATOR")
    assert meta(one)["threshold"] == 100.0
    assert meta(one)["bundle"] == "1"
    assert meta(one)["alarm"] is False
    assert one["attributes"]["output.value"] == "no alarm"
    assert meta(one)["window_start"] == "1970-01-31T00:00:00+00:00"


def _mark(name: str) -> Span:
    return Span(f"mark/{name}", "mark", "CHAIN", 1.0, 2.0, attributes(given="", answered="", metadata={"model": name}))


def _always(pointer: Pointer, version: str) -> Pointer:
    assert version == pointer.version
    return pointer


def test_a_retrain_arrives_as_a_trace_of_its_steps(phoenix: Phoenix, tmp_path: Path) -> None:
    plain = builders.make_settings(tmp_path).dump() | {"loop": {"enabled": False}}
    settings = traced(parse(plain), phoenix.url)
    run, now = "late-20130610T000000", time.time()
    gate = GateVerdict(
        passed=True,
        reasons=["log_loss is better by 0.02"],
        metric="log_loss",
        rows=900,
        champion=0.5,
        challenger=0.48,
        improvement=Interval(estimate=0.02, lower=0.01, upper=0.03),
    )
    times = iter([now - 50, now - 45, now - 20, now - 19, now - 5, now - 4])
    book = Ledger(settings.places.ledger(builders.MODEL), clock=lambda: next(times))
    book.append(RetrainRequest(run=run, reason="alarm: wind moved", now=9e5, since=0.0, train_until=3e5, seed=7))
    book.append(Attempt(run=run, number=1))
    book.append(Trained(run=run, version="2", rows=4000, seconds=25.0))
    book.append(Attempt(run=run, number=1))
    book.append(Judged(run=run, version="2", champion="1", verdict=gate))
    book.append(Closed(run=run, outcome="promoted", reason="log_loss is better by 0.02", now=9e5))

    async def act() -> dict[str, Any]:
        return await StewardActor(settings.dump()).settle()

    assert asyncio.run(act())["failures"] == 0
    spans = {span["name"]: span for span in phoenix.wait_for(4, run=run)}
    assert sorted(spans) == ["conclude", "judge", "retrain", "train"]
    whole = spans["retrain"]
    trace = f"retrain/{builders.MODEL}/{run}"
    assert {span["context"]["trace_id"] for span in spans.values()} == {f"{trace_id(trace):032x}"}
    assert whole["parent_id"] is None
    assert {spans[name]["parent_id"] for name in ("train", "judge", "conclude")} == {f"{span_id(trace, ''):016x}"}
    assert whole["attributes"]["input.value"] == "alarm: wind moved"
    assert whole["attributes"]["output.value"] == "promoted: log_loss is better by 0.02"
    assert meta(whole)["version"] == "2"
    assert spans["judge"]["span_kind"] == "EVALUATOR"
    assert meta(spans["judge"])["improvement"] == [0.01, 0.02, 0.03]
    assert meta(spans["train"])["rows"] == 4000


def test_while_nobody_listens_requests_are_answered_and_their_spans_are_dropped_and_counted(tmp_path: Path) -> None:
    builders.make_champion(tmp_path)
    settings = traced(builders.make_settings(tmp_path), f"http://127.0.0.1:{free_port()}")
    gateway = gateway_of([TracedModel(settings, Placement("in_process", "the test says so"))])
    assert isinstance(gateway, TracedGateway)

    async def talk() -> list[int]:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(gateway), base_url="http://gateway") as client:
            answers = []
            for _ in range(20):
                answers.append(await client.post("/v1/predict", json={"rows": [builders.make_row(miles=2000.0, carrier="UA")]}))
                gateway.export((), ())
            return [answer.status_code for answer in answers]

    assert asyncio.run(talk()) == [200] * 20
    tracer = gateway._tracers[builders.MODEL]
    wait_until(lambda: tracer.dropped == 40, timeout_s=60, what="the spans of requests and their parts to be dropped")
    gateway.close()
    assert tracer.sent == 0


def test_a_service_that_lacks_the_packages_is_not_built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    builders.make_champion(tmp_path)
    path = tmp_path / "model.yaml"
    path.write_text(yaml.safe_dump(traced(builders.make_settings(tmp_path), "http://127.0.0.1:6006").dump()))
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    with pytest.raises(ConfigError, match=r"pip install 'homeostat\[phoenix\]'"):
        build({"config": str(path)})
