"""Ray: the only `ray.init`, a cluster of our own on this machine, and the names of our actors."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import random
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

from cluster.environment import FAST_HTTP, LOCAL, ensure_token
from cluster.errors import ConfigError, Unavailable

__all__ = [
    "FAST_HTTP",
    "LOCAL",
    "NAMESPACE",
    "LocalCluster",
    "connect",
    "free_port",
    "is_free",
    "logical_cpus",
    "monitor_name",
    "steward_name",
]

NAMESPACE: Final = "homeostat"
_STARTS: Final = 3
"""A port that was free may be taken by the time Ray binds it; then another is tried."""
_RAY_NOTE: Final = Path("/tmp/ray/ray_current_cluster")  # noqa: S108 - where Ray puts it
_PORTS: Final = range(20_000, 30_000)
_OWN_PORTS: Final = (
    "RAY_SERVE_HAPROXY_STATS_PORT",
    "RAY_SERVE_HAPROXY_METRICS_PORT",
    "RAY_SERVE_FALLBACK_PROXY_HTTP_PORT",  # opened with SO_REUSEPORT: two clusters would answer each other's requests
    "RAY_SERVE_FALLBACK_PROXY_GRPC_PORT",
)


def monitor_name(model: str) -> str:
    """Name of a model's monitoring actor."""
    return f"homeostat-monitor-{model}"


def steward_name(model: str) -> str:
    """Name of a model's steward actor."""
    return f"homeostat-steward-{model}"


def connect(*, address: str | None = None, root: str | None = None) -> None:
    """Join a Ray cluster, or start one inside this process when there is none.

    Parameters
    ----------
    address
        `host:port`; None looks at `RAY_ADDRESS` and then for a local cluster begun under `root`.
    root
        `places.root`.

    Raises
    ------
    Unavailable
        When the named cluster does not answer.
    """
    import ray  # takes a second, which who never connects need not wait

    if ray.is_initialized():
        return
    running = LocalCluster.find(root) if root and not address else None
    target = address or os.environ.get("RAY_ADDRESS") or (running.address if running else None)
    os.environ.update((FAST_HTTP | LOCAL) | dict(os.environ))
    ensure_token()
    try:
        ray.init(
            address=target or "local",  # None would join any cluster that happens to run on this machine
            namespace=NAMESPACE,
            log_to_driver=False,
            logging_level=logging.WARNING,
            configure_logging=False,
            **({} if target else {"num_cpus": logical_cpus(), "include_dashboard": False, "_node_ip_address": "127.0.0.1"}),
        )
    except ConnectionError as error:
        raise Unavailable(f"no Ray cluster answers at {target}: {error}") from error


def logical_cpus() -> int:
    """CPUs that a cluster on one machine announces: more than there are, since most roles sleep most of the time."""
    return max(8, 2 * (os.cpu_count() or 1))


class LocalCluster:
    """A Ray head of our own on this machine, with the fast HTTP path, that we can stop by its process id.

    The process id and address are kept in `<root>/cluster.json`, so that a later command finds them.
    """

    def __init__(self, root: str, pid: int, address: str, metrics_port: int) -> None:
        self.root, self.pid, self.address = root, pid, address
        self.metrics_port = metrics_port
        """Where Ray's agent serves the metrics of gateways and ensembles to Prometheus."""

    @classmethod
    def find(cls, root: str) -> LocalCluster | None:
        """The running cluster begun under `root`, if there is one."""
        try:
            state = json.loads(_state_file(root).read_text())
        except (FileNotFoundError, json.JSONDecodeError):
            return None
        cluster = cls(root, state["pid"], state["address"], state.get("metrics_port", 0))
        return cluster if cluster.is_running() else None

    @classmethod
    def start(cls, root: str, *, timeout_s: float = 90) -> LocalCluster:
        """Start `ray start --head --block` and wait until it answers.

        Raises
        ------
        ConfigError
            When one is running already.
        Unavailable
            With the end of Ray's own output, when it does not come up.
        """
        if running := cls.find(root):
            raise ConfigError(
                f"a cluster of '{root}' is running already (process {running.pid}); stop it with: homeostat stop --root {root}"
            )
        ensure_token()
        log = Path(root) / "log" / "ray.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        deadline = time.monotonic() + timeout_s
        for _ in range(_STARTS):
            cluster, process = cls._launch(root, log)
            while process.poll() is None and time.monotonic() < deadline:
                if b"Ray runtime started" in log.read_bytes():
                    return cluster
                time.sleep(0.1)
            cluster.stop()
        tail = log.read_text(errors="replace").strip().splitlines()[-5:]
        raise Unavailable(f"Ray did not start; the end of {log}: " + " | ".join(tail))

    @classmethod
    def _launch(cls, root: str, log: Path) -> tuple[LocalCluster, subprocess.Popen[bytes]]:
        port, metrics_port = free_port(), free_port()
        command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block", f"--port={port}"]
        command += ["--node-ip-address=127.0.0.1", "--include-dashboard=false", "--disable-usage-stats", f"--num-cpus={logical_cpus()}"]
        command += [f"--metrics-export-port={metrics_port}"]
        with log.open("wb") as output:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, env=_environment(), start_new_session=True
            )
        cluster = cls(root, process.pid, f"127.0.0.1:{port}", metrics_port)
        state = {"pid": process.pid, "address": cluster.address, "metrics_port": metrics_port}
        _state_file(root).write_text(json.dumps(state))
        return cluster, process

    def is_running(self) -> bool:
        """Whether the process is alive and is the one that was started."""
        try:
            return b"ray.scripts.scripts" in Path(f"/proc/{self.pid}/cmdline").read_bytes()
        except OSError:
            return False

    def stop(self, *, timeout_s: float = 40) -> None:
        """Leave the cluster and end it with everything it runs; returns when it is gone."""
        import ray

        ray.shutdown()  # a driver that outlives its cluster is ended by Ray without a word
        if self.is_running():
            os.kill(self.pid, signal.SIGTERM)
            deadline = time.monotonic() + timeout_s
            while _alive(self.pid) and time.monotonic() < deadline:
                time.sleep(0.1)
            if _alive(self.pid):
                os.killpg(self.pid, signal.SIGKILL)
        _state_file(self.root).unlink(missing_ok=True)
        self._forget()

    def _forget(self) -> None:
        """Remove Ray's own note of this cluster, or the next `serve run` would wait for it for a minute."""
        with contextlib.suppress(OSError):
            if _RAY_NOTE.read_text().strip().endswith(f":{self.address.rpartition(':')[2]}"):
                _RAY_NOTE.unlink()


def _alive(pid: int) -> bool:
    try:
        if os.waitpid(pid, os.WNOHANG)[0]:
            return False
    except ChildProcessError:
        pass
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


def _state_file(root: str) -> Path:
    return Path(root) / "cluster.json"


def _environment() -> dict[str, str]:
    """FAST_HTTP and LOCAL, and ports of this cluster's own: the defaults are taken, or worse shared, as soon as a second one starts."""
    return FAST_HTTP | LOCAL | {name: str(free_port()) for name in _OWN_PORTS} | dict(os.environ)


def is_free(port: int, host: str = "127.0.0.1") -> bool:
    """Whether nobody listens on a port."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def free_port() -> int:
    """A port nobody listens on, below those that the kernel gives to outgoing connections and Ray to its workers."""
    for port in random.sample(_PORTS, 200):
        if is_free(port):
            return port
    raise Unavailable(f"no free port was found between {_PORTS[0]} and {_PORTS[-1]}")
