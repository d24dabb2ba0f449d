"""Finds and kills processes of one cluster, and of no other."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

HTTP_OF_REPLICAS: Final = range(30_000, 31_001)
"""Where Ray Serve lets its replicas listen for HTTP."""
_LISTENS: Final = "0A"


def descendants(pid: int) -> dict[int, str]:
    """Command lines of all processes below one, by process id."""
    parents: dict[int, int] = {}
    names: dict[int, str] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                parents[int(entry.name)] = int((entry / "stat").read_text().rsplit(")", 1)[1].split()[1])
                names[int(entry.name)] = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                continue  # it ended while we looked
    found: dict[int, str] = {}
    front = {pid}
    while front:
        front = {child for child, parent in parents.items() if parent in front}
        found |= {child: names[child] for child in front if child in names}
    return found


def listening(pid: int) -> set[int]:
    """TCP ports on which a process listens."""
    held = {str(link.readlink()) for link in Path(f"/proc/{pid}/fd").iterdir()}
    found = set()
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        _, local, _, state, *others = line.split()
        if state == _LISTENS and f"socket:[{others[5]}]" in held:
            found.add(int(local.rpartition(":")[2], 16))
    return found


def kill(cluster_pid: int, name: str) -> int:
    """`kill -9` the newest process below the cluster whose command line contains `name`; returns its process id."""
    found = sorted(pid for pid, command in descendants(cluster_pid).items() if name in command)
    assert found, f"no process of the cluster is named {name}"
    os.kill(found[-1], signal.SIGKILL)
    return found[-1]


def wait_until(condition: Callable[[], bool], *, timeout_s: float, what: str) -> None:
    """Return as soon as the condition holds; fail with `what` when it does not in time."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"waited {timeout_s} s for: {what}"
        time.sleep(0.05)
