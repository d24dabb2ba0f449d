"""Rows a second of `homeostat predict`, beside what one core can do without reading, checking or writing anything.

- The limit: blocks of rows that are in memory as Arrow, encoded by `Encoder.table` and scored by `Bundle.answer`, on one
  thread; reading the files is not in its time.
- The same without encoding, as a variant.
- `homeostat predict` with one worker on Ray, alone in its process, and with a worker a core.

All score the same flights, drawn with repetition and jittered, in a folder of many Parquet files, with the same bundle. What
starting costs stands apart: rates are from the first unit's begin to the last one's end.

python -m benchmarks.batch [--quick]
"""

from __future__ import annotations

import os
import shutil
import signal
import statistics
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks import report
from benchmarks.report import Line, Report, Role, Target, console
from benchmarks.servers import end
from benchmarks.stage import HOMEOSTAT, Stage, prepare_stage
from benchmarks.usage import Meter
from cluster.bundle import Bundle
from cluster.errors import Unavailable
from training.batch.outputs import Summary
from training.batch.scoring import batch_rows
from training.data import datasets

ROWS: Final = 10_000_000
QUICK_ROWS: Final = 1_000_000
FILE_ROWS: Final = 250_000
GROUP_ROWS: Final = 1 << 17
WANTED: Final = 0.85
COMPARED: Final = "rows/s"
SEED: Final = 20261125
JITTERED: Final = ("temp", "dewp", "humid", "wind_speed", "pressure")
"""So that their values are as many as rows, and no dictionary makes them cheap to read."""


class Run(NamedTuple):
    """What one run showed."""

    rows: int
    seconds: float
    cpu_s: float
    start_s: float
    peak_mib: float


