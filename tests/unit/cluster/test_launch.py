from __future__ import annotations

import importlib
import importlib.util
import json
import os
import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from cluster.environment import FAST_HTTP

ROOT = Path(__file__).parents[3]
LAUNCH = ROOT / "cluster" / "launch"
CLUSTERS = ["on_premises.yaml", "aws.yaml"]
EVERYWHERE = {"RAY_AUTH_MODE": "token", "RAY_SERVE_DEFAULT_HTTP_HOST": "0.0.0.0", "RAY_gcs_rpc_server_reconnect_timeout_s": "600"}


def read_cluster(name: str) -> dict[str, Any]:
    content = yaml.safe_load((LAUNCH / name).read_text(encoding="utf-8"))
    assert isinstance(content, dict)
    return content


def node_environment(cluster: dict[str, Any], home: Path) -> dict[str, str]:
    """Run the commands that write the environment file the way Ray's launcher would, and read what a shell then sees."""
    (home / "homeostat").mkdir()
    writers = [c for c in cluster["initialization_commands"] + cluster["setup_commands"] if re.match(r"(echo|printf|cat) ", c)]
    script = "\n".join(["set -e", *writers, "env -i HOME=$HOME bash -c '. ~/homeostat/env && env -0'"])
    environment = {"HOME": str(home), "PATH": os.environ["PATH"], "OMP_NUM_THREADS": "1"}
    output = subprocess.run(["bash", "-c", script], env=environment, capture_output=True, text=True, check=True).stdout
    return dict(line.split("=", 1) for line in output.split("\0") if line)


def start_commands(cluster: dict[str, Any]) -> list[str]:
    return [c for c in cluster["head_start_ray_commands"] + cluster["worker_start_ray_commands"] if "ray start" in c]


def dockerfile() -> str:
    """The Dockerfile without comments, continued lines joined."""
    lines = (LAUNCH / "Dockerfile").read_text(encoding="utf-8").splitlines()
    return re.sub(r"\\\n\s*", "", "\n".join(line for line in lines if not line.startswith("#")))


def copied_sources() -> list[str]:
    copies = re.findall(r"^COPY (?!--from)(.+)$", dockerfile(), flags=re.MULTILINE)
    return [source for copy in copies for source in copy.split()[:-1]]


def image_environment() -> dict[str, str]:
    (line,) = re.findall(r"^ENV (.+)$", dockerfile(), flags=re.MULTILINE)
    return dict(pair.split("=", 1) for pair in shlex.split(line))


@pytest.mark.parametrize("name", CLUSTERS)
def test_a_cluster_file_fits_the_schema_of_ray_itself(name: str) -> None:
    spec = importlib.util.find_spec("ray")
    assert spec is not None
    assert spec.origin is not None
    schema = json.loads((Path(spec.origin).parent / "autoscaler" / "ray-schema.json").read_text(encoding="utf-8"))
    validator = importlib.import_module("jsonschema").Draft7Validator(schema)
    assert [error.message for error in validator.iter_errors(read_cluster(name))] == []
    assert not validator.is_valid({**read_cluster(name), "max_worker": 2}), "the schema must be one that refuses a misspelt key"


@pytest.mark.parametrize("name", CLUSTERS)
def test_every_node_gets_the_fast_http_path_with_the_values_of_the_runtime(name: str, tmp_path: Path) -> None:
    found = node_environment(read_cluster(name), tmp_path)
    assert {key: found.get(key) for key in FAST_HTTP} == FAST_HTTP
    assert {key: found.get(key) for key in EVERYWHERE} == EVERYWHERE
    assert found["HOMEOSTAT_ROOT"] == "/srv/homeostat"
    assert found["PATH"].startswith(f"{tmp_path}/homeostat/venv/bin:")


def test_hosts_of_ones_own_are_started_without_autoscaler_v2(tmp_path: Path) -> None:
    assert node_environment(read_cluster("on_premises.yaml"), tmp_path)["RAY_enable_autoscaler_v2"] == "0"


@pytest.mark.parametrize("name", CLUSTERS)
def test_ray_starts_only_after_reading_the_environment_file(name: str) -> None:
    commands = start_commands(read_cluster(name))
    assert len(commands) == 2
    for command in commands:
        assert command.startswith(". ~/homeostat/env && unset OMP_NUM_THREADS && "), command


@pytest.mark.parametrize("name", CLUSTERS)
def test_the_head_offers_no_cpus(name: str) -> None:
    cluster = read_cluster(name)
    head, worker = start_commands(cluster)
    assert "--num-cpus=0" in head
    assert "--autoscaling-config=~/ray_bootstrap_config.yaml" in head
    assert "--num-cpus" not in worker
    if "available_node_types" in cluster:
        assert cluster["available_node_types"][cluster["head_node_type"]]["resources"] == {"CPU": 0}


@pytest.mark.parametrize("name", CLUSTERS)
def test_the_token_is_copied_and_never_written_down(name: str) -> None:
    assert read_cluster(name)["file_mounts"]["~/.ray/auth_token"] == "~/.ray/auth_token"
    assert "RAY_AUTH_TOKEN=" not in (LAUNCH / name).read_text(encoding="utf-8")


@pytest.mark.parametrize("name", CLUSTERS)
def test_all_that_a_reader_edits_stands_in_the_block_at_the_top(name: str) -> None:
    head, block, rest = re.split(r"^# ── .*$", (LAUNCH / name).read_text(encoding="utf-8"), flags=re.MULTILINE)
    places = re.compile(r"\b10\.\d+\.\d+\.\d+|ami-\w+|fs-\w+|ssh_user:|ssh_private_key:|region:|HOMEOSTAT_ROOT=|MLFLOW_TRACKING_URI=")
    assert places.search(block)
    assert not places.search(rest)
    assert not re.search(r"^[^#\s]", head, flags=re.MULTILINE)


def test_the_image_has_the_values_of_the_runtime_but_counts_cores_where_it_runs() -> None:
    found = image_environment()
    cores = "RAY_SERVE_HAPROXY_NBTHREAD"
    assert {key: found.get(key) for key in FAST_HTTP if key != cores} == {k: v for k, v in FAST_HTTP.items() if k != cores}
    assert cores not in found
    assert found["HOMEOSTAT_ROOT"] == "/var/lib/homeostat"


def test_the_image_copies_only_files_that_exist_and_that_its_ignore_file_admits() -> None:
    admitted = {line[1:] for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines() if line.startswith("!")}
    assert copied_sources()
    assert [source for source in copied_sources() if not (ROOT / source).exists()] == []
    assert set(copied_sources()) == admitted


def test_the_image_is_pinned_runs_as_a_plain_user_and_reaps_orphans() -> None:
    text = dockerfile()
    assert "latest" not in text
    assert "ARG BASE_IMAGE=python:3.11-slim" in text
    assert re.findall(r"^USER (.+)$", text, flags=re.MULTILINE) == ["homeostat"]
    assert 'ENTRYPOINT ["/usr/bin/tini", "-g", "--"]' in text
    assert "-c constraints.txt ." in text
    assert "EXPOSE 8000 9464" in text
    assert "VOLUME /var/lib/homeostat" in text
    assert "http://127.0.0.1:8000/readyz" in text
