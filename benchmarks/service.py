"""The running service of a benchmark, and what can be done to it: swap, deploy, scale, kill."""

from __future__ import annotations

import datetime as dt
import os
import shutil
import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import httpx
import yaml

from benchmarks.servers import marked
from benchmarks.stage import Stage
from cluster.bundle import MANIFEST, seal
from cluster.errors import Unavailable
from cluster.registry import Registry
from cluster.settings import load

_TIMEOUT_S: Final = 90
_GATEWAY: Final = ":Gateway"
_MANAGER: Final = "ray::HAProxyManager"


class Span(NamedTuple):
    """From the moment of a deed until all of it was in force, on the machine's monotonic clock."""

    began: float
    ended: float


class Service:
    """The running service, and what can be done to it; each change returns, with its span, when it is in force.

    Parameters
    ----------
    mark
        What its processes carry in their environment.
    """

    def __init__(self, stage: Stage, mark: str) -> None:
        self._stage, self._mark = stage, mark
        self._registry = Registry(stage.settings)
        self._config = yaml.safe_load(stage.config.read_text())
        self._base = f"http://127.0.0.1:{stage.settings.serving.port}"
        first = self._registry.champion()
        self._versions = [first.version, self._copy(Path(first.uri))]

    def _copy(self, bundle: Path) -> str:
        """Another version, registered once: the same model, sealed at another moment."""
        run = "changes-copy"
        if known := self._registry.find(run):
            return known.version
        folder = self._stage.config.parent / "work" / run / "bundle"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(bundle, folder, ignore=shutil.ignore_patterns(MANIFEST))
        digest = seal(folder, model=self._stage.settings.model, created=dt.datetime.now(dt.UTC).isoformat(timespec="seconds"))
        return self._registry.register(folder, digest=digest, run=run, metrics={}, params={}).version

    def swap(self) -> Span:
        """Make the other version the champion."""
        self._versions.reverse()
        began = time.monotonic()
        self._registry.move("champion", self._versions[0])
        _wait(lambda: self._answers("/v1/model", "bundle") == self._versions[0], f"version {self._versions[0]} answers")
        return Span(began, time.monotonic())

    def update(self) -> Span:
        """Deploy the application anew: every replica is replaced."""
        return self.scale(int(self._config["serving"]["gateway"]["min_replicas"]))

    def scale(self, replicas: int) -> Span:
        """Deploy the application with so many gateways: new ones start, then the old ones drain and end."""
        from cluster import runtime, service

        self._config["serving"]["gateway"] = {"min_replicas": replicas, "max_replicas": replicas}
        config = self._stage.config.with_name("changes.yaml")
        config.write_text(yaml.safe_dump(self._config, sort_keys=False))
        before = set(self._named(_GATEWAY))
        settings = load(config)
        runtime.connect(root=settings.places.root)
        began = time.monotonic()
        service.up({str(config): settings}, loop=False)
        _wait(lambda: not before & (now := set(self._named(_GATEWAY))) and len(now) == replicas, f"{replicas} new gateways")
        return Span(began, time.monotonic())

    def kill_gateway(self) -> Span:
        """End one of the gateways, as if it ran out of memory."""
        before = self._named(_GATEWAY)
        os.kill(before[0], signal.SIGKILL)
        _wait(lambda: not _command(before[0]), "the killed gateway is gone")
        began = time.monotonic()  # freeing its memory takes a while, and until then it can be sent requests
        _wait(lambda: len(set(self._named(_GATEWAY)) - {before[0]}) == len(before), "another gateway has started")
        self._wait_until_ready()
        return Span(began, time.monotonic())

    def kill_haproxy(self) -> Span:
        """End the load balancer."""
        return self._kill(self._haproxies())

    def kill_manager(self) -> Span:
        """End the actor that watches the load balancer."""
        return self._kill(self._named(_MANAGER))

    def _kill(self, pids: Sequence[int]) -> Span:
        if not pids:
            raise Unavailable("there is no HAProxy to be killed; does Ray run it on this machine?")
        began = time.monotonic()
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        _wait(lambda: bool(set(self._named(_MANAGER))) and bool(set(self._haproxies()) - set(pids)), "another HAProxy has started")
        self._wait_until_ready()
        return Span(began, time.monotonic())

    def _wait_until_ready(self) -> None:
        """Until thirty answers in a row were good: a new load balancer knows no routes at first."""
        for _ in range(30):
            _wait(lambda: self._answers("/readyz", "status") == "ready", "the service is ready")
            time.sleep(0.1)

    def _answers(self, path: str, key: str) -> object:
        try:
            return httpx.get(self._base + path, headers=dict(self._stage.headers), timeout=2).json().get(key)
        except (httpx.TransportError, ValueError):
            return None

    def _haproxies(self) -> list[int]:
        return [pid for pid in self._named("haproxy") if not _command(pid).startswith("ray::")]

    def _named(self, text: str) -> list[int]:
        return [pid for pid in sorted(marked(self._mark)) if text in _command(pid)]


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""


def _wait(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + _TIMEOUT_S
    while not condition():
        if time.monotonic() > deadline:
            raise Unavailable(f"waited {_TIMEOUT_S} s in vain until {what}")
        time.sleep(0.02)
