"""Where a job's output is, what it looks like while it is made, and how it appears whole.

    OUTPUT/_manifest.json       what is scored by what: written first, and what a second run is compared with
    OUTPUT/_work/done/          a record a finished unit, written after its parts
    OUTPUT/predictions/         part-00000.parquet, ...
    OUTPUT/rejects/             rows that did not fit, where there were any
    OUTPUT/summary.json         counts
    OUTPUT/_SUCCESS             written last: all of the above is whole

On a file system parts grow under `_work` and each table appears by one rename. Object stores know no rename: there every part
is at its place as soon as its upload is complete, and only `_SUCCESS` says that nothing is missing.
"""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final, Literal

import msgspec
from pyarrow import fs

from cluster import storage
from cluster.errors import ConfigError, StorageError
from cluster.records import Record
from training.batch.inputs import Listing
from training.batch.parts import PartWriter
from training.batch.units import Unit

Table = Literal["predictions", "rejects"]
TABLES: Final[tuple[Table, ...]] = ("predictions", "rejects")
_MANIFEST, _SUCCESS, _SUMMARY = "_manifest.json", "_SUCCESS", "summary.json"


class Job(Record, frozen=True, kw_only=True):
    """What is scored by what: the same job gives the same parts."""

    model: str
    version: str
    digest: str
    """Of the bundle's manifest."""
    input: Listing
    keep: list[str]
    explain: bool
    batch_rows: int
    units: list[Unit]


class Done(Record, frozen=True, kw_only=True):
    """A finished unit."""

    unit: int
    rows: int
    rejected: dict[str, int]
    """By reason."""
    by_ensemble: int
    unknown: dict[str, int]
    out_of_range: dict[str, int]
    sizes: dict[str, int]
    """Bytes of its parts, by table."""
    began: float
    ended: float
    cpu_seconds: float


class Summary(Record, frozen=True, kw_only=True):
    """What `summary.json` holds."""

    model: str
    version: str
    digest: str
    input: str
    rows: int
    scored: int
    rejected: int
    rejected_by_reason: dict[str, int]
    answered_by: dict[str, int]
    unknown_categories: dict[str, int]
    """Rows with a category the model does not know, by column."""
    out_of_range: dict[str, int]
    units: int
    resumed_units: int
    """Of these, how many an earlier run had finished."""
    seconds: float
    """Of the run that finished, from its beginning."""
    scoring_seconds: float
    """Of these, from the first unit's begin to the last one's end."""
    cpu_seconds: float
    """That the units of this run took of their workers' cores."""


