"""The table and the figures of the benchmark of batch scoring."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from benchmarks import batch, report, servers
from benchmarks.batch import Run
from cluster.bundle import Bundle
from cluster.errors import Unavailable
from tests.builders import make_bundle


def test_medians_over_rounds_count() -> None:
    runs = [Run(rows=100, seconds=s, cpu_s=2 * s, start_s=5 + s, peak_mib=10 * s) for s in (1.0, 4.0, 2.0)]
    figures = batch.line_of("predict", "ours", "one core", runs).figures
    assert figures == {"rows/s": 50, "lowest": 25, "highest": 100, "rows/CPU s": 25, "start s": 7, "peak MiB": 20}


def test_one_worker_is_promised_a_share_of_the_limit() -> None:
    lines = [
        batch.line_of("limit", "limit", "one core", [Run(100, 1.0, 1.0, 0, 0)]),
        batch.line_of("ours", "ours", "one core", [Run(100, 1.25, 1.25, 0, 0)]),
    ]
    made = batch.summarize(report.context(quick=True), lines, rows=100, rounds=1, files=1)
    assert [(target.what, target.found, target.is_met) for target in made.targets] == [
        ("rows/s of one worker, of the limit's", 0.8, False),
        ("rows/CPU s of one worker, of the limit's", 0.8, False),
    ]


def test_the_table_is_drawn_once_and_jittered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch, "FILE_ROWS", 100)
    names = (*batch.JITTERED, "carrier")
    pq.write_table(pa.table({name: np.arange(10.0) if name != "carrier" else ["UA"] * 10 for name in names}), tmp_path / "source.parquet")
    batch.write_rows(tmp_path / "rows", tmp_path / "source.parquet", 300)
    paths = sorted((tmp_path / "rows").iterdir())
    before = [path.stat().st_mtime_ns for path in paths]
    batch.write_rows(tmp_path / "rows", tmp_path / "source.parquet", 300)
    assert [path.stat().st_mtime_ns for path in paths] == before
    table = pq.read_table(tmp_path / "rows")
    assert table.num_rows == 300
    assert len(table.column("temp").unique()) == 300


ENDED_EARLY = """
import sys
from benchmarks import batch

code = sys.argv.pop()
batch.prepare_stage = lambda _: batch.carried_out([sys.executable, "-c", code])
batch.main()
"""
STARTS_ANOTHER = """
import os, subprocess, sys, time

subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
print("marked", os.environ["HOMEOSTAT_BENCHMARK"], file=sys.stderr, flush=True)
time.sleep(600)
"""


def test_what_was_started_ends_with_the_benchmark() -> None:
    command = [sys.executable, "-c", ENDED_EARLY, "--quick", STARTS_ANOTHER]
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True) as process:
        assert process.stderr is not None
        mark = next(f"HOMEOSTAT_BENCHMARK={line.split()[1]}" for line in process.stderr if line.startswith("marked"))
        assert len(servers.marked(mark)) == 2
        process.terminate()
        assert process.wait(120) == 143
    assert servers.marked(mark) == []


def test_a_command_that_fails_is_named_and_one_that_ends_well_is_metered() -> None:
    with pytest.raises(Unavailable, match=r"-c exit\(3\)' failed"):
        batch.carried_out([sys.executable, "-c", "exit(3)"])
    assert batch.carried_out([sys.executable, "-c", "pass"]) >= 0


def test_the_limit_scores_every_row(tmp_path: Path) -> None:
    make_bundle(tmp_path / "bundle")
    (tmp_path / "rows").mkdir()
    for i in range(2):
        pq.write_table(pa.table({"miles": [1.0] * 50, "wind": [2.0] * 50, "carrier": ["UA"] * 50}), tmp_path / "rows" / f"{i}.parquet")
    for encode in (True, False):
        run = batch.in_memory(Bundle(tmp_path / "bundle"), tmp_path / "rows", encode=encode)
        assert run.rows == 100
        assert run.seconds > 0
