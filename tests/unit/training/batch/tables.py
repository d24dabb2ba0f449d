"""A table of flights for batch jobs, as files, and the job over them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from cluster.bundle import Bundle
from cluster.records import Pointer
from tests.builders import make_bundle
from training.batch.job import UnitScorer, Work, plan, run
from training.batch.outputs import Done, Job, Summary
from training.batch.units import Unit


def flights(rows: int, *, seed: int = 0) -> pa.Table:
    """Miles, wind, carrier, and an id; every tenth wind is missing, every tenth carrier unknown."""
    rng = np.random.default_rng(seed)
    wind = [None if i % 10 == 0 else float(v) for i, v in enumerate(rng.normal(size=rows))]
    carrier = ["ZZ" if i % 10 == 5 else ["UA", "B6", "9E"][v] for i, v in enumerate(rng.integers(0, 3, rows))]
    return pa.table({"id": np.arange(rows), "miles": rng.integers(0, 3000, rows), "wind": pa.array(wind, pa.float64()), "carrier": carrier})


def write_folder(folder: Path, *, files: int = 3, rows: int = 40, group: int = 16) -> pa.Table:
    """A folder of Parquet files with several row groups each; returns all rows."""
    folder.mkdir(parents=True, exist_ok=True)
    table = flights(files * rows)
    for i in range(files):
        pq.write_table(table.slice(i * rows, rows), folder / f"{i}.parquet", row_group_size=group)
    return table


def counting_clock() -> Callable[[], float]:
    """A second a look."""
    ticks = iter(range(10**9))
    return lambda: float(next(ticks))


class Stage:
    """A bundle, and jobs over it in this process."""

    def __init__(self, root: Path, **bundle: Any) -> None:
        self.root, self.folder = root, root / "bundle"
        self.digest = make_bundle(self.folder, **bundle)
        self.pointer = Pointer(version="3", uri=str(self.folder), digest=self.digest)
        self.bundle = Bundle(self.folder, version="3", digest=self.digest)

    def plan(self, source: Path, *, keep: Sequence[str] = (), explain: bool = False) -> Job:
        return plan(self.bundle, self.digest, str(source), keep=keep, explain=explain)

    def scorer(self, job: Job, target: Path) -> UnitScorer:
        work = Work(bundle=self.pointer, output=str(target), cache=str(self.root / "cache"))
        return UnitScorer(job, work, clock=counting_clock(), cpu_clock=counting_clock(), bundle=self.bundle)

    def run(self, job: Job, target: Path, execute: Callable[[Sequence[Unit]], Iterator[Done]] | None = None) -> Summary:
        return run(
            job, str(target), execute or partial(map, self.scorer(job, target)), began=0.0, clock=counting_clock(), tell=lambda _: None
        )


def read(folder: Path) -> pa.Table:
    """A written table in order of its source."""
    return pq.read_table(folder).sort_by([("source_file", "ascending"), ("source_row", "ascending")])