class Output:
    """The output of one job.

    Parameters
    ----------
    uri
        A folder: a local path or an object store's.
    """

    def __init__(self, uri: str) -> None:
        self.uri = uri.rstrip("/")
        self._grows = f"{self.uri}/_work" if storage.is_local(uri) else self.uri

    def begin(self, job: Job) -> list[Done]:
        """Write the manifest, or find that the same job was begun before; returns the units that are done.

        Raises
        ------
        ConfigError
            When the folder holds another job, naming what differs, or something else.
        """
        uri = f"{self.uri}/{_MANIFEST}"
        if not storage.exists(uri):
            self._check_empty()
            storage.write_atomic(uri, msgspec.json.encode(job))
            return []
        try:
            known = msgspec.json.decode(storage.read_bytes(uri), type=Job)
        except msgspec.MsgspecError as error:
            raise ConfigError(f"'{uri}' cannot be read: {error}; remove '{self.uri}' or give another --output") from error
        if differs := _differences(known, job):
            raise ConfigError(f"'{self.uri}' holds another job: {'; '.join(differs)}. Give another --output, or remove that folder")
        return self._done()

    def _check_empty(self) -> None:
        system, path = storage.filesystem(self.uri)
        info = system.get_file_info(path)
        if info.type == fs.FileType.File:
            raise ConfigError(f"'{self.uri}' is a file; --output names a folder")
        if info.type == fs.FileType.Directory and system.get_file_info(fs.FileSelector(path)):
            raise ConfigError(f"'{self.uri}' holds files that no job of ours began; give an empty folder, or one that does not exist")

    def summary(self) -> Summary | None:
        """Of a job that is finished; None before."""
        if not storage.exists(f"{self.uri}/{_SUCCESS}"):
            return None
        return msgspec.json.decode(storage.read_bytes(f"{self.uri}/{_SUMMARY}"), type=Summary)

    def _done(self) -> list[Done]:
        """Finished units whose parts are there, whole: a host that lost power may have kept a record and lost a part."""
        found = [
            msgspec.json.decode(storage.read_bytes(uri), type=Done) for uri in storage.list_files(f"{self.uri}/_work/done", suffix=".json")
        ]
        system, base = storage.filesystem(self._grows)
        whole = []
        for done in found:
            paths = {f"{base}/{table}/{_part(done.unit)}": size for table, size in done.sizes.items()}
            infos = system.get_file_info(list(paths))
            if all(info.size == paths[info.path] for info in infos):
                whole.append(done)
        return whole

    def finish_unit(self, done: Done) -> None:
        """Note that a unit's parts are written."""
        storage.write_atomic(f"{self.uri}/_work/done/{done.unit:05d}.json", msgspec.json.encode(done))

    @contextlib.contextmanager
    def part(self, table: Table, unit: int) -> Iterator[PartWriter]:
        """Write a unit's part of a table: whole at the end, or not at all; a second try replaces the first."""
        system, folder = storage.filesystem(f"{self._grows}/{table}")
        target = f"{folder}/{_part(unit)}"
        is_local = storage.is_local(self.uri)
        written = f"{folder}/.{_part(unit)}.{uuid.uuid4().hex}" if is_local else target
        try:
            if is_local:
                Path(folder).mkdir(parents=True, exist_ok=True)
            writer = PartWriter(system, written)
            try:
                yield writer
            finally:
                writer.close()
            if writer.is_begun and is_local:
                Path(written).replace(target)
        except OSError as error:
            raise StorageError(f"cannot write '{target}': {error}") from error
        finally:
            if is_local:
                Path(written).unlink(missing_ok=True)

    def finish(self, summary: Summary) -> None:
        """Let the output appear; doing it again is harmless."""
        if storage.is_local(self.uri):
            self._reveal(summary)
        storage.write_atomic(f"{self.uri}/{_SUMMARY}", msgspec.json.format(msgspec.json.encode(summary), indent=1) + b"\n")
        storage.write_atomic(f"{self.uri}/{_SUCCESS}", b"")
        system, work = storage.filesystem(f"{self.uri}/_work")
        if system.get_file_info(work).type == fs.FileType.Directory:
            system.delete_dir(work)

    def _reveal(self, summary: Summary) -> None:
        """Rename the tables, rejects first, so that who finds predictions finds all."""
        whole = storage.local_path(self.uri, need="an output")
        for table in reversed(TABLES):
            grown = whole / "_work" / table
            if (whole / table).exists():
                continue
            grown.mkdir(parents=True, exist_ok=True)  # of a table without rows
            for left in grown.glob(".part-*"):  # of workers that were killed
                left.unlink(missing_ok=True)
            if table == "rejects" and not summary.rejected:
                continue
            try:
                grown.rename(whole / table)
            except OSError as error:
                raise StorageError(f"cannot rename '{grown}': {error}") from error


def _part(unit: int) -> str:
    return f"part-{unit:05d}.parquet"


def _differences(known: Job, job: Job) -> list[str]:
    """What a second run would do otherwise, in words."""
    found = []
    if known.digest != job.digest:
        found.append(
            f"it is scored by version {known.version} of {known.model}, and this is version {job.version} of {job.model} (see --version)"
        )
    if known.input != job.input:
        found.append(f"its input is '{known.input.uri}'{_changed_file(known.input, job.input)}, and this is '{job.input.uri}'")
    if known.keep != job.keep:
        found.append(f"it keeps {_names(known.keep)}, and this {_names(job.keep)}")
    if known.explain != job.explain:
        found.append("one of the two has --explain")
    if not found and known != job:
        found.append("it was cut into other units, by another version of Homeostat")
    return found


def _changed_file(known: Listing, now: Listing) -> str:
    if known.uri != now.uri:
        return ""
    before = {file.name: file for file in known.files}
    after = {file.name: file for file in now.files}
    name = next((name for name in sorted(before.keys() | after.keys()) if before.get(name) != after.get(name)), "")
    return f", whose file '{name}' has changed since"


def _names(keep: Sequence[str]) -> str:
    return ", ".join(keep) or "no columns"


def merged(counts: Sequence[Mapping[str, int]]) -> dict[str, int]:
    """The sums of counts by name.

    >>> merged([{"a": 1}, {"a": 2, "b": 3}])
    {'a': 3, 'b': 3}
    """
    total: dict[str, int] = {}
    for part in counts:
        for name, count in part.items():
            total[name] = total.get(name, 0) + count
    return dict(sorted(total.items()))
