"""`homeostat report --evidently` with the real package, which wants other versions than ours: in an environment of its own."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Final

import msgspec
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import yaml
from pyarrow import parquet

from cluster import bundle, storage
from cluster.journal import Writer
from cluster.records import Pointer, Pointers
from tests.conformance import environments
from tests.unit.monitoring import world
from tests.unit.monitoring.world import Stream

ROOT: Final = Path(__file__).parents[2]
COMMAND: Final = """
import argparse, sys
sys.path[0] = sys.argv.pop(1)
sys.path.append(sys.argv.pop(1))  # after the environment's own: only what it lacks comes from ours
from monitoring.dashboard.report_command import add
parser = argparse.ArgumentParser()
add(parser.add_subparsers())
arguments = parser.parse_args(sys.argv[1:])
sys.exit(arguments.run(arguments))
"""


def kept(stream: Stream, days: int) -> pa.Table:
    """The snapshot of a training run."""
    rows = stream.day < days
    categories = np.array(world.SCHEMA.features[2].categories)
    carriers = categories[stream.X[rows, 2].astype(int)].tolist()
    return pa.table({"miles": stream.X[rows, 0].astype(float), "wind": stream.X[rows, 1].astype(float), "carrier": carriers})


@pytest.mark.timeout(900)  # the environment is made once
def test_evidently_reports_the_rows_of_a_span_beside_those_of_training(tmp_path: Path) -> None:
    stream, chosen = Stream(np.random.default_rng(11), 36), world.settings(tmp_path / "var")
    sink = pa.BufferOutputStream()
    parquet.write_table(kept(stream, 30), sink)
    storage.write_atomic(f"{chosen.places.snapshots('trips')}/abc.parquet", sink.getvalue().to_pybytes())
    folder = tmp_path / "bundle"
    world.seal(folder, world.profile_of(stream, 30))
    (folder / "lineage.json").write_text('{"data_sha256": "abc", "rows": 1}')
    pointer = Pointer(version="1", uri=str(folder), digest=bundle.seal(folder, model="trips", created="2026-01-01T00:00:00Z"))
    storage.write_atomic(chosen.places.pointers("trips"), msgspec.json.encode(Pointers(model="trips", champion=pointer)))
    world.journal(Writer(chosen.places.journal("trips"), clock_ns=lambda: 10**18), stream, range(30, 36))
    config, out = tmp_path / "trips.yaml", tmp_path / "drift.html"
    config.write_text(yaml.safe_dump(chosen.dump()))

    command = [environments.python("evidently"), "-c", COMMAND, str(ROOT), str(Path(pd.__file__).parents[1])]
    command += ["report", str(config), "--output", str(tmp_path / "report.html"), "--evidently", str(out)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    page = out.read_text()
    assert all(name in page for name in ("miles", "wind", "carrier"))
    assert "Well" in (tmp_path / "report.html").read_text() or "Cannot tell" in (tmp_path / "report.html").read_text()
