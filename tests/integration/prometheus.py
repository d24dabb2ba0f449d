"""A real Prometheus server with the committed configuration, and what it answers."""

from __future__ import annotations

import json
import math
import shutil
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

import httpx
import pytest
import yaml

from cluster.runtime import free_port
from tests.processes import wait_until
from tests.unit.configs.watching import PROMETHEUS

_HOW = "was not found; install it (Debian: apt-get install prometheus)"


def program(name: str) -> str:
    """Path of `prometheus` or `promtool`; without it, the test fails and says how to get it."""
    found = shutil.which(name)
    if found is None:
        pytest.fail(f"'{name}' {_HOW}", pytrace=False)
    return found


class Sample(NamedTuple):
    """One series of an answer, at its last moment."""

    labels: dict[str, str]
    value: float


class Prometheus:
    """Scrapes every second, for as long as the block of `with` takes.

    Parameters
    ----------
    folder
        For its data, and for the configuration: the committed one with other targets and a quicker clock.
    targets
        Addresses, by job.
    """

    def __init__(self, folder: Path, targets: dict[str, str]) -> None:
        self._folder, self._targets = folder, targets
        self._port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        config = self._folder / "prometheus.yml"
        config.write_text(yaml.safe_dump(self._config()))
        command = [program("prometheus"), f"--config.file={config}", f"--storage.tsdb.path={self._folder / 'data'}", "--log.level=warn"]
        command += [f"--web.listen-address=127.0.0.1:{self._port}"]
        with (self._folder / "prometheus.log").open("wb") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        wait_until(self._is_ready, timeout_s=60, what="Prometheus to be ready")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        assert self._process is not None
        self._process.terminate()
        self._process.wait(30)

    def _config(self) -> dict[str, Any]:
        config: dict[str, Any] = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text())
        config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
        config["rule_files"] = [str(PROMETHEUS / name) for name in config["rule_files"]]
        for job in config["scrape_configs"]:
            addresses = [{"targets": [self._targets[job["job_name"]]]}]
            if "file_sd_configs" in job:  # the way of the committed file, with a list of our own
                file = self._folder / f"{job['job_name']}.json"
                file.write_text(json.dumps(addresses))
                job["file_sd_configs"] = [{"files": [str(file)]}]
            else:
                job["static_configs"] = addresses
        return config

    def _is_ready(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, (self._folder / "prometheus.log").read_text()
        try:
            return httpx.get(f"http://127.0.0.1:{self._port}/-/ready").is_success
        except httpx.TransportError:
            return False

    def ask(self, expression: str) -> list[Sample]:
        """The series of an instant query, those that are no number left out."""
        found = self._get("query", query=expression)["result"]
        if found and not isinstance(found[0], dict):
            found = []
        samples = [Sample(series["metric"], float(series["value"][1])) for series in found]
        return [sample for sample in samples if math.isfinite(sample.value)]

    def names(self) -> set[str]:
        """Names of all metrics it has seen."""
        found = self._get("label/__name__/values")
        return {str(name) for name in found} if isinstance(found, list) else set()

    def firing(self) -> dict[str, dict[str, str]]:
        """Labels of the alerts that fire, by name."""
        alerts = self._get("alerts")["alerts"]
        return {alert["labels"]["alertname"]: alert["labels"] for alert in alerts if alert["state"] == "firing"}

    def faults(self) -> list[str]:
        """What went wrong while rules were evaluated."""
        groups = self._get("rules")["groups"]
        return [f"{rule['name']}: {rule['lastError']}" for group in groups for rule in group["rules"] if rule.get("lastError")]

    def _get(self, path: str, **parameters: str) -> Any:
        answer = httpx.get(f"http://127.0.0.1:{self._port}/api/v1/{path}", params=parameters, timeout=30)
        content = answer.json()
        assert content["status"] == "success", content
        return content["data"]
