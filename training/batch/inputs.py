"""The table to score: which files it has, and what they say of themselves before their rows are read.

Reads Parquet (a file, or a folder with partition folders) and CSV (one file, gzip too). Knows no model.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Final, Literal, NamedTuple
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import fs

from cluster import storage
from cluster.errors import DataError, StorageError
from cluster.records import Record
from training.batch import csv_records
from training.batch.units import UNIT_BYTES, UNIT_ROWS, Cut, Piece

_PARQUET: Final = (".parquet", ".pq")
_CSV: Final = (".csv", ".tsv", ".csv.gz", ".tsv.gz")
_READERS: Final = 8
"""Files whose heads are read at once: an object store answers slowly, and many at a time."""
_NULL_PARTITION: Final = "__HIVE_DEFAULT_PARTITION__"

Kind = Literal["parquet", "csv"]


class InputFile(Record, frozen=True, kw_only=True):
    """A file as it was found."""

    name: str
    """Relative to the input folder; of a single file its name."""
    size: int
    modified_ns: int | None
    """None where the place does not tell."""


class Listing(Record, frozen=True, kw_only=True):
    """The table's files."""

    uri: str
    kind: Kind
    files: list[InputFile]
    is_folder: bool

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files)

    def locate(self, name: str) -> tuple[fs.FileSystem, str]:
        """The file system and the path of a file."""
        system, path = storage.filesystem(self.uri)
        return system, f"{path.rstrip('/')}/{name}" if self.is_folder else path


class Head(NamedTuple):
    """What a file says of itself."""

    types: dict[str, pa.DataType]
    """Of its columns, and of those that its folders name."""
    cuts: list[Cut]


def find(uri: str) -> Listing:
    """List the files of a table; what begins with `_` or `.` in a folder is nobody's data.

    Raises
    ------
    DataError
        When there is no table.
    """
    try:
        system, path = storage.filesystem(uri)
        info = system.get_file_info(path)
        if info.type == fs.FileType.Directory:
            return _folder(system, path, uri)
    except (OSError, pa.ArrowException, StorageError) as error:
        raise DataError(f"'{uri}' cannot be read: {_one_line(error)}") from error
    if info.type == fs.FileType.NotFound:
        raise DataError(f"there is no table at '{uri}'; give a Parquet or CSV file, or a folder of Parquet files")
    lower = path.lower()
    if not lower.endswith(_PARQUET + _CSV):
        raise DataError(f"'{uri}' has an ending that is not known; allowed: {', '.join(_PARQUET + _CSV)}, or a folder of Parquet files")
    kind: Kind = "parquet" if lower.endswith(_PARQUET) else "csv"
    return Listing(uri=uri, kind=kind, files=[_stamp(info, path.rpartition("/")[2])], is_folder=False)


def heads(listing: Listing) -> Iterator[tuple[InputFile, Head]]:
    """The head of every file, in order.

    Raises
    ------
    DataError
        Naming the file that cannot be read.
    """
    with ThreadPoolExecutor(_READERS) as pool:
        yield from zip(listing.files, pool.map(lambda file: head(listing, file.name), listing.files), strict=True)


def head(listing: Listing, name: str) -> Head:
    """The head of one file.

    Raises
    ------
    DataError
        Naming it, when it cannot be read.
    """
    system, path = listing.locate(name)
    try:
        names, found = _parquet_head(system, path, name) if listing.kind == "parquet" else _csv_head(system, path, name)
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"'{name}' of '{listing.uri}' cannot be read: {_one_line(error)}") from error
    if twice := sorted({column for column in names if names.count(column) > 1}):
        raise DataError(f"'{name}' has several columns of one name: {', '.join(map(repr, twice))}; rename them")
    return found


def partition_of(name: str) -> dict[str, str | int | None]:
    """What a file's folders say: `carrier=UA/part.parquet` has a column `carrier`; whole numbers are read as such."""
    pairs = [part.partition("=") for part in name.split("/")[:-1] if "=" in part]
    return {key: _partition_value(unquote(text)) for key, _, text in pairs}


def _partition_value(text: str) -> str | int | None:
    if text == _NULL_PARTITION:
        return None
    return int(text) if text.removeprefix("-").isdecimal() else text


def _folder(system: fs.FileSystem, path: str, uri: str) -> Listing:
    base = path.rstrip("/") + "/"
    found = system.get_file_info(fs.FileSelector(path, recursive=True))
    files = [_stamp(info, info.path.removeprefix(base)) for info in found if info.is_file and info.path.lower().endswith(_PARQUET)]
    shown = [file for file in files if not any(part[0] in "_." for part in file.name.split("/"))]
    if not shown:
        raise DataError(f"the folder '{uri}' holds no Parquet files (endings {', '.join(_PARQUET)})")
    return Listing(uri=uri, kind="parquet", files=sorted(shown, key=lambda file: file.name), is_folder=True)


def _stamp(info: fs.FileInfo, name: str) -> InputFile:
    return InputFile(name=name, size=info.size or 0, modified_ns=info.mtime_ns)


def _parquet_head(system: fs.FileSystem, path: str, name: str) -> tuple[list[str], Head]:
    with system.open_input_file(path) as opened:
        found = pq.ParquetFile(opened)
        schema, metadata = found.schema_arrow, found.metadata
        sizes = [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)]
    types = {key: pa.scalar(value).type for key, value in partition_of(name).items()} | {field.name: field.type for field in schema}
    cuts, row = [], 0
    for group, rows in enumerate(sizes):
        cuts.append(Cut(Piece(file=name, start=group, stop=group + 1, first_row=row, rows=rows), rows / UNIT_ROWS))
        row += rows
    return schema.names, Head(types, cuts)


def _csv_head(system: fs.FileSystem, path: str, name: str) -> tuple[list[str], Head]:
    with csv_records.open_text(system, path) as stream:
        header = csv_records.header_of(stream)
    types = dict.fromkeys(header.names, pa.string())
    if name.lower().endswith(".gz"):
        return header.names, Head(types, [Cut(Piece(file=name, start=header.size, stop=-1, first_row=0, rows=-1), 1.0)])
    with system.open_input_file(path) as stream:
        found = list(csv_records.stretches(stream, header.delimiter, start=header.size, size=UNIT_BYTES))
    pieces = [Piece(file=name, start=s.start, stop=s.stop, first_row=s.first_row, rows=s.rows) for s in found]
    return header.names, Head(types, [Cut(piece, 1.0) for piece in pieces])


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
