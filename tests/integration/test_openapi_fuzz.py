"""The service held against its own document: generated requests, every answer as documented, no fault of ours."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import yaml

from cluster import service
from cluster.runtime import LocalCluster
from cluster.settings import Settings
from tests import builders

CONFIG = """
[checks.positive_data_acceptance] # columns are of one length, a tensor's shape counts its data: more than a schema can say
enabled = false
[checks.not_a_server_error] # a generated X-Request-Timeout may be shorter than any answer takes
expected-statuses = ["2xx", "3xx", "4xx", 504]
"""


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory, http_port: int) -> Settings:
    """A model whose first version is published."""
    root = tmp_path_factory.mktemp("fuzzed")
    builders.make_champion(root)
    return builders.make_settings(root, port=http_port, max_rows=50)


@pytest.fixture(scope="module")
def url(settings: Settings, ray_cluster: LocalCluster) -> Iterator[str]:
    """The base URL of its service."""
    path = Path(settings.places.root) / "model.yaml"
    path.write_text(yaml.safe_dump(settings.dump()))
    yield service.up({str(path): settings}, loop=False)
    service.down([settings])


def fuzz(url: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run schemathesis over every operation of the document, the same requests each time."""
    (folder / "schemathesis.toml").write_text(CONFIG)
    command = [str(Path(sys.executable).with_name("st")), "--no-color", "run", f"{url}/openapi.json"]
    bounds = ["--phases", "examples,coverage,fuzzing", "--max-examples", "5", "--seed", "1", "--no-shrink"]
    return subprocess.run([*command, *bounds], cwd=folder, capture_output=True, text=True, check=False, timeout=200)


def test_no_generated_request_finds_a_fault_or_an_answer_that_is_not_documented(url: str, tmp_path: Path) -> None:
    operations = sum(len(methods) for methods in httpx.get(f"{url}/openapi.json").json()["paths"].values())

    found = fuzz(url, tmp_path)

    assert found.returncode == 0, found.stdout
    assert f"Tested: {operations}\n" in found.stdout
