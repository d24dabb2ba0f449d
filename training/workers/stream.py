"""A table larger than memory, trained on without ever being in one process (a shell over Ray Data).

Three looks at the pieces (`training.workers.pieces`), each a stream: the first counts, which closes the schema and parts the rows; the
second brings samples to the driver; the third, one stream a worker, encodes the worker's rows into its memory-mapped file,
on which `training.workers.group` fits. The driver holds times and samples, and never the table.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import ray.data
from ray.data import TaskPoolStrategy

from cluster.encoder import Encoder
from cluster.errors import DataError, NotEnoughData
from cluster.freeze import close
from cluster.schema import FeatureSchema, Floats, encode_labels
from cluster.settings import Settings
from cluster.training_settings import Training
from training.data import frame
from training.data.split import stopping_fold
from training.fitting import Cuts, Fits, Fold
from training.members import Crew, Member, Rows
from training.workers import group, mapped, piecework, roles, steps, summary
from training.workers.group import Filled
from training.workers.pieces import bounds_of, pieces_of
from training.workers.piecework import Table, Work
from training.workers.roles import HELD, TRAIN, TUNE, Roles

SAMPLE_ROWS: Final = 200_000
"""Most rows of each sample that comes back to the driver."""
_STORE_BYTES: Final = 256 << 20
"""Ray's object store that one stream may fill."""
_BLOCK_BYTES: Final = 16 << 20


class Sample(NamedTuple):
    """Some rows of a part, evenly spread over it, in order of time."""

    frame: pa.Table
    """As a training frame, protected columns included."""
    rows: Rows
    """The same rows, encoded."""

    @property
    def times(self) -> Floats | None:
        """Seconds since 1970, float64 of shape (n,); None when the table has no time."""
        return self.frame.column(frame.TIME).to_numpy() if frame.TIME in self.frame.column_names else None


class Streamed(NamedTuple):
    """What became of a table that was read as a stream."""

    schema: FeatureSchema
    """Frozen."""
    sample: Sample
    """Of the rows before those that validate."""
    tune: Sample
    """Of the rows that validate: blend, calibration and student are chosen on these."""
    held: Sample
    """Of the rows that nothing was fitted on or chosen by."""
    fits: Fits
    """One fold, and the final models."""
    counts: dict[str, int]
    """Rows of the whole table by part: train, tune, held_out."""
    since: float | None
    """Time of the first row."""
    until: float | None
    """Time of the last row."""
    data_sha256: str
    """Of the rows' columns and values, in order, by row groups (`training.workers.summary`)."""


Build = Callable[[FeatureSchema, Rows], Sequence[Member]]
"""The members over a frozen schema, given a sample of the training rows."""


def fit_stream(settings: Settings, build: Build, storage_path: str, *, run: str, held_share: float = 0.3) -> Streamed:
    """Fit every member on a Parquet source of any size. Ray must be running.

    The latest `training.validation_share` of the rows validates, and `held_share` of those is held out, as in
    `training.data.split`; without a time, rows or groups are drawn by their hashes. There is one fold, whatever `training.folds` says, and
    each worker's last training rows stop its fits: the latest ones where the pieces are in order of time.

    Parameters
    ----------
    build
        Makes the members once the schema is frozen; it may search for their settings on the sample.
    storage_path, run
        As for `training.workers.distributed.fit_members`.

    Raises
    ------
    DataError
        Naming file and row group, where the table does not fit the schema.
    NotEnoughData
        When a part or a worker would be left without rows.
    Unavailable, HomeostatError
        As `training.workers.group.fit_group`.
    """
    training = settings.training
    plan = _plan(settings, held_share)
    members = build(plan.fill.schema, plan.samples[TRAIN].rows)
    name = steps.fingerprint(None, [plan.data_sha256, repr(held_share), training.model_dump_json(), repr(list(members))])
    fits = group.fit_group(members, plan.fill, 1, training, storage_path, run=f"{run}-{name}")
    sample, tune, held = (plan.samples[role] for role in (TRAIN, TUNE, HELD))
    return Streamed(plan.fill.schema, sample, tune, held, fits, plan.counts, plan.since, plan.until, plan.data_sha256)


class _Plan(NamedTuple):
    """What is known before anything is fitted; the times of all rows are no longer held."""

    fill: FromPieces
    samples: dict[int, Sample]
    counts: dict[str, int]
    since: float | None
    until: float | None
    data_sha256: str


def _plan(settings: Settings, held_share: float) -> _Plan:
    training, source = settings.training, settings.data.source
    table = Table(pieces_of(source), settings.columns, bounds_of(settings.data), training.group)
    counted = _count(table, training)
    if sum(counted.rows) == 0:
        raise NotEnoughData(f"'{source}' has no labelled rows between data.since and data.until")
    schema = close(settings.columns, counted.tally, min_count=training.min_category_count)
    parted = _part(counted, training, held_share, by_time=schema.time is not None)
    cuts = np.cumsum(counted.rows)[:-1]
    counts = dict(zip(("train", "tune", "held_out"), np.bincount(parted, minlength=3).tolist(), strict=True))
    times = counted.keys if schema.time is not None else None
    since, until = (None, None) if times is None else (float(times.min()), float(times.max()))
    samples = _samples(table, schema, parted, cuts, training)
    fill = FromPieces(table, schema, tuple(np.split(parted, cuts)), training.validation_share)
    return _Plan(fill, samples, counts, since, until, counted.sha256)


