"""What fitting costs: seconds and memory of our ways to fit boosted trees, beside XGBoost called directly.

- The flights table ten times over (with jitter), its rows in memory: plain XGBoost, our members in one process, and Ray Train
  with one and with two workers. All have the same cores together, and grow the same number of trees on four fifths of the rows and on
  all rows. Plain XGBoost validates in the first fit; ours finds how many trees are enough in a fit before, on 64 % of the rows.
- A table of 20 million rows in Parquet, read as a stream. What is promised is its memory.

Seconds count from the first line of a process to its last tree, imports and the start of Ray included; memory is the sum of the
proportional set sizes of all its processes, Ray's included, at its highest second.

python -m benchmarks.training [--quick] [--only memory|stream]
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks import report
from benchmarks.fits import SEED
from benchmarks.report import Line, Report, Role, Target, console
from benchmarks.servers import marked
from benchmarks.usage import Meter
from cluster.encoder import Encoder
from cluster.environment import prepare
from cluster.errors import HomeostatError
from cluster.freeze import freeze
from cluster.schema import encode_labels
from cluster.settings import load
from training.data import flights, frame

WORK: Final = report.FOLDER / "training"
COMPARED: Final = "rows/s"
SECONDS: Final = "seconds"
PEAK: Final = "peak MiB"
MOST_MIB: Final = 6 * 1024
MOST_OVERHEAD_S: Final = 5.0
NUMBERS: Final = 18
CATEGORIES: Final = 2
FILE_ROWS: Final = 1_000_000
GROUP_ROWS: Final = 250_000


class Size(NamedTuple):
    """How much is fitted."""

    flights: int
    """Rows made of the flights table."""
    streamed: int
    """Rows of the table that is read as a stream."""
    rounds: int
    """Trees a fit."""


class Contender(NamedTuple):
    """One way to fit."""

    who: str
    role: Role
    case: str
    """As `benchmarks.fits` names it."""


IN_MEMORY: Final = (
    Contender("plain XGBoost", "limit", "plain"),
    Contender("one process", "ours", "one process"),
    Contender("Ray Train, 1 worker", "variant", "one worker"),
    Contender("Ray Train, 2 workers", "variant", "two workers"),
    Contender("one process, all members", "variant", "all members"),
)
STREAMED: Final = (
    Contender("stream, 2 workers", "ours", "stream, two workers"),
    Contender("stream, 1 worker", "variant", "stream, one worker"),
)


def write_flights(work: Path, rows: int) -> None:
    """The flights table encoded, its rows repeated with jitter in the numbers: X.npy, y.npy and the frozen schema."""
    columns = load("configs/flights.yaml").columns
    whole = frame.from_table(pq.read_table(flights.ensure(Path("var/data"))), columns)
    schema = freeze(columns, whole)
    X, y = Encoder(schema).table(whole), encode_labels(schema.label, whole.column(schema.label.name))
    at = np.arange(rows) * len(y) // rows  # in order of time
    numbers = np.array([f.type == "number" for f in schema.features])
    jitter = np.random.default_rng(SEED).standard_normal((rows, len(numbers)), dtype=np.float32)
    np.save(work / "X.npy", X[at] * (1 + 1e-3 * jitter * numbers))
    np.save(work / "y.npy", y[at])
    (work / "schema.json").write_text(schema.model_dump_json())


def write_table(work: Path, rows: int) -> None:
    """A folder of Parquet files in order of time, made file by file, and its open schema."""
    (work / "table").mkdir(parents=True)
    rng = np.random.default_rng(SEED)
    for start in range(0, rows, FILE_ROWS):
        count = min(FILE_ROWS, rows - start)
        numbers, codes = rng.standard_normal((NUMBERS, count)), rng.integers(0, 30, (CATEGORIES, count))
        logit = numbers[0] + numbers[1] * numbers[2] + 0.05 * codes[0] - 1.5
        columns = {f"n{j:02d}": pa.array(values) for j, values in enumerate(numbers)}
        columns |= {f"c{j:02d}": pa.DictionaryArray.from_arrays(values, [f"k{i}" for i in range(30)]) for j, values in enumerate(codes)}
        columns |= {"at": pa.array(1e9 + np.arange(start, start + count)), "late": pa.array(rng.random(count) < 1 / (1 + np.exp(-logit)))}
        pq.write_table(pa.table(columns), work / "table" / f"{start // FILE_ROWS:04d}.parquet", row_group_size=GROUP_ROWS)
    features = [{"name": f"n{j:02d}", "type": "number"} for j in range(NUMBERS)]
    features += [{"name": f"c{j:02d}", "type": "category"} for j in range(CATEGORIES)]
    (work / "schema.json").write_text(json.dumps({"features": features, "label": {"name": "late"}, "time": "at"}))


def measure(contender: Contender, work: Path, *, case: str, rounds: int) -> Line:
    """Run one way to fit in a process of its own.

    Raises
    ------
    HomeostatError
        With the end of its output, when it fails.
    """
    mark = f"HOMEOSTAT_BENCHMARK={uuid.uuid4().hex}"
    command = [sys.executable, "-m", "benchmarks.fits", contender.case, str(work.resolve()), str(rounds)]
    environment = {k: v for k, v in os.environ.items() if k != "RAY_ADDRESS"} | dict([mark.split("=")])
    try:
        with console.status(f"{case}: {contender.who}"), Meter(mark) as meter:
            made = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    finally:
        for pid in marked(mark):
            os.kill(pid, signal.SIGKILL)
    if made.returncode:
        raise HomeostatError(f"{contender.who} failed: {' | '.join(made.stderr.strip().splitlines()[-4:])}")
    found = json.loads(made.stdout.strip().splitlines()[-1])
    figures = {
        SECONDS: found["seconds"],
        COMPARED: found["rows"] / found["seconds"],
        PEAK: meter.peak_mib,
        "log loss": found["log loss"],
    }
    return Line(who=contender.who, role=contender.role, case=case, figures=figures)


def targets(lines: Sequence[Line]) -> list[Target]:
    """What issue 4 promises."""
    by_who = {line.who: line.figures for line in lines}
    plain, ours, streamed = (by_who.get(who) for who in ("plain XGBoost", "one process", "stream, 2 workers"))
    overhead = None if plain is None or ours is None else ours[SECONDS] - plain[SECONDS]
    return [
        Target(what="one process, seconds more than plain XGBoost", bound="at most", wanted=MOST_OVERHEAD_S, found=overhead),
        Target(what="stream, 2 workers, peak MiB", bound="at most", wanted=MOST_MIB, found=None if streamed is None else streamed[PEAK]),
    ]


def compare(size: Size, *, quick: bool, only: str | None = None) -> Report:
    """Measure all, one after the other; what was generated is removed. A fit that fails is told among what was not measured.

    Parameters
    ----------
    only
        `memory` or `stream`: measure the one or the other.

    Raises
    ------
    HomeostatError
        When the data cannot be had.
    """
    made, lines, failed = report.context(quick=quick), list[Line](), dict[str, str]()
    in_memory = [contender for contender in IN_MEMORY if not quick or contender.case != "all members"]
    for part, write, rows, contenders, name in (
        ("memory", write_flights, size.flights, in_memory, f"{size.flights:,} flights in memory"),
        ("stream", write_table, size.streamed, STREAMED, f"{size.streamed:,} rows in Parquet"),
    ):
        if only not in (None, part):
            continue
        shutil.rmtree(WORK, ignore_errors=True)
        WORK.mkdir(parents=True)
        try:
            write(WORK, rows)
            for contender in contenders:
                try:
                    lines.append(measure(contender, WORK, case=name, rounds=size.rounds))
                except HomeostatError as error:
                    failed[contender.who] = str(error)
        finally:
            shutil.rmtree(WORK, ignore_errors=True)
    return Report(
        name="training",
        context=made,
        setup={f"{name}_rows" if name != "rounds" else name: value for name, value in size._asdict().items()},
        lines=lines,
        compared=COMPARED,
        ratios=report.ratios(lines, of=COMPARED),
        targets=targets(lines),
        not_measured=failed,
    )


def main() -> int:
    """Run and report; exit code 0, or 1 with a named error."""
    prepare()
    parser = report.arguments("Seconds and memory of a fit, beside plain XGBoost.")
    parser.add_argument("--only", choices=("memory", "stream"), help="measure only the rows in memory, or only the stream")
    options = parser.parse_args()
    size = Size(300_000, 1_000_000, 50) if options.quick else Size(3_273_460, 20_000_000, 50)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was started is ended
    try:
        found = compare(size, quick=options.quick, only=options.only)
    except HomeostatError as error:
        console.print(f"{type(error).__name__}: {error}", soft_wrap=True, markup=False)
        return 1
    report.publish(found, title=f"{size.rounds} trees a fit, and all fits that a version takes")
    return 1 if found.not_measured else 0


if __name__ == "__main__":
    sys.exit(main())
