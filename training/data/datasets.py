"""Training tables: named data sets, and any Parquet or CSV at a path or URI.

Owns how bytes at a place become one Arrow table in order of time. Does not know which columns a model reads.
"""

from __future__ import annotations

import datetime as dt
import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.dataset as pads
from pyarrow import csv, fs

from cluster import settings, storage
from cluster.arrow import times_of
from cluster.errors import ConfigError, DataError, StorageError

NAMED: Final = ("flights", "census", "letter", "diamonds", "nlswork")
"""Data sets that are fetched by name; each has a module of that name with an `ensure(cache)`."""
_CSV: Final = (".csv", ".csv.gz", ".tsv", ".tsv.gz")
_PARQUET: Final = (".parquet", ".pq")
_WHOLE_FILE_BYTES: Final = 2**31 - 1
ReadParquet = Callable[[fs.FileSystem, str, list[str]], pa.Table]
"""From a file system, the folder that partition names are relative to, and files in it."""


def locate(source: str, *, cache: Path) -> str:
    """Where the table of a source is: a named data set is built under `cache`, anything else is returned as it is.

    Raises
    ------
    DataError
        When a named data set cannot be built.
    """
    if source not in NAMED:
        return source
    module = importlib.import_module(f"training.data.{source}")  # by name: only flights needs pandas, and few need any of them
    return str(module.ensure(cache))


def read_parquet(system: fs.FileSystem, base: str, files: list[str]) -> pa.Table:
    """One table of all files, in this process; folders named key=value become columns."""
    partitioning = pads.HivePartitioning.discover(infer_dictionary=False)
    dataset = pads.dataset(files, filesystem=system, format="parquet", partitioning=partitioning, partition_base_dir=base)
    return dataset.to_table()


def read_table(data: settings.Data, *, time: str | None, cache: Path, parquet: ReadParquet = read_parquet) -> pa.Table:
    """The whole training table, between `since` and `until`, sorted by time when there is one.

    Parameters
    ----------
    data
        Source and bounds; a bound without a zone is UTC.
    time
        The time column.
    cache
        Folder in which named data sets are kept.
    parquet
        Reads Parquet files; `training.data.reader.read_parquet` uses the cluster for large ones.

    Raises
    ------
    ConfigError
        When a bound is given and there is no time column.
    DataError
        When nothing is there, it cannot be read, or no row is left.
    """
    if time is None and (data.since or data.until):
        raise ConfigError("data.since and data.until need a time column; name one in schema.time, or remove the bounds")
    table = _read(locate(data.source, cache=cache), parquet)
    twice = sorted({name for name in table.column_names if table.column_names.count(name) > 1})
    if twice:
        raise DataError(f"'{data.source}' has several columns of one name: {', '.join(map(repr, twice))}; rename them")
    if table.num_rows == 0:
        raise DataError(f"'{data.source}' has no rows")
    return table if time is None else _in_order(table, time, data)


def separator_of(source: str) -> str | None:
    """What separates the columns of a CSV that can be read; None for any other source."""
    if not source.lower().endswith(_CSV):
        return None
    system, path = storage.filesystem(source)
    return _found_delimiter(system, path)


def _in_order(table: pa.Table, time: str, data: settings.Data) -> pa.Table:
    times = times_of(table, time)
    keep = np.full(len(times), True)
    if data.since is not None:
        keep &= times >= _seconds(data.since)
    if data.until is not None:
        keep &= times < _seconds(data.until)
    rows = np.flatnonzero(keep)
    if len(rows) == 0:
        first, last = (dt.datetime.fromtimestamp(t, dt.UTC).isoformat() for t in (times.min(), times.max()))
        raise DataError(
            f"'{data.source}' has no rows between data.since ({data.since}) and data.until ({data.until}); its times go from {first} to {last}"
        )
    return table.take(rows[np.argsort(times[rows], kind="stable")])


def _seconds(moment: dt.datetime) -> float:
    return (moment if moment.tzinfo else moment.replace(tzinfo=dt.UTC)).timestamp()


def _read(uri: str, parquet: ReadParquet) -> pa.Table:
    try:
        system, path = storage.filesystem(uri)
        kind = system.get_file_info(path).type
        if kind == fs.FileType.NotFound:
            hint = "" if "/" in uri or "." in uri else f"; named data sets: {', '.join(NAMED)}"
            raise DataError(f"there is no table at '{uri}'; give a Parquet or CSV file, or a folder of Parquet files{hint}")
        if kind == fs.FileType.Directory:
            return parquet(system, path, _parquet_files(system, path, uri))
        if path.lower().endswith(_PARQUET):
            return parquet(system, path, [path])
        if path.lower().endswith(_CSV):
            return _read_csv(system, path)
    except (OSError, pa.ArrowException, StorageError) as error:
        raise DataError(f"'{uri}' cannot be read: {_one_line(error)}") from error
    raise DataError(f"'{uri}' has an ending that is not known; allowed: {', '.join(_PARQUET + _CSV)}, or a folder of Parquet files")


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())


def _parquet_files(system: fs.FileSystem, path: str, uri: str) -> list[str]:
    found = system.get_file_info(fs.FileSelector(path, recursive=True))
    files = sorted(f.path for f in found if f.type == fs.FileType.File and f.path.lower().endswith(_PARQUET))
    if not files:
        raise DataError(f"the folder '{uri}' holds no Parquet files (endings {', '.join(_PARQUET)})")
    return files


def _read_csv(system: fs.FileSystem, path: str) -> pa.Table:
    """A CSV with a header. Types are guessed from its first megabyte; when they don't hold, from the whole file."""
    delimiter = _found_delimiter(system, path)
    try:
        return _parse_csv(system, path, delimiter)
    except pa.ArrowInvalid:
        return _parse_csv(system, path, delimiter, block_size=_WHOLE_FILE_BYTES)


def _parse_csv(system: fs.FileSystem, path: str, delimiter: str, **read: Any) -> pa.Table:
    with system.open_input_stream(path) as stream:
        return csv.read_csv(
            stream,
            read_options=csv.ReadOptions(**read),
            parse_options=csv.ParseOptions(delimiter=delimiter, newlines_in_values=True),
            convert_options=csv.ConvertOptions(strings_can_be_null=True),
        )


def _found_delimiter(system: fs.FileSystem, path: str) -> str:
    with system.open_input_stream(path) as stream:
        return _delimiter(stream.read(65536))


def _delimiter(start: bytes) -> str:
    """The separator that occurs most in the header; a comma when none does."""
    header = start.split(b"\n", 1)[0].decode("utf-8", errors="replace")
    return max((",", ";", "\t", "|"), key=header.count)
