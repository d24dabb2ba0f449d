"""A Parquet table in pieces: the row groups of its files, in order, each read as training frames of a few thousand rows.

Owns which pieces there are, how one is read, and how it is told where a piece is wrong. Does not know who reads which piece.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import pyarrow as pa
import pyarrow.dataset as pads
from pyarrow import fs

from cluster import storage
from cluster.errors import DataError, NotEnoughData, StorageError
from cluster.schema import FeatureSchema
from cluster.settings import Data, Settings
from training.data import frame

BATCH_ROWS: Final = 65_536
"""Rows that are decoded at once."""
_PARQUET: Final = (".parquet", ".pq")
_MEMORY_SHARE: Final = 0.5
"""A table that would take more of this machine's memory than this is read as a stream, however few its rows."""
_COPIES: Final = 3
"""Of a table, while it is read, ordered and encoded in one process."""


@dataclass(frozen=True)
class Bounds:
    """Seconds since 1970 between which rows count: since <= time < until."""

    since: float = -math.inf
    until: float = math.inf


@dataclass(frozen=True)
class Piece:
    """A row group of a file."""

    fragment: pads.ParquetFileFragment
    """One row group; travels between processes."""
    kinds: pa.Schema
    """The table's columns, those from folder names included."""
    rows: int
    """As the file's footer says."""

    @property
    def place(self) -> str:
        """File and row group, for a person."""
        return f"'{self.fragment.path}', row group {self.fragment.row_groups[0].id}"


def dataset_of(source: str) -> pads.FileSystemDataset:
    """The data set of a Parquet file, or of all Parquet files in a folder by name; folders named key=value are columns.

    Raises
    ------
    DataError
        When there is none or it cannot be read.
    """
    try:
        system, path = storage.filesystem(source)
        files = _files(system, path)
        if not files:
            raise DataError(f"there is no Parquet file at '{source}' (endings {', '.join(_PARQUET)})")
        partitioning = pads.HivePartitioning.discover(infer_dictionary=False)
        return pads.dataset(files, filesystem=system, format="parquet", partitioning=partitioning, partition_base_dir=path)
    except (OSError, pa.ArrowException, StorageError) as error:
        raise DataError(f"'{source}' cannot be read: {_one_line(error)}") from error


def is_parquet(source: str) -> bool:
    """Whether a source is a Parquet file or a folder, which can be read in pieces."""
    if not ("/" in source or "." in source):
        return False
    if source.lower().endswith(_PARQUET):
        return True
    with contextlib.suppress(StorageError, OSError):
        system, path = storage.filesystem(source)
        return bool(system.get_file_info(path).is_file is False and _files(system, path))
    return False


def pieces_of(source: str) -> list[Piece]:
    """The row groups of all files, in order of the files' names; only footers are read.

    Raises
    ------
    DataError
        When a file cannot be read, or there are no rows.
    """
    whole = dataset_of(source)
    found: list[Piece] = []
    for fragment in whole.get_fragments():
        try:
            found += [Piece(one, whole.schema, one.row_groups[0].num_rows) for one in fragment.split_by_row_group()]
        except (OSError, pa.ArrowException) as error:
            raise DataError(f"'{fragment.path}' cannot be read: {_one_line(error)}") from error
    pieces = [piece for piece in found if piece.rows]
    if not pieces:
        raise NotEnoughData(f"'{source}' has no rows")
    return pieces


def is_large(settings: Settings) -> bool:
    """Whether the source must be read as a stream: Parquet with more rows than `training.stream_rows`, or than fit into memory.

    Only footers are read.

    Raises
    ------
    DataError
        When it cannot be read.
    """
    if not is_parquet(settings.data.source):
        return False
    rows, schema = sum(piece.rows for piece in pieces_of(settings.data.source)), settings.columns
    columns = len(schema.names) + len(schema.side_columns) + 2
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return rows > settings.training.stream_rows or rows * columns * 8 * _COPIES > _MEMORY_SHARE * memory


def bounds_of(data: Data) -> Bounds:
    """The time bounds of a source; a bound without a zone is UTC."""
    since, until = (None if m is None else (m if m.tzinfo else m.replace(tzinfo=dt.UTC)).timestamp() for m in (data.since, data.until))
    return Bounds(-math.inf if since is None else since, math.inf if until is None else until)


def frames(piece: Piece, schema: FeatureSchema, bounds: Bounds, *, group: str | None = None) -> Iterator[pa.Table]:
    """A piece as training frames (`training.data.frame`) of at most `BATCH_ROWS` rows, in order; the same rows at each reading.

    Rows without a label or outside the bounds are left out.

    Parameters
    ----------
    group
        A further column to keep.

    Raises
    ------
    DataError
        Naming file and row group: when a column is absent or of a wrong type, or the file is broken.
    """
    try:
        for table in _tables(piece, schema, group):
            yield frame.between(frame.from_table(table, schema, group=group), bounds.since, bounds.until)
    except DataError as error:
        raise DataError(f"{piece.place}: {error}") from error
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"{piece.place} cannot be read: {_one_line(error)}") from error


def _tables(piece: Piece, schema: FeatureSchema, group: str | None) -> Iterator[pa.Table]:
    named = [*schema.names, *schema.side_columns, schema.label.name, schema.time, group]
    wanted = list(dict.fromkeys(name for name in named if name is not None))
    kinds = _kinds(piece)
    if absent := [name for name in wanted if name not in kinds.names]:
        raise DataError(f"there is no column '{absent[0]}'; there are: {', '.join(kinds.names)}")
    batches = piece.fragment.to_batches(
        schema=kinds, columns=wanted, batch_size=BATCH_ROWS, batch_readahead=2, fragment_readahead=1, use_threads=False
    )
    for batch in batches:
        if batch.num_rows:
            yield pa.Table.from_batches([batch])


def _kinds(piece: Piece) -> pa.Schema:
    """The file's own types, so that text among numbers is seen and not converted; the table's where the file holds nothing but nulls."""
    own = piece.fragment.physical_schema
    by_folder = pads.get_partition_keys(piece.fragment.partition_expression)
    fields = [piece.kinds.field(f.name) if pa.types.is_null(f.type) and f.name in piece.kinds.names else f for f in own]
    return pa.schema([*fields, *(piece.kinds.field(name) for name in by_folder if name not in own.names)])


def _files(system: fs.FileSystem, path: str) -> list[str]:
    info = system.get_file_info(path)
    if info.is_file:
        return [path]
    found = system.get_file_info(fs.FileSelector(path, recursive=True, allow_not_found=True))
    return sorted(f.path for f in found if f.is_file and f.path.lower().endswith(_PARQUET))


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
