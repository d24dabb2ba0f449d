"""What a first look at a piece of a large table says: how many rows, of which times, which labels and categories, and their hash.

Small enough to travel from every piece to the driver, which closes the schema and parts the rows from them. Pure.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cluster.arrow import as_strings
from cluster.freeze import Tally, merge, tally
from cluster.history import label_array
from cluster.records import Record
from cluster.schema import FeatureSchema, Floats, Scalar
from training.data.frame import TIME
from training.workers.roles import keys_of_groups


class Summary(Record, frozen=True, kw_only=True):
    """One piece, at the first look."""

    rows: int
    """Rows that count: labelled, and within the bounds."""
    sha256: bytes
    """Of their columns' names and values, in order."""
    keys: bytes
    """float64: their times, or the keys of their groups; empty when there is neither."""
    labels: list[tuple[str | int | float | bool | None, int]]
    categories: dict[str, bytes]
    """Tables of the tally, as Arrow IPC."""


class Counted(NamedTuple):
    """All pieces together."""

    tally: Tally
    rows: list[int]
    """By piece."""
    keys: Floats | None
    """float64 of shape (rows,), times or keys of groups; None when there is neither."""
    sha256: str
    """Of the pieces' hashes in order: equal for equal rows in equal row groups."""


def summarize(frames: Iterable[pa.Table], schema: FeatureSchema, *, group: str | None, seed: int, first: int) -> Summary:
    """Look at a piece once.

    Parameters
    ----------
    frames
        The piece as training frames, at least one.
    group
        A column of the frames whose groups must stay together; counts only without a time.
    first
        A number for the piece's first row, such that no two rows of the table have the same.

    Raises
    ------
    DataError
        When the frames do not fit the schema.
    """
    digest, tallies, keys = _Digest(), list[Tally](), list[Floats]()
    for frame in frames:
        digest.add(frame)
        tallies.append(tally(schema, frame))
        if TIME in frame.column_names:
            keys.append(frame.column(TIME).to_numpy())
        elif group is not None:
            keys.append(keys_of_groups(as_strings(frame.column(group)), seed=seed, first=first + sum(map(len, keys))))
    counted = merge(tallies)
    return Summary(
        rows=counted.rows,
        sha256=digest.value(),
        keys=np.concatenate(keys).astype("<f8").tobytes() if keys else b"",
        labels=list(counted.labels.items()),
        categories={name: _pack(table) for name, table in counted.categories.items()},
    )


def combine(summaries: Sequence[Summary], schema: FeatureSchema) -> Counted:
    """Put the summaries of all pieces, in order, together.

    Raises
    ------
    DataError
        When a feature has too many different values to be one.
    """
    counted = merge(Tally(s.rows, dict(s.labels), {name: _unpack(table) for name, table in s.categories.items()}) for s in summaries)
    keys = [np.frombuffer(s.keys, dtype="<f8") for s in summaries if s.keys]
    return Counted(
        counted._replace(labels=_of_one_type(schema, counted.labels)),
        [s.rows for s in summaries],
        np.concatenate(keys) if keys else None,
        hashlib.sha256(b"".join(s.sha256 for s in summaries)).hexdigest(),
    )


def _of_one_type(schema: FeatureSchema, labels: dict[Scalar, int]) -> dict[Scalar, int]:
    """Labels as they would be, had all pieces been one table: what looks like integers in one may be text in the next."""
    if schema.label.task == "regression":
        return labels
    merged: dict[Scalar, int] = {}
    for value, count in zip(label_array(schema, list(labels)).to_pylist(), labels.values(), strict=True):
        merged[value] = merged.get(value, 0) + count
    return merged


class _Digest:
    """SHA-256 over the columns of frames, however the rows are cut into frames."""

    def __init__(self) -> None:
        self._columns: dict[str, Any] = {}

    def add(self, frame: pa.Table) -> None:
        for name in frame.column_names:
            self._columns.setdefault(name, hashlib.sha256(name.encode())).update(_bytes(frame.column(name).combine_chunks()))

    def value(self) -> bytes:
        return hashlib.sha256(b"".join(column.digest() for column in self._columns.values())).digest()


def _bytes(column: pa.Array) -> bytes:
    """Each value's bytes and whether it is there, in order and without regard to what lies under a null."""
    valid = column.is_valid().to_numpy(zero_copy_only=False)
    if pa.types.is_floating(column.type):
        values = np.asarray(pc.fill_null(column, 0.0).to_numpy(zero_copy_only=False), dtype="<f8").view(np.uint8).reshape(len(column), 8)
        return np.column_stack([valid.view(np.uint8), values]).tobytes()
    strings = pc.fill_null(as_strings(column), "")
    lengths = np.where(valid, pc.binary_length(strings).to_numpy(), -1)
    # each length before its text, so that the texts of two neighbours cannot be cut otherwise
    return "".join(f"{length}:{text}" for length, text in zip(lengths.tolist(), strings.to_pylist(), strict=True)).encode()


def _pack(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue())


def _unpack(content: bytes) -> pa.Table:
    return pa.ipc.open_stream(content).read_all()


def encode(summary: Summary) -> bytes:
    """As bytes, for the way to the driver."""
    return msgspec.msgpack.encode(summary)


def decode(content: bytes) -> Summary:
    """From bytes."""
    return msgspec.msgpack.decode(content, type=Summary)
