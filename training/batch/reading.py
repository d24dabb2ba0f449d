"""Reads the rows of a piece, block by block: no more of a file is in memory than a block and what Arrow reads ahead."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from typing import Final, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import csv

from cluster import storage
from cluster.errors import DataError
from cluster.schema import FeatureSchema
from training.batch import csv_records
from training.batch.columns import Reject
from training.batch.inputs import Listing, partition_of
from training.batch.units import Piece

_CSV_BLOCK: Final = 8 << 20
_PARQUET_BUFFER: Final = 1 << 20
"""Bytes of a column that are read at a time."""


class Rows(NamedTuple):
    """Rows that follow each other in a file."""

    columns: Mapping[str, pa.Array]
    numbers: range | Sequence[int]
    """Each row's number in its file."""


class Broken(NamedTuple):
    """A record of a CSV with too few or too many fields."""

    number: int
    reject: Reject


def read_blocks(listing: Listing, piece: Piece, schema: FeatureSchema, *, keep: Sequence[str], size: int) -> Iterator[Rows | Broken]:
    """Blocks of at most `size` rows, with the features and the columns to keep.

    Raises
    ------
    DataError
        When the file cannot be read, or is not what it was when the work was cut.
    """
    wanted = list(dict.fromkeys((*schema.names, *keep)))
    try:
        if listing.kind == "parquet":
            folded = [f.name for f in schema.features if f.type == "category" and f.name not in keep]
            yield from _parquet(listing, piece, wanted, folded, size)
        else:
            yield from _csv(listing, piece, wanted, size)
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"'{piece.file}' of '{listing.uri}' cannot be read: {' '.join(str(error).split())}") from error


def _parquet(listing: Listing, piece: Piece, wanted: Sequence[str], folded: Sequence[str], size: int) -> Iterator[Rows]:
    system, path = listing.locate(piece.file)
    constants = partition_of(piece.file)
    number = piece.first_row
    with system.open_input_file(path) as opened:
        remote = not storage.is_local(listing.uri)
        file = pq.ParquetFile(opened, read_dictionary=list(folded), buffer_size=0 if remote else _PARQUET_BUFFER, pre_buffer=remote)
        columns = [name for name in wanted if name in file.schema_arrow.names]
        if piece.stop > file.metadata.num_row_groups:
            raise _changed(listing, piece)
        groups = list(range(piece.start, piece.stop))
        for batch in file.iter_batches(size, row_groups=groups, columns=columns, use_threads=False):
            found = dict(zip(batch.schema.names, batch.columns, strict=True))
            found |= {name: pa.repeat(constants[name], batch.num_rows) for name in wanted if name not in found}
            yield Rows(found, range(number, number + batch.num_rows))
            number += batch.num_rows
    if number != piece.first_row + piece.rows:
        raise _changed(listing, piece)


def _csv(listing: Listing, piece: Piece, wanted: Sequence[str], size: int) -> Iterator[Rows | Broken]:
    system, path = listing.locate(piece.file)
    with csv_records.open_text(system, path) as stream:
        header = csv_records.header_of(stream)
    number = piece.first_row
    with csv_records.open_text(system, path) if piece.stop < 0 else system.open_input_file(path) as stream:
        if piece.stop < 0:
            stream.read(piece.start)
        else:
            stream.seek(piece.start)
        limit = -1 if piece.stop < 0 else piece.stop - piece.start
        for block in csv_records.blocks(stream, header.delimiter, limit=limit, size=_CSV_BLOCK):
            table, broken = _parse(block, header, wanted)
            at = {number + row for row, _ in broken}
            last = number + table.num_rows + len(broken)
            numbers = [row for row in range(number, last) if row not in at] if broken else range(number, last)
            for first in range(0, table.num_rows, size):
                part = table.slice(first, size)
                found = {name: part.column(name).combine_chunks() for name in wanted}
                yield Rows(found, numbers[first : first + size])
            yield from (Broken(number + row, reject) for row, reject in broken)
            number = last
    if piece.rows >= 0 and number != piece.first_row + piece.rows:
        raise _changed(listing, piece)


def _parse(block: bytes, header: csv_records.Header, wanted: Sequence[str]) -> tuple[pa.Table, list[tuple[int, Reject]]]:
    """A block's records as text, missing where training reads them as missing; and those of another number of fields."""
    broken: list[tuple[int, Reject]] = []

    def note(row: csv.InvalidRow) -> str:
        allowed = f"{row.expected_columns} fields, as many as there are names"
        broken.append((row.number - 1, Reject(row.number - 1, "WrongType", None, row.text[:80], allowed)))
        return "skip"

    table = csv.read_csv(
        io.BytesIO(block),
        csv.ReadOptions(use_threads=False, block_size=len(block) + 1, column_names=header.names),
        csv.ParseOptions(delimiter=header.delimiter, newlines_in_values=True, invalid_row_handler=note),
        csv.ConvertOptions(column_types=dict.fromkeys(wanted, pa.string()), include_columns=wanted, strings_can_be_null=True),
    )
    return table, broken


def _changed(listing: Listing, piece: Piece) -> DataError:
    return DataError(f"'{piece.file}' of '{listing.uri}' has other rows than when the work was cut; give another --output and begin anew")
