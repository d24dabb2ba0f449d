"""What Ray's tasks do with a piece of a large table: look at it, pick rows, encode rows. Pure, and light to import.

A job is a mapping that says what is to be done; the answers are tables. An error is an answer too: raised in a task, it
would arrive wrapped in Ray's own and without its type.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from cluster.encoder import Encoder
from cluster.errors import HomeostatError
from cluster.schema import FeatureSchema, encode_labels
from training.data import frame
from training.workers import summary
from training.workers.pieces import Bounds, Piece, frames
from training.workers.roles import TRAIN, TUNE

Job = Mapping[str, Any]
Answer = dict[str, Any]
"""Columns of equal length."""
Work = Callable[[Job], Iterator[Answer]]


@dataclass(frozen=True)
class Table:
    """What is read: pieces, by which schema, between which times."""

    pieces: list[Piece]
    schema: FeatureSchema
    """Need not be frozen."""
    bounds: Bounds
    group: str | None
    """A column beside those of the schema, whose groups belong together."""

    def frames(self, piece: int) -> Iterator[pa.Table]:
        """A piece as training frames, in order."""
        return frames(self.pieces[piece], self.schema, self.bounds, group=self.group)


def answer(work: Work, jobs: pa.Table) -> Iterator[Answer]:
    """The answers to some jobs, with the column `error`: empty, or what was wrong."""
    for job in jobs.to_pylist():
        try:
            for made in work(job):
                yield made | {"error": [""] * len(next(iter(made.values())))}
        except HomeostatError as error:
            yield {"error": [str(error)]}
    pa.default_memory_pool().release_unused()


def look(table: Table, seed: int, job: Job) -> Iterator[Answer]:
    """The summary of the job's `piece`."""
    number = job["piece"]
    made = summary.summarize(table.frames(number), table.schema, group=table.group, seed=seed, first=number << 40)
    yield {"piece": [number], "summary": [summary.encode(made)]}


def pick(table: Table, job: Job) -> Iterator[Answer]:
    """The rows at the positions `rows` (int64 bytes, rising) of the job's `piece`, by their `roles`: each role's as a frame in Arrow IPC."""
    wanted, roles = np.frombuffer(job["rows"], dtype="<i8"), np.frombuffer(job["roles"], dtype=np.uint8)
    parts: dict[int, list[pa.Table]] = {role: [] for role in np.unique(roles).tolist()}
    start = 0
    for some in table.frames(job["piece"]):
        first, last = np.searchsorted(wanted, [start, start + some.num_rows])
        for role, picked in parts.items():
            picked.append(some.take(pa.array((wanted[first:last] - start)[roles[first:last] == role])))
        start += some.num_rows
    for role, picked in parts.items():
        yield {"role": [role], "piece": [job["piece"]], "frame": [_pack(frame.join(*picked))]}


def encode(table: Table, schema: FeatureSchema, job: Job) -> Iterator[Answer]:
    """The rows [`start`, `stop`) of the job's `piece` that train or validate, encoded, each with its `slot` in the worker's file.

    `roles` are theirs, as bytes; `train_at` and `tune_at` are the slots of the first row of either kind.
    """
    encoder, part, start = Encoder(schema), np.frombuffer(job["roles"], dtype=np.uint8), 0
    first, until = job["start"], job["stop"]
    at = {TRAIN: job["train_at"], TUNE: job["tune_at"]}
    for some in table.frames(job["piece"]):
        low, high = max(first, start), min(until, start + some.num_rows)
        if low < high:
            here, mine = some.slice(low - start, high - low), part[low - first : high - first]
            X, y = encoder.table(here), encode_labels(schema.label, here.column(schema.label.name))
            for role in (TRAIN, TUNE):
                chosen = mine == role
                count = int(chosen.sum())
                if count:
                    yield {"slot": np.arange(at[role], at[role] + count), "X": X[chosen], "y": y[chosen]}
                    at[role] += count
        start += some.num_rows
        if start >= until:
            return


def _pack(made: pa.Table) -> bytes:
    """A frame in Arrow IPC."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, made.schema) as writer:
        writer.write_table(made)
    return bytes(sink.getvalue())
