"""A job from its plan to its end: what can be wrong is found first, what is done is left alone. Knows no Ray.

`plan` looks at all files before a row is scored, `UnitScorer` is what a worker holds, and `run` asks somebody, this process
or `training.batch.pool`, for the units that are not done yet.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa

from cluster import storage
from cluster.bundle import Bundle
from cluster.errors import ConfigError, DataError, MissingColumn
from cluster.records import Pointer, Record
from training.batch import inputs
from training.batch.columns import ColumnReader, Reject, check_types
from training.batch.outputs import Done, Job, Output, Summary, merged
from training.batch.parts import PartWriter
from training.batch.reading import Broken, Rows, read_blocks
from training.batch.scoring import ANSWERED_BY, Columns, answer, batch_rows, constant
from training.batch.units import Cut, Unit, units_of

Clock = Callable[[], float]
"""Seconds since 1970 UTC."""
Execute = Callable[[Sequence[Unit]], Iterator[Done]]
"""Scores units in any order, and tells of each when its parts are written."""
_SOURCE: Final = ("source_file", "source_row")


class Work(Record, frozen=True, kw_only=True):
    """What a job is scored with, and where to."""

    bundle: Pointer
    output: str
    """The job's folder."""
    cache: str
    """Local folder for a bundle that lies in an object store."""

    def load(self) -> Bundle:
        """The bundle, checked against its digest."""
        return Bundle(storage.fetch_folder(self.bundle.uri, Path(self.cache)), version=self.bundle.version, digest=self.bundle.digest)


def plan(bundle: Bundle, digest: str, uri: str, *, keep: Sequence[str], explain: bool) -> Job:
    """Look at every file, check that its columns fit, and cut the table.

    Raises
    ------
    DataError
        When there is no table, a file cannot be read, or a column to keep changes its type.
    MissingColumn, WrongType
        When a file lacks a column, or has one of another type.
    ConfigError
        When a column to keep has the name of one that is written.
    BundleError
        When reasons are wanted and the bundle holds no trees.
    """
    made = (*Columns(bundle, explain=explain).names(), *_SOURCE)
    if taken := sorted(set(keep) & set(made)):
        raise ConfigError(f"--keep {taken[0]}: predict writes a column of that name itself, as it does {', '.join(made)}; rename yours")
    listing = inputs.find(uri)
    cuts: list[Cut] = []
    kept: Mapping[str, pa.DataType] = {}
    for file, head in inputs.heads(listing):
        check_types(bundle.schema, head.types, where=f"'{file.name}'", is_text=listing.kind == "csv")
        kept = _kept_types(keep, head.types, kept, file.name)
        cuts += head.cuts
    return Job(
        model=bundle.manifest.model,
        version=bundle.version,
        digest=digest,
        input=listing,
        keep=list(keep),
        explain=explain,
        batch_rows=batch_rows(len(bundle.schema.features)),
        units=units_of(cuts) or [Unit(number=0, pieces=[])],  # of a table without rows: it still has columns
    )


def run(job: Job, target: str, execute: Execute, *, began: float, clock: Clock, tell: Callable[[Done], None]) -> Summary:
    """Score what is not done, and let the output appear; returns at once when it has.

    Parameters
    ----------
    target
        The folder of the output.
    execute
        Asked once, for all units that are not done.
    began
        When the command began.
    tell
        Called with every unit that is done, those of earlier runs first.

    Raises
    ------
    ConfigError
        When the output holds something else.
    DataError, StorageError
        When a file cannot be read or written; what is done stays done.
    """
    output = Output(target)
    earlier = output.begin(job)
    if summary := output.summary():
        return summary
    for done in earlier:
        tell(done)
    left = [unit for unit in job.units if unit.number not in {done.unit for done in earlier}]
    now = []
    for done in execute(left) if left else ():
        now.append(done)
        tell(done)
    summary = _summary(job, earlier, now, seconds=clock() - began)
    output.finish(summary)
    return summary


def _summary(job: Job, earlier: Sequence[Done], now: Sequence[Done], *, seconds: float) -> Summary:
    every = [*earlier, *now]
    reasons = merged([done.rejected for done in every])
    rows, rejected, by_ensemble = sum(d.rows for d in every), sum(reasons.values()), sum(d.by_ensemble for d in every)
    return Summary(
        model=job.model,
        version=job.version,
        digest=job.digest,
        input=job.input.uri,
        rows=rows,
        scored=rows - rejected,
        rejected=rejected,
        rejected_by_reason=reasons,
        answered_by=dict(zip(ANSWERED_BY, (rows - rejected - by_ensemble, by_ensemble), strict=True)),
        unknown_categories=merged([done.unknown for done in every]),
        out_of_range=merged([done.out_of_range for done in every]),
        units=len(every),
        resumed_units=len(earlier),
        seconds=round(seconds, 3),
        scoring_seconds=round(max((d.ended for d in now), default=0.0) - min((d.began for d in now), default=0.0), 3),
        cpu_seconds=round(sum(d.cpu_seconds for d in now), 3),
    )


