"""The service over real HTTP: bad input, swaps under load, killed replicas."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import yaml

from cluster import service
from cluster.history import read_history
from cluster.journal import scan
from cluster.records import Audit
from cluster.runtime import LocalCluster
from cluster.settings import Settings
from tests import builders
from tests.load import Load, unjournaled
from tests.processes import descendants, kill, wait_until

JSON = {"Content-Type": "application/json"}


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory, http_port: int) -> Settings:
    """A model whose first version is published."""
    root = tmp_path_factory.mktemp("served")
    builders.make_champion(root)
    ensemble = {"placement": "deployment"}
    return builders.make_settings(root, port=http_port, poll_s=0.1, max_rows=5000, ensemble=ensemble, cascade={"audit_share": 1.0})


@pytest.fixture(scope="module")
def url(settings: Settings, ray_cluster: LocalCluster) -> Iterator[str]:
    """The base URL of its service."""
    path = Path(settings.places.root) / "model.yaml"
    path.write_text(yaml.safe_dump(settings.dump()))
    yield service.up({str(path): settings}, loop=False)
    service.down([settings])


def predict(client: httpx.Client, **row: Any) -> httpx.Response:
    return client.post("/v1/predict", json={"rows": [builders.make_row(**row)]})


def _rows(count: int) -> str:
    return json.dumps({"rows": [builders.make_row()] * count})


BAD = {
    "missing column": ('{"rows": [{"miles": 1}]}', JSON, 422, "MissingColumn"),
    "unknown column": (json.dumps({"rows": [builders.make_row(tail="N1")]}), JSON, 422, "UnknownColumn"),
    "wrong type": (json.dumps({"rows": [builders.make_row(miles="far")]}), JSON, 422, "WrongType"),
    "NaN": (_rows(1).replace("200.0", "NaN"), JSON, 400, "BadJson"),
    "infinite": (_rows(1).replace("200.0", "1e999"), JSON, 422, "NotFinite"),
    "bad time": (json.dumps({"rows": [builders.make_row(at="yesterday")]}), JSON, 422, "BadTime"),
    "empty list": ('{"rows": []}', JSON, 422, "NoRows"),
    "100,000 rows": ("rows", JSON, 413, "BodyTooLarge"),
    "too many rows": (_rows(5001), JSON, 413, "TooManyRows"),
    "50 MB": ("x", JSON, 413, "BodyTooLarge"),
    "broken JSON": ('{"rows": [', JSON, 400, "BadJson"),
    "another shape": ("[1, 2]", JSON, 400, "BadRequestShape"),
    "content type": (_rows(1), {"Content-Type": "text/plain"}, 415, "UnsupportedMediaType"),
    "unknown model": (json.dumps({"model": "other", "rows": [builders.make_row()]}), JSON, 404, "UnknownModel"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_gets_its_named_error_and_the_next_request_is_answered(url: str, case: str) -> None:
    body, headers, status, name = BAD[case]
    if case == "100,000 rows":
        body = _rows(100_000)
    if case == "50 MB":
        body = '{"rows": "' + "x" * 50_000_000 + '"}'
    with httpx.Client(base_url=url, timeout=30) as client:
        answer = client.post("/v1/predict", content=body, headers=headers)

        assert (answer.status_code, answer.json()["error"]["type"]) == (status, name)
        assert set(answer.json()["error"]) == {"type", "message", "details"}
        assert predict(client).status_code == 200


def test_unknown_categories_and_missing_values_are_scored(url: str) -> None:
    with httpx.Client(base_url=url) as client:
        answer = predict(client, carrier="ZZ", miles=None, wind=1e6)

    assert answer.status_code == 200
    assert 0 <= answer.json()["predictions"][0]["probability"] <= 1


def test_labels_are_checked_against_the_journal(url: str, settings: Settings) -> None:
    with httpx.Client(base_url=url) as client:
        request_id = predict(client).json()["request_id"]

        def send(**changes: Any) -> httpx.Response:
            return client.post("/v1/labels", json={"labels": [{"request_id": request_id, "row": 0, "label": 1} | changes]})

        assert send(request_id="000000000000-0000-80").json()["error"]["type"] == "UnknownRequest"
        assert send(row=7).json()["error"]["type"] == "UnknownRow"
        assert send(label="maybe").json()["error"]["type"] == "BadLabel"
        assert send().json() == {"accepted": 1}
        assert send(label=0).json() == {"accepted": 1}

    history = read_history(settings.places.journal(settings.model), settings.columns, labelled=True).to_pylist()
    assert [row["late"] for row in history if row["request_id"] == request_id] == [0]


def test_what_the_student_answered_is_audited_by_the_ensembles_deployment(url: str, settings: Settings) -> None:
    with httpx.Client(base_url=url) as client:
        answer = predict(client, miles=2000.0).json()
    assert answer["predictions"][0]["answered_by"] == "student"

    def audits() -> list[Audit]:
        found = [entry.audit() for entry in scan(settings.places.journal(settings.model)) if entry.kind == "audit"]
        return [audit for audit in found if audit.request_id == answer["request_id"]]

    wait_until(lambda: bool(audits()), timeout_s=20, what="the audit to be journaled")
    (audit,) = audits()
    expected = builders.expected_scores(builders.ENSEMBLE_WEIGHTS, [[2000.0, 3.5, 1.0]])[0, 0]
    assert audit.rows == [0]
    assert np.frombuffer(audit.scores, dtype=np.float32).tolist() == pytest.approx([expected], rel=1e-5)


def test_the_documentation_is_served_without_the_network(url: str) -> None:
    with httpx.Client(base_url=url) as client:
        page = client.get("/docs").text
        assert "http://" not in page.replace("http://www.w3.org", "")
        assert "https://" not in page
        assert client.get("/docs/swagger-ui-bundle.js").status_code == 200
        example = client.get("/openapi.json").json()["components"]["schemas"]["Row"]["example"]
        assert client.post("/v1/predict", json={"rows": [example]}).status_code == 200


def test_the_champion_is_swapped_twenty_times_under_load_without_a_failed_request(url: str, settings: Settings) -> None:
    root = Path(settings.places.root)
    with Load(url) as load:
        for version in range(2, 22):
            builders.make_champion(root, version=str(version), bias=version / 10)
            wait_until(partial(load.has_seen, str(version)), timeout_s=20, what=f"version {version} to answer")

    assert load.failures == []
    assert set(load.bundles()) >= {str(version) for version in range(2, 22)}
    by_version: dict[str, set[object]] = {}
    for answer in load.answers:
        by_version.setdefault(answer.bundle, set()).add(answer[0].probability)
    assert all(len(told) == 1 for told in by_version.values()), "one version gave two answers to the same row"
    assert len(set().union(*by_version.values())) == len(by_version), "two versions gave the same answer"


@pytest.mark.parametrize("role", ["Gateway", "Ensemble"])
def test_a_killed_replica_comes_back_and_nothing_acknowledged_is_lost(
    url: str, settings: Settings, ray_cluster: LocalCluster, role: str
) -> None:
    name = f"ServeReplica:{settings.model}:{role}"
    with Load(url) as load:
        wait_until(lambda: len(load.answers) > 100, timeout_s=20, what="load")
        killed = kill(ray_cluster.pid, name)
        wait_until(lambda: killed not in descendants(ray_cluster.pid), timeout_s=10, what="its end")
        wait_until(lambda: any(name in command for command in descendants(ray_cluster.pid).values()), timeout_s=60, what=f"a new {role}")
        answered = len(load.answers)
        wait_until(lambda: len(load.answers) > answered + 100, timeout_s=60, what="answers after the kill")

    assert unjournaled(load.answers, settings) == 0
    if role == "Ensemble":
        assert load.failures == [], "the student stands in for an ensemble that does not answer"
