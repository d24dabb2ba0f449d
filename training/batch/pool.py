"""Spreads the units of a batch job over the workers of a Ray cluster, by Ray Data (a shell).

A data set of units flows through a pool of workers that each hold the bundle. A worker that dies is replaced, and its unit
scored again: a unit's parts appear whole or not at all, so nothing is lost and nothing doubled.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from typing import Any, Final

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import ray.data

from cluster.errors import HomeostatError
from training.batch.job import UnitScorer, Work
from training.batch.outputs import Done, Job
from training.batch.units import Unit

_MOST_BLOCKS: Final = 2000
"""Units beyond these travel several together; a block is what Ray Data hands out."""

Batch = dict[str, npt.NDArray[Any]]


class UnitWorker:
    """A worker of the pool."""

    def __init__(self, job: bytes, work: bytes) -> None:
        pa.set_cpu_count(1)  # a worker is one core
        self._score = UnitScorer(
            msgspec.msgpack.decode(job, type=Job), msgspec.msgpack.decode(work, type=Work), clock=time.time, cpu_clock=time.process_time
        )

    def __call__(self, batch: Batch) -> Batch:
        """One unit in, one record out. An error of ours is an answer: Ray would wrap it, and write a traceback for it."""
        try:
            done: Done | HomeostatError = self._score(msgspec.msgpack.decode(batch["unit"][0], type=Unit))
        except HomeostatError as error:
            done = error
        answer = np.empty(1, dtype=object)
        answer[0] = done if isinstance(done, HomeostatError) else msgspec.msgpack.encode(done)
        return {"done": answer}


def score(job: Job, work: Work, units: Sequence[Unit], *, workers: int) -> Iterator[Done]:
    """Score units by so many workers; Ray must be running.

    Raises
    ------
    HomeostatError
        What a worker raised first; units that are done stay done.
    """
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)  # it warns that it shows no bar
    items = [{"unit": msgspec.msgpack.encode(unit)} for unit in units]
    found = ray.data.from_items(items, override_num_blocks=min(len(items), _MOST_BLOCKS)).map_batches(
        UnitWorker,
        fn_constructor_args=(msgspec.msgpack.encode(msgspec.structs.replace(job, units=[])), msgspec.msgpack.encode(work)),
        batch_size=1,
        compute=ray.data.ActorPoolStrategy(size=min(workers, len(items))),
        num_cpus=1,
    )
    for row in found.iter_rows():
        done = row["done"]
        if isinstance(done, HomeostatError):
            raise done
        yield msgspec.msgpack.decode(done, type=Done)


def cluster_cpus() -> int:
    """CPUs of the whole cluster."""
    return max(1, int(ray.cluster_resources().get("CPU", 1)))