def _kept_types(
    keep: Sequence[str], found: Mapping[str, pa.DataType], before: Mapping[str, pa.DataType], file: str
) -> Mapping[str, pa.DataType]:
    """The types of the columns to keep, the same in every file: else the parts of the output were no table."""
    if missing := [name for name in keep if name not in found]:
        raise MissingColumn(f"'{file}' lacks column '{missing[0]}', which --keep asks for; it has: {', '.join(found)}")
    for name in keep:
        if before.get(name, found[name]) != found[name]:
            raise DataError(
                f"column '{name}' of '{file}' holds {found[name]}, and {before[name]} in files before it; --keep cannot keep both"
            )
    return {name: found[name] for name in keep}


class UnitScorer:
    """Scores units of one job: reads, answers, writes, notes. What a worker holds.

    Parameters
    ----------
    job
        What is read and kept; its units are not looked at.
    work
        The bundle and the places.
    clock
        Seconds since 1970 UTC.
    cpu_clock
        CPU seconds of this process.
    bundle
        If it is loaded already.
    """

    def __init__(self, job: Job, work: Work, *, clock: Clock, cpu_clock: Clock, bundle: Bundle | None = None) -> None:
        self._job, self._clock, self._cpu_clock, self._output = job, clock, cpu_clock, Output(work.output)
        self._bundle = bundle or work.load()
        self._columns = Columns(self._bundle, explain=job.explain)
        self._reader = ColumnReader(self._bundle.schema, is_text=job.input.kind == "csv")

    def __call__(self, unit: Unit) -> Done:
        """Score a unit; its parts are in place when this returns, and were made anew if they had been there."""
        began, cpu_began, tally = self._clock(), self._cpu_clock(), _Tally()
        with self._output.part("predictions", unit.number) as predictions, self._output.part("rejects", unit.number) as rejects:
            for piece in unit.pieces:
                file = pa.array([piece.file])
                for block in read_blocks(self._job.input, piece, self._bundle.schema, keep=self._job.keep, size=self._job.batch_rows):
                    if isinstance(block, Broken):
                        tally.rows += 1
                        tally.reject(rejects, file, [(block.number, block.reject)])
                    else:
                        self._score(block, file, tally, predictions, rejects)
            if not predictions.is_begun:
                predictions.write(self._blank())
        sizes = {"predictions": predictions.size, "rejects": rejects.size}
        done = Done(
            unit=unit.number,
            rows=tally.rows,
            rejected=dict(tally.rejected),
            by_ensemble=tally.by_ensemble,
            unknown=dict(tally.unknown),
            out_of_range=dict(tally.out_of_range),
            sizes={table: size for table, size in sizes.items() if size},
            began=began,
            ended=self._clock(),
            cpu_seconds=self._cpu_clock() - cpu_began,
        )
        self._output.finish_unit(done)
        return done

    def _score(self, rows: Rows, file: pa.Array, tally: _Tally, predictions: PartWriter, rejects: PartWriter) -> None:
        block = self._reader.read(rows.columns)
        tally.rows += len(block.matrix)
        tally.unknown.update(block.unknown)
        tally.out_of_range.update(block.out_of_range)
        matrix, kept, numbers = (
            block.matrix,
            {name: rows.columns[name] for name in self._job.keep},
            np.asarray(rows.numbers, dtype=np.int64),
        )
        if block.rejects:
            tally.reject(rejects, file, [(int(numbers[row]), block.rejects[row]) for row in sorted(block.rejects)])
            good = np.ones(len(matrix), dtype=np.bool_)
            good[list(block.rejects)] = False
            matrix, kept, numbers = matrix[good], {name: column.filter(pa.array(good)) for name, column in kept.items()}, numbers[good]
        if not len(matrix):
            return
        answers = answer(self._bundle, matrix)
        tally.by_ensemble += int(answers.by_ensemble.sum())
        source = dict(zip(_SOURCE, (constant(file, len(matrix)), pa.array(numbers)), strict=True))
        predictions.write(pa.table(kept | self._columns.of(matrix, answers) | source))

    def _blank(self) -> pa.Table:
        """Predictions for no rows: a part says which columns there are, whatever was in the unit."""
        listing, keep = self._job.input, self._job.keep
        types = (
            inputs.head(listing, listing.files[0].name).types if keep and listing.kind == "parquet" else dict.fromkeys(keep, pa.string())
        )
        kept = {name: pa.array([], types[name]) for name in keep}
        source = {_SOURCE[0]: pa.array([], pa.string()), _SOURCE[1]: pa.array([], pa.int64())}
        return pa.table(kept | self._columns.blank() | source)


class _Tally:
    """What is counted while a unit is scored."""

    def __init__(self) -> None:
        self.rows = self.by_ensemble = 0
        self.rejected, self.unknown, self.out_of_range = Counter[str](), Counter[str](), Counter[str]()

    def reject(self, writer: PartWriter, file: pa.Array, found: Sequence[tuple[int, Reject]]) -> None:
        """Write and count rows that do not fit, each with its number in the file."""
        self.rejected.update(reject.reason for _, reject in found)
        columns = {
            name: pa.array([getattr(reject, name) for _, reject in found], pa.string()) for name in ("reason", "column", "found", "allowed")
        }
        source = {_SOURCE[0]: constant(file, len(found)), _SOURCE[1]: pa.array([number for number, _ in found], pa.int64())}
        writer.write(pa.table(columns | source))
