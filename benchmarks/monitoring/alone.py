"""Each contender of the path by itself: in a process of its own, on one core, with one thread; and what they cost, as lines."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec

from benchmarks import environments
from benchmarks.monitoring import watched
from benchmarks.monitoring.path import Cost
from benchmarks.report import Line, Role, Target
from cluster.errors import Unavailable

ENTRY_ROWS: Final = (1, 50, 500, 10_000)
"""Rows of a request; 10,000 are the most that `serving.max_rows` allows by default: a whole table."""
COMPARED: Final = "rows/CPU s"
WANTED: Final = 500_000.0
ONE_THREAD: Final = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
WHO: Final[dict[str, tuple[str, Role]]] = {
    "live": ("the monitor, while rows come", "ours"),
    "backlog": ("the monitor, a backlog at once", "variant"),
    "reading": ("reading and checking the chain", "variant"),
    "encoding": ("the same, and encoding the rows", "variant"),
    "encoded": ("sketches and test of encoded rows", "limit"),
    "evidently": ("Evidently's drift preset", "peer"),
}
"""In the order of the table."""
_TIMEOUT_S: Final = 3600


def run(command: Sequence[str]) -> bytes:
    """What a process prints that has one core and one thread.

    Raises
    ------
    Unavailable
        With the end of its message, when it fails.
    """
    core = min(os.sched_getaffinity(0))
    ended = subprocess.run(
        list(command),
        env=os.environ | ONE_THREAD,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=_TIMEOUT_S,
        check=False,
        preexec_fn=lambda: os.sched_setaffinity(0, {core}),
    )
    if ended.returncode:
        raise Unavailable(
            f"'{' '.join(command[:3])}' failed: {' | '.join(ended.stderr.decode(errors='replace').strip().splitlines()[-3:])}"
        )
    return ended.stdout


def ours(folder: Path, bundle: Path, entry_rows: int) -> dict[str, Cost]:
    """The ways of `benchmarks.monitoring.path`."""
    command = [sys.executable, "-m", "benchmarks.monitoring.path", str(folder), str(bundle), str(entry_rows)]
    return msgspec.json.decode(run(command), type=dict[str, Cost])


def evidently(folder: Path, categories: Sequence[str]) -> Cost:
    """The same rows, a report a window.

    Raises
    ------
    Unavailable
        When its environment cannot be made, or it fails.
    """
    files = [str(folder / name) for name in ("reference.parquet", "rows.parquet")]
    command = [environments.python("drift"), "-m", "benchmarks.peers.drift_evidently_files", *files, str(watched.WINDOWS), *categories]
    return msgspec.json.decode(run(command).splitlines()[-1], type=Cost)


def summarize(costs: Sequence[Cost]) -> dict[str, float]:
    """Median rate over rounds and its spread; what a million rows take; what judging a window takes, where that is known apart."""
    rates = [cost.rows / cost.cpu_s for cost in costs]
    judging = [1e3 * cost.judging_s / cost.judged for cost in costs if cost.judging_s]
    return {
        COMPARED: statistics.median(rates),
        "low": min(rates),
        "high": max(rates),
        "CPU s/million rows": 1e6 / statistics.median(rates),
        "ms/window judged": statistics.median(judging) if judging else 0.0,
    }


def lines_of(found: Mapping[int, Mapping[str, Sequence[Cost]]], peer: Sequence[Cost]) -> list[Line]:
    """A line a way and size of request; the peer, who reads no journal, has the same figures beside each size."""
    made = []
    for entry_rows, ways in found.items():
        everyone = dict(ways) | ({"evidently": peer} if peer else {})
        for way, (who, role) in WHO.items():
            if way in everyone:
                made.append(Line(who=who, role=role, case=case_of(entry_rows), figures=summarize(everyone[way])))
    return made


def case_of(entry_rows: int) -> str:
    """How a size of request is called."""
    return f"{entry_rows:,} row{'s' * (entry_rows > 1)} a request"


def targets(lines: Sequence[Line]) -> list[Target]:
    """What issue 5 promises of rows a second and core; and the same of rows that are encoded already, the slowest run of all."""
    rates = {(line.case, line.role): line.figures[COMPARED] for line in lines}
    found = [
        Target(what=f"{case}: rows/CPU s", bound="at least", wanted=WANTED, found=rate)
        for (case, role), rate in rates.items()
        if role == "ours"
    ]
    limits = [rate for (_, role), rate in rates.items() if role == "limit"]
    return [*found, Target(what="encoded rows: rows/CPU s", bound="at least", wanted=WANTED, found=min(limits, default=None))]
