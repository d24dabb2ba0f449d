"""What a contender costs: CPU seconds and memory of all processes that carry its mark, from /proc.

CPU is user and system time, that of children which have ended too. Memory is the sum of proportional set sizes (PSS), so that a
page which processes share counts once; its peak is the highest of one sample a second and one at the end.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from benchmarks.servers import marked

_TICKS: Final = os.sysconf("SC_CLK_TCK")
_PERIOD_S: Final = 1.0
"""A sample of a Ray cluster takes 50 ms of a core: more of them would be seen in what is measured."""


def cpu_s(pids: Iterable[int]) -> float:
    """User and system seconds so far."""
    ticks = 0
    for pid in pids:
        fields = _read(pid, "stat").rpartition(")")[2].split()  # the second field, the name, may hold spaces
        ticks += sum(map(int, fields[11:15]))  # utime, stime, cutime, cstime
    return ticks / _TICKS


def memory_mib(pids: Iterable[int]) -> float:
    """Proportional set size in MiB."""
    lines = (line for pid in pids for line in _read(pid, "smaps_rollup").splitlines() if line.startswith("Pss:"))
    return sum(int(line.split()[1]) for line in lines) / 1024


def _read(pid: int, name: str) -> str:
    try:
        return Path(f"/proc/{pid}/{name}").read_text()
    except OSError:
        return ""  # it ended while we looked


class Meter:
    """Watches for the length of a block; `cpu_s` and `peak_mib` are there when it ends.

    Parameters
    ----------
    mark
        A `NAME=value` in the environment of the processes.
    """

    def __init__(self, mark: str) -> None:
        self._mark = mark
        self._ended = threading.Event()
        self._sampler = threading.Thread(target=self._sample, daemon=True)
        self.peak_mib = self.cpu_s = 0.0

    def __enter__(self) -> Self:
        self._before_s = cpu_s(marked(self._mark))
        self._sampler.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.cpu_s = cpu_s(marked(self._mark)) - self._before_s
        self._ended.set()
        self._sampler.join()

    def _sample(self) -> None:
        ended = False
        while not ended:
            ended = self._ended.wait(_PERIOD_S)
            self.peak_mib = max(self.peak_mib, memory_mib(marked(self._mark)))
