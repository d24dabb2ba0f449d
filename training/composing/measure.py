"""What a bundle costs and must score, measured once its graphs are in the folder and before it is sealed.

Writes `costs.json` and `probe.arrow`, and keeps the native part only where it is worth it and agrees with the graph.
"""

from __future__ import annotations

import logging
import os
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec
import numpy as np

from cluster import probe
from cluster.bundle import COSTS, REST, TREES
from cluster.costs import Costs, Curve, Machine
from cluster.probe import Probe
from cluster.schema import Matrix
from cluster.scorer import TOLERANCE, Graph, Native, worst

logger = logging.getLogger("homeostat.train")
SIZES: Final = (1, 8, 64, 512, 4096)
_BUDGET_S: Final = 0.6
"""A curve; three of them stay under two seconds."""
_REPEATS: Final = (3, 50)
"""Fewest and most calls whose median counts."""
_ONE_ROW_S: Final = 0.05
_ONE_ROW_CALLS: Final = 500
_COMPARED_ROWS: Final = 2000
Scorer = Callable[[Matrix], Matrix]
Clock = Callable[[], float]


def equip(folder: Path, matrix: Matrix, *, clock: Clock = time.perf_counter) -> Costs:
    """Measure the graphs in a bundle's folder; write costs and probe.

    The native part leaves the folder where it never pays, or differs from the graph by more than the tolerance.

    Parameters
    ----------
    folder
        Holds the graphs of student and ensemble, and perhaps the native part.
    matrix
        Encoded rows that no member was fitted on, float32 (n, features).
    clock
        Seconds.

    Raises
    ------
    BundleError
        When one of the graphs cannot be run.
    """
    student, ensemble = Graph(folder / "student.onnx"), Graph(folder / "ensemble.onnx")
    native = Native(folder / TREES, folder / REST) if (folder / REST).exists() else None
    if native is not None and not _agree(native, ensemble, matrix[:_COMPARED_ROWS]):
        native = None
    costs = Costs(
        machine=machine(),
        student=curve(student, matrix, clock=clock),
        ensemble=curve(ensemble, matrix, clock=clock),
        native=curve(native, matrix, clock=clock) if native is not None else None,
    )
    if costs.native_from is None:
        (folder / REST).unlink(missing_ok=True)
    (folder / COSTS).write_bytes(msgspec.json.format(msgspec.json.encode(costs), indent=1))
    rows = matrix[spread(student(matrix))]
    probe.write(folder, Probe(rows, {"student": student(rows), "ensemble": ensemble(rows)}))
    return costs


def one_row_s(scorer: Scorer, matrix: Matrix, *, clock: Clock = time.perf_counter) -> float:
    """Median seconds of scoring one row."""
    return _median(scorer, np.ascontiguousarray(matrix[:1]), clock, _ONE_ROW_S, most=_ONE_ROW_CALLS)


def _agree(native: Scorer, ensemble: Scorer, matrix: Matrix) -> bool:
    row, difference = worst(native(matrix), ensemble(matrix))
    if difference > TOLERANCE:
        logger.warning("native trees are left out: row %d scores %.3g apart from the graph, %g is allowed", row, difference, TOLERANCE)
    return difference <= TOLERANCE


def curve(scorer: Scorer, matrix: Matrix, *, clock: Clock = time.perf_counter, budget_s: float = _BUDGET_S) -> Curve:
    """Median seconds of a call by number of rows; sizes that would burst the budget are left to be prolonged."""
    rows = np.resize(matrix, (SIZES[-1], matrix.shape[1]))
    measured: list[float] = []
    until = clock() + budget_s
    for before, size in zip((0, *SIZES), SIZES, strict=False):
        fewest = 1 + _REPEATS[0]
        if len(measured) >= 2 and clock() + fewest * measured[-1] * size / before > until:
            break
        measured.append(_median(scorer, rows[:size], clock, budget_s / len(SIZES)))
    return Curve(rows=list(SIZES[: len(measured)]), seconds=measured)


def _median(scorer: Scorer, rows: Matrix, clock: Clock, budget_s: float, *, most: int = _REPEATS[1]) -> float:
    scorer(rows)  # the first call allocates
    seconds: list[float] = []
    while len(seconds) < _REPEATS[0] or (len(seconds) < most and sum(seconds) < budget_s):
        start = clock()
        scorer(rows)
        seconds.append(clock() - start)
    return statistics.median(seconds)


def spread(scores: Matrix, *, most: int = probe.ROWS) -> list[int]:
    """Rows from the lowest to the highest score (of several classes: the largest), evenly by rank."""
    order = np.argsort(scores.max(axis=1), kind="stable")
    return [int(i) for i in order[np.unique(np.linspace(0, len(order) - 1, most).astype(int))]]


def machine() -> Machine:
    """The host that measures."""
    cpu = platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return Machine(cores=os.cpu_count() or 1, cpu=models[0] if models else cpu)
