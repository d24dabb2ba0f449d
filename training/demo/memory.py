"""How much memory the demo takes: its own process and all of the cluster's, shared pages counted once."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Final

_PSS: Final = re.compile(r"^Pss:\s+(\d+) kB", re.MULTILINE)
_EVERY: Final = 5


class Memory:
    """Keeps the largest sum seen.

    Parameters
    ----------
    cluster_pid
        Process under which the cluster runs.
    """

    def __init__(self, cluster_pid: int) -> None:
        self._pid = cluster_pid
        self._looks = 0
        self.peak_mib = 0

    def look(self) -> None:
        """Sum the proportional set sizes of all processes; every fifth call, since the kernel walks every page for it."""
        self._looks += 1
        if self._looks % _EVERY == 1:
            total_kib = sum(_pss_kib(pid) for pid in {os.getpid(), self._pid, *_below(self._pid)})
            self.peak_mib = max(self.peak_mib, total_kib // 1024)


def _below(pid: int) -> set[int]:
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                parents[int(entry.name)] = int((entry / "stat").read_text().rsplit(")", 1)[1].split()[1])
            except OSError:
                continue  # it ended while we looked
    found: set[int] = set()
    front = {pid}
    while front:
        front = {child for child, parent in parents.items() if parent in front}
        found |= front
    return found


def _pss_kib(pid: int) -> int:
    try:
        match = _PSS.search(Path(f"/proc/{pid}/smaps_rollup").read_text())
    except OSError:
        return 0
    return int(match[1]) if match else 0
