"""The service of these tests: two models in one group of processes, HTTP and gRPC, as a user starts it.

It has a Ray of its own: Serve takes its gRPC port when it first starts, and the session's Ray may have started it without one.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

import httpx
import msgspec
import pytest
import yaml

from benchmarks.servers import Contender, running
from cluster import storage
from cluster.records import Pointer, Pointers
from cluster.runtime import free_port
from cluster.schema import Label
from tests import builders
from tests.conformance import environments

CLIENTS: Final = Path(__file__).parent / "clients"
CLASSIFIER, REGRESSOR = builders.MODEL, "delay"
NO_WIND: Final = "column 'wind' is absent; send nulls if its values are missing"
NO_SUCH_MODEL: Final = f"model 'nobody' is not served here; there is: {CLASSIFIER}, {REGRESSOR}"
ROWS: Final = [
    builders.make_row(),
    builders.make_row(miles=None, wind=12.0, carrier="UA", sex=None),
    builders.make_row(miles=3000.0, carrier=None, at="2013-01-02T05:00:00"),
    builders.make_row(miles=4.5, wind=None, carrier="an airline nobody knows é"),
    builders.make_row(miles=-0.25, wind=30.0, carrier="9E", sex="male"),
    builders.make_row(miles=50.0, wind=6.5),
]
"""Missing numbers and texts, an unknown category, and a last row that goes to the ensemble; no number that float32 would round."""
TIMES: Final = 200
"""So many times over, they are decoded and scored in a thread."""


Told = dict[str, list[Any]]
"""What POST /v1/predict answers to `ROWS`, output by output, under the names of the Open Inference Protocol."""


class Service(NamedTuple):
    """Where it listens."""

    http: str
    grpc: str

    @property
    def url(self) -> str:
        return f"http://{self.http}"

    def predict(self, model: str) -> Told:
        """Ask for `ROWS` by the service's own route."""
        answer = httpx.post(f"{self.url}/{model}/v1/predict", json={"rows": ROWS}, timeout=30).raise_for_status().json()
        names = ("prediction", "probability", "answered_by") if model == CLASSIFIER else ("prediction", "answered_by")
        degraded = [row.get("degraded", False) for row in answer["predictions"]]
        return {name: [row[name] for row in answer["predictions"]] for name in names} | {"degraded": degraded}

    def label(self, model: str, request_id: str) -> httpx.Response:
        """Send a label for the last of `ROWS`."""
        body = {"labels": [{"request_id": request_id, "row": len(ROWS) - 1, "label": 1}]}
        return httpx.post(f"{self.url}/{model}/v1/labels", json=body, timeout=30)

    def run(self, environment: str, script: str, *arguments: str) -> Any:
        """What a client's script prints, run in the client's environment."""
        models = {"classifier": CLASSIFIER, "regressor": REGRESSOR}
        task = {"http": self.http, "grpc": self.grpc, "rows": ROWS, "times": TIMES} | models
        command = [environments.python(environment), str(CLIENTS / script), *arguments]
        clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        ended = subprocess.run(command, input=json.dumps(task), capture_output=True, text=True, timeout=200, check=False, env=clean)
        assert ended.returncode == 0, ended.stderr
        return json.loads(ended.stdout)


def write_model(root: Path, model: str, label: Label, bias: float, **serving: Any) -> Path:
    """Publish a bundle as champion 1 of a model; returns its YAML file."""
    folder = root / "bundles" / model
    digest = builders.make_bundle(folder, schema=builders.make_schema(label=label), bias=bias)
    plain = builders.make_settings(root, **serving).dump() | {"model": model}
    plain["schema"]["label"] = label.model_dump(mode="json")
    pointers = Pointers(model=model, champion=Pointer(version="1", uri=str(folder), digest=digest))
    storage.write_atomic(f"{root}/pointers/{model}.json", msgspec.json.encode(pointers))
    path = root / f"{model}.yaml"
    path.write_text(yaml.safe_dump(plain))
    return path


@pytest.fixture(scope="package")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """`homeostat serve late.yaml delay.yaml`: a classifier, and a regression that answers the same rows."""
    root = tmp_path_factory.mktemp("conformance")
    ports = {"port": free_port(), "grpc_port": free_port()}
    paths = [
        write_model(root, CLASSIFIER, builders.make_schema().label, 0.0, **ports),
        write_model(root, REGRESSOR, Label(name="delay", task="regression"), 1.0, **ports),
    ]
    found = Service(f"127.0.0.1:{ports['port']}", f"127.0.0.1:{ports['grpc_port']}")
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    environment |= {name: str(free_port()) for name in ("RAY_SERVE_HAPROXY_STATS_PORT", "RAY_SERVE_HAPROXY_METRICS_PORT")}
    command = [sys.executable, "-m", "cluster.cli", "serve", *map(str, paths), "--no-loop"]
    contender = Contender("homeostat serve", "ours", command, environment, f"{found.url}/{REGRESSOR}/v1/predict")
    with running(contender, json.dumps({"rows": ROWS}).encode(), {}, log=root / "serve.log", timeout_s=200):
        yield found


@pytest.fixture(scope="package")
def told(service: Service) -> dict[str, Told]:
    """The answers that every client must get, by model."""
    return {model: service.predict(model) for model in (CLASSIFIER, REGRESSOR)}
