"""Contenders: processes that answer HTTP, started one at a time, and ended with everything they started.

Every contender carries a mark of its own in its environment, which its descendants inherit: what is left over after it
has been asked to stop is found by the mark and ended by process id, even when it changed parents.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import httpx

from benchmarks.bodies import Shape, as_rows
from benchmarks.report import Role
from cluster.errors import Unavailable

_MARK: Final = "HOMEOSTAT_BENCHMARK"


class Contender(NamedTuple):
    """How one server is started, and where it answers."""

    who: str
    role: Role
    command: Sequence[str]
    environment: Mapping[str, str]
    """The whole environment, as for `subprocess`."""
    url: str
    """Takes the body by POST."""
    shape: Shape = as_rows
    """The body it takes."""
    warm_up_s: int = 2
    """One-row requests before it is measured; longer for one that starts more replicas under load."""


@contextlib.contextmanager
def running(contender: Contender, body: bytes, headers: Mapping[str, str], *, log: Path, timeout_s: float = 150) -> Iterator[str]:
    """A contender that has answered `body` with 200, for the length of the block; yields its mark.

    Raises
    ------
    Unavailable
        With the end of its log, when it ends or does not answer in time.
    """
    mark = f"{_MARK}={uuid.uuid4().hex}"
    environment = dict(contender.environment) | dict([mark.split("=")])
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as output:
        process = subprocess.Popen(
            list(contender.command),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,
        )
    try:
        _wait(process, contender, body, headers, log=log, deadline=time.monotonic() + timeout_s)
        yield mark
    finally:
        end(process, mark)


def _wait(
    process: subprocess.Popen[Any], contender: Contender, body: bytes, headers: Mapping[str, str], *, log: Path, deadline: float
) -> None:
    while not _answers(contender.url, body, headers):
        if process.poll() is not None or time.monotonic() > deadline:
            tail = " | ".join(log.read_text(errors="replace").strip().splitlines()[-4:])
            raise Unavailable(f"{contender.who} does not answer at {contender.url}; the end of {log}: {tail}")
        time.sleep(0.2)


def _answers(url: str, body: bytes, headers: Mapping[str, str]) -> bool:
    try:
        return ask(url, body, headers).status_code == 200
    except httpx.TransportError:
        return False


def ask(url: str, body: bytes, headers: Mapping[str, str]) -> httpx.Response:
    """Send one body."""
    return httpx.post(url, content=body, headers={"Content-Type": "application/json", **headers}, timeout=10)


def end(process: subprocess.Popen[Any], mark: str, *, timeout_s: float = 60) -> None:
    """Ask a process to end, wait, and kill what is left that carries the mark."""
    process.send_signal(signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(timeout_s)
    for pid in marked(mark):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    process.wait(10)


def marked(mark: str) -> list[int]:
    """Process ids whose environment holds `mark`, a `NAME=value`."""
    return [int(folder.name) for folder in Path("/proc").iterdir() if folder.name.isdecimal() and _holds(folder / "environ", mark.encode())]


def _holds(environ: Path, entry: bytes) -> bool:
    try:
        return entry in environ.read_bytes().split(b"\0")
    except OSError:
        return False  # gone, or not ours