@dataclass(frozen=True)
class FromPieces:
    """Rows in a large table: each worker has the pieces dealt to it encoded, training rows first, then validation rows."""

    table: Table
    schema: FeatureSchema
    """Frozen."""
    roles: tuple[Roles, ...]
    """Of each piece's rows."""
    stopping_share: float
    """Of the training rows."""

    def __call__(self, crew: Crew) -> Filled:
        """Fill a worker's file by a stream of its own."""
        stints = roles.deal(self.roles, crew.size)[crew.rank]
        cut = [self.roles[stint.piece][stint.start : stint.stop] for stint in stints]
        trains, tunes = (np.cumsum([0, *(int((part == role).sum()) for part in cut)]) for role in (TRAIN, TUNE))
        mine = mapped.blank(int(trains[-1] + tunes[-1]), len(self.schema.features))
        jobs = [
            {**stint._asdict(), "roles": part.tobytes(), "train_at": int(trains[i]), "tune_at": int(trains[-1] + tunes[i])}
            for i, (stint, part) in enumerate(zip(stints, cut, strict=True))
        ]
        filled = 0
        for batch in _stream(jobs, partial(piecework.encode, self.table, self.schema), crew.threads):
            slots = batch["slot"]
            mine.X[slots], mine.y[slots] = batch["X"], batch["y"]
            filled += len(slots)
        if filled != len(mine):
            raise DataError(f"{len(mine):,} rows were counted and {filled:,} read; the table was changed while it was trained on")
        train = int(trains[-1])
        return Filled(mine, Cuts(stopping_fold(train, self.stopping_share), [Fold(train, len(mine))]))


def _count(table: Table, training: Training) -> summary.Counted:
    look = partial(piecework.look, table, training.seed)
    jobs = [{"piece": number} for number in range(len(table.pieces))]
    found: dict[int, summary.Summary] = {}
    for batch in _stream(jobs, look, training.threads):
        found |= {number: summary.decode(content) for number, content in zip(batch["piece"].tolist(), batch["summary"], strict=True)}
    return summary.combine([found[number] for number in sorted(found)], table.schema)


def _part(counted: summary.Counted, training: Training, held_share: float, *, by_time: bool) -> Roles:
    share = training.validation_share
    if counted.keys is not None and by_time:
        return roles.by_time(counted.keys, share=share, held_share=held_share)
    keys = counted.keys if counted.keys is not None else roles.keys_of_positions(sum(counted.rows), seed=training.seed)
    return roles.by_key(keys, share=share, held_share=held_share)


def _samples(table: Table, schema: FeatureSchema, parted: Roles, cuts: npt.NDArray[np.intp], training: Training) -> dict[int, Sample]:
    wanted = np.sort(np.concatenate([roles.spread(parted, role, SAMPLE_ROWS) for role in (TRAIN, TUNE, HELD)]))
    starts = [0, *cuts.tolist()]
    jobs = [
        {"piece": number, "rows": (rows - starts[number]).astype("<i8").tobytes(), "roles": parted[rows].tobytes()}
        for number, rows in enumerate(np.split(wanted, np.searchsorted(wanted, cuts)))
        if len(rows)
    ]
    found: dict[tuple[int, int], pa.Table] = {}
    for batch in _stream(jobs, partial(piecework.pick, table), training.threads):
        for role, number, content in zip(batch["role"].tolist(), batch["piece"].tolist(), batch["frame"], strict=True):
            found[role, number] = pa.ipc.open_stream(content).read_all()
    return {role: _sample([found[key] for key in sorted(found) if key[0] == role], schema) for role in (TRAIN, TUNE, HELD)}


def _sample(parts: list[pa.Table], schema: FeatureSchema) -> Sample:
    if not parts:
        raise NotEnoughData("a part of the table is without rows; more rows are needed, or another training.validation_share")
    joined = frame.join(*parts)
    return Sample(joined, Rows(Encoder(schema).table(joined), encode_labels(schema.label, joined.column(schema.label.name))))


def _stream(jobs: Sequence[Mapping[str, Any]], work: Work, threads: int) -> Iterator[dict[str, Any]]:
    """Answers to jobs, in any order, as they come; at most `threads` are worked on at once."""
    context = ray.data.DataContext.get_current().copy()
    context.enable_progress_bars = False
    logging.getLogger("ray.data").setLevel(logging.WARNING)
    context.target_max_block_size = _BLOCK_BYTES
    context.execution_options.resource_limits = context.execution_options.resource_limits.copy(object_store_memory=_STORE_BYTES)
    with ray.data.DataContext.current(context):
        source = ray.data.from_arrow([pa.Table.from_pylist([job]) for job in jobs])
        # No CPUs are asked for: they may all belong to the workers, who wait for these rows. The number of tasks is the bound.
        answers = source.map_batches(
            partial(piecework.answer, work), batch_size=None, batch_format="pyarrow", num_cpus=0, compute=TaskPoolStrategy(size=threads)
        )
        for batch in answers.iter_batches(batch_size=None, batch_format="numpy", prefetch_batches=1):
            if failed := [error for error in batch["error"] if error]:
                raise DataError(str(failed[0]))
            yield batch