def write_rows(folder: Path, source: Path, rows: int) -> None:
    """A folder of flights, made once."""
    if len(list(folder.glob("*.parquet"))) == rows // FILE_ROWS:
        return
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    table, rng = pq.read_table(source), np.random.default_rng(SEED)
    for number in range(rows // FILE_ROWS):
        drawn = table.take(rng.integers(0, table.num_rows, FILE_ROWS))
        for name in JITTERED:
            values = drawn.column(name).to_numpy() + rng.normal(size=FILE_ROWS) / 4
            drawn = drawn.set_column(drawn.column_names.index(name), name, pa.array(values, from_pandas=True))
        pq.write_table(drawn, folder / f"{number:04d}.parquet", row_group_size=GROUP_ROWS)


def in_memory(bundle: Bundle, folder: Path, *, encode: bool) -> Run:
    """The limit, on this thread: a file at a time is in memory before the clock runs."""
    size, rows, seconds, cpu_s = batch_rows(len(bundle.schema.features)), 0, 0.0, 0.0
    for path in sorted(folder.glob("*.parquet")):
        table = pq.read_table(path, columns=list(bundle.schema.names))
        blocks = [table.slice(first, size) for first in range(0, table.num_rows, size)]
        matrices = None if encode else [bundle.encoder.table(block) for block in blocks]
        began, cpu_began = time.perf_counter(), time.thread_time()
        for matrix in matrices or map(bundle.encoder.table, blocks):
            bundle.answer(matrix)
        seconds += time.perf_counter() - began
        cpu_s += time.thread_time() - cpu_began
        rows += table.num_rows
    return Run(rows, seconds, cpu_s, 0.0, 0.0)


def predicted(stage: Stage, folder: Path, output: Path, *, workers: int) -> Run:
    """`homeostat predict`, whole."""
    shutil.rmtree(output, ignore_errors=True)
    command = [HOMEOSTAT, "predict", str(stage.config), "--input", str(folder), "--output", str(output), "--workers", str(workers)]
    peak_mib = carried_out(command)
    summary = msgspec.json.decode((output / "summary.json").read_bytes(), type=Summary)
    return Run(summary.rows, summary.scoring_seconds, summary.cpu_seconds, summary.seconds - summary.scoring_seconds, peak_mib)


def carried_out(command: Sequence[str]) -> float:
    """Run a command to its end; returns its peak of memory in MiB. Nothing of it is left, also when we are ended before it is.

    Raises
    ------
    Unavailable
        When it fails.
    """
    mark = f"HOMEOSTAT_BENCHMARK={uuid.uuid4().hex}"
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"} | dict([mark.split("=")])
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
    try:
        with Meter(mark) as meter:
            code = process.wait()
    finally:
        end(process, mark)
    if code:
        raise Unavailable(f"'{' '.join(command)}' failed; its message is above")
    return meter.peak_mib


def contenders(stage: Stage, folder: Path, bundle: Bundle) -> dict[tuple[str, Role, str], Callable[[], Run]]:
    """Who is measured, in this order, in each round."""
    output, cores = folder.parent / "output", os.cpu_count() or 1
    found: dict[tuple[str, Role, str], Callable[[], Run]] = {
        ("encode + answer, in memory", "limit", "one core"): lambda: in_memory(bundle, folder, encode=True),
        ("predict, a worker on Ray", "ours", "one core"): lambda: predicted(stage, folder, output, workers=1),
        ("predict, one process", "variant", "one core"): lambda: predicted(stage, folder, output, workers=0),
        ("answer alone, in memory", "variant", "one core"): lambda: in_memory(bundle, folder, encode=False),
    }
    if cores > 1:
        found["predict, a worker a core", "ours", f"{cores} cores"] = lambda: predicted(stage, folder, output, workers=cores)
    return found


def line_of(who: str, role: Role, case: str, runs: Sequence[Run]) -> Line:
    """The medians of several runs."""

    def median(of: Iterator[float]) -> float:
        return round(statistics.median(of), 3)

    figures = {
        COMPARED: median(run.rows / run.seconds for run in runs),
        "lowest": min(run.rows / run.seconds for run in runs),
        "highest": max(run.rows / run.seconds for run in runs),
        "rows/CPU s": median(run.rows / run.cpu_s for run in runs),
        "start s": median(run.start_s for run in runs),
        "peak MiB": median(run.peak_mib for run in runs),
    }
    return Line(who=who, role=role, case=case, figures=figures)


def main() -> None:
    parser = report.arguments("rows a second of `homeostat predict`, beside what one core can do")
    parser.add_argument("--rounds", type=int, default=3, help="how often the whole circle is measured; medians count")
    parser.add_argument("--rows", type=int, help="rows of the table, a multiple of 250,000")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was started is ended
    rounds, rows = (1, QUICK_ROWS) if options.quick else (options.rounds, ROWS)
    rows = options.rows or rows
    made = report.context(quick=options.quick)
    root = report.FOLDER / "batch"
    stage = prepare_stage(root)
    folder = root / f"rows-{rows}"
    write_rows(folder, Path(datasets.locate(stage.settings.data.source, cache=root / "data")), rows)
    pa.set_cpu_count(1)
    bundle = Bundle(stage.bundle)
    found = contenders(stage, folder, bundle)
    runs: dict[tuple[str, Role, str], list[Run]] = {name: [] for name in found}
    for number in range(rounds):
        for name, measure in found.items():
            console.print(f"round {number + 1} of {rounds}: {name[0]}, {name[2]}")
            runs[name].append(measure())
    lines = [line_of(*name, those) for name, those in runs.items()]
    report.publish(summarize(made, lines, rows=rows, rounds=rounds, files=rows // FILE_ROWS), title="batch scoring")


def summarize(made: report.Context, lines: list[Line], *, rows: int, rounds: int, files: int) -> Report:
    """The report, with what was promised: of one core, by the clock and by the core's own time."""
    limit, ours = (next(line for line in lines if (line.role, line.case) == (role, "one core")) for role in ("limit", "ours"))
    targets = [
        Target(what=f"{key} of one worker, of the limit's", bound="at least", wanted=WANTED, found=ours.figures[key] / limit.figures[key])
        for key in (COMPARED, "rows/CPU s")
    ]
    return Report(
        name="batch",
        context=made,
        setup={"rows": rows, "files": files, "rounds": rounds},
        lines=lines,
        compared=COMPARED,
        ratios=report.ratios(lines, of=COMPARED),
        targets=targets,
    )


if __name__ == "__main__":
    main()
