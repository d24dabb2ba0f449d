"""Predictions that are read for their numbers: columns stay packed until one is asked for, and then it is read for many requests at once.

A column of a few thousand rows stays in the processor's cache while it is turned into numbers; all columns of as many rows do not. And
floats and short texts, which are most of a journal, are read where they lie: no Python object is made of them.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

import msgspec
import numpy as np
import pyarrow as pa

from cluster.schema import Floats, Scalar

_ARRAY: Final = struct.Struct(">BI")
_HEAD_BYTES: Final = {0xDC: 3, 0xDD: 5}
"""Of an array, by its first byte; short arrays have 1."""
_NULL: Final = b"\xc0"
_FLOAT: Final = np.dtype([("tag", "u1"), ("value", ">f8")])
_FLOAT_TAG: Final = 0xCB
_MOST_TEXT_BYTES: Final = 31
_FOLLOW: Final = np.full(256, -1, np.int64)
"""How many bytes follow the first of a short text, or of what is missing; -1 behind any other."""
_FOLLOW[0xA0 : 0xA0 + _MOST_TEXT_BYTES + 1] = np.arange(_MOST_TEXT_BYTES + 1)
_FOLLOW[_NULL[0]] = 0
_ASCII_END: Final = 0x80


class Packed(msgspec.Struct, frozen=True):
    """What `cluster.records.Prediction` holds, with its lists as they lie in the journal."""

    bundle: str
    event_times: msgspec.Raw
    columns: dict[str, msgspec.Raw]
    scores: bytes
    by_ensemble: bytes


class _Times(msgspec.Struct):
    event_times: msgspec.Raw


_encode = msgspec.msgpack.Encoder().encode
decode = msgspec.msgpack.Decoder(Packed).decode
_decode_times = msgspec.msgpack.Decoder(_Times).decode
_decode_scalars = msgspec.msgpack.Decoder(list[str | int | float | bool | None]).decode


class Column(NamedTuple):
    """Values one after the other, each as MessagePack writes it."""

    values: bytes
    rows: int

    def scalars(self) -> list[Scalar]:
        """All of them as objects; always possible."""
        return _decode_scalars(_ARRAY.pack(0xDD, self.rows) + self.values)

    def floats(self) -> Floats | None:
        """Float64 of shape (n,); None unless all are floats.

        >>> Column(msgspec.msgpack.encode([1.5, -2.0])[1:], 2).floats().tolist()
        [1.5, -2.0]
        """
        if len(self.values) != self.rows * _FLOAT.itemsize:
            return None
        found = np.frombuffer(self.values, _FLOAT)  # a float where one must begin, and so on from one to the next
        return found["value"] if (found["tag"] == _FLOAT_TAG).all() else None

    def texts(self) -> pa.BinaryArray | None:
        """Each value as it is written; None unless all are short ASCII texts or missing.

        >>> Column(msgspec.msgpack.encode(["UA", None])[1:], 2).texts().to_pylist() == [written("UA"), written(None)]
        True
        """
        content = np.frombuffer(self.values, np.uint8)
        begins = np.flatnonzero(content >= _ASCII_END)
        if len(begins) != self.rows:
            return None
        ends = np.append(begins, len(content)).astype(np.int32)
        if not np.array_equal(_FOLLOW[content[begins]], np.diff(ends) - 1):  # each ends where the next begins
            return None
        return pa.Array.from_buffers(pa.binary(), self.rows, [None, pa.py_buffer(ends), pa.py_buffer(self.values)])


def written(value: Scalar) -> bytes:
    """A value as it stands in a column."""
    return _encode(value)


class Columns:
    """Columns of requests, end to end, each joined when it is asked for.

    Parameters
    ----------
    requests
        In order.
    sizes
        Rows of each.
    """

    def __init__(self, requests: Sequence[Packed], sizes: Sequence[int]) -> None:
        self._requests, self._sizes = requests, sizes
        self.rows = sum(sizes)

    def __getitem__(self, name: str) -> Column:
        """A column; where a request lacks it, its rows are missing."""
        parts = [
            (_values(request.columns[name]) if name in request.columns else b"") or _NULL * size
            for request, size in zip(self._requests, self._sizes, strict=True)
        ]
        return Column(b"".join(parts), self.rows)


def times(requests: Iterable[Packed | _Times], rows: int) -> Floats:
    """Event times of requests with so many rows in all, float64, end to end."""
    column = Column(b"".join([_values(request.event_times) for request in requests]), rows)
    found = column.floats()
    return np.array(column.scalars() if found is None else found, dtype=np.float64)


def times_of(bodies: Iterable[bytes], rows: int) -> Floats:
    """The same of frames' bodies, of which nothing else is read."""
    return times([_decode_times(body) for body in bodies], rows)


def _values(array: msgspec.Raw) -> memoryview:
    """What an array holds."""
    view = memoryview(array)
    return view[_HEAD_BYTES.get(view[0], 1) :]
