"""Arrow IPC from a stranger: tables are measured before they are unfolded, and verified before they are read.

A few bytes of Arrow can claim to be many gigabytes, by compression, run lengths or shared text; and offsets that
point astray would be read as they are. Knows nothing of schemas or rows.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import ipc

from cluster.errors import BadRequestShape, BodyTooLarge

_FILE: Final = b"ARROW1\x00\x00"
_FREE_TEXT: Final = 8 << 20
_UNFOLD: Final = 16
"""Text may unfold to this many times the body's size, or to `_FREE_TEXT` bytes if that is more."""
_HEADER, _DATA, _LENGTH, _COMPRESSION = 2, 1, 0, 3
"""Numbers of fields in Arrow's Message.fbs: Message.header, DictionaryBatch.data, RecordBatch.length and .compression."""


def read_table(body: bytes, check_count: Callable[[int], None]) -> pa.Table:
    """Read an IPC stream or file.

    Parameters
    ----------
    check_count
        Raises for a number of rows that is not taken; called before any is unfolded.

    Raises
    ------
    BadRequestShape
        When the body is no Arrow, is damaged, or is compressed.
    BodyTooLarge
        When its text would unfold to much more than was sent.
    """
    stream = pa.py_buffer(body[len(_FILE) :] if body.startswith(_FILE) else body)  # a file is a stream with a frame around
    try:
        check_count(_count(stream))
        table = ipc.open_stream(stream).read_all()
        table.validate(full=True)
    except (pa.ArrowException, OSError, ValueError, struct.error) as error:  # ValueError: names that are no UTF-8
        raise BadRequestShape(f"the body is not an Arrow IPC stream or file, or is damaged: {error}") from error
    text, most = sum(map(_text_size, table.columns)), max(_FREE_TEXT, _UNFOLD * len(body))
    if text > most:
        raise BodyTooLarge(f"the text of the body unfolds to {text} bytes; at most {most} are taken. Send fewer rows at once")
    return table


def _count(stream: pa.Buffer) -> int:
    """Rows that a stream announces; refuses compressed ones."""
    rows = 0
    for message in ipc.MessageReader.open_stream(stream):
        if message.type not in ("record batch", "dictionary"):
            continue
        metadata = message.metadata.to_pybytes()
        batch = _table(metadata, _root(metadata), _HEADER)
        if message.type == "dictionary":
            batch = _table(metadata, batch, _DATA)
        if _field(metadata, batch, _COMPRESSION):
            raise BadRequestShape("the Arrow body is compressed; send it without compression")
        if message.type == "record batch" and (place := _field(metadata, batch, _LENGTH)):
            rows += struct.unpack_from("<q", metadata, place)[0]
    return rows


def _root(metadata: bytes) -> int:
    return int(struct.unpack_from("<I", metadata)[0])


def _field(metadata: bytes, table: int, number: int) -> int:
    """Place of a field in a flatbuffer's table; 0 where it is left out."""
    vtable = table - struct.unpack_from("<i", metadata, table)[0]
    size = struct.unpack_from("<H", metadata, vtable)[0]
    slot = 4 + 2 * number
    offset = struct.unpack_from("<H", metadata, vtable + slot)[0] if slot < size else 0
    return table + offset if offset else 0


def _table(metadata: bytes, table: int, number: int) -> int:
    place = _field(metadata, table, number)
    return place + int(struct.unpack_from("<I", metadata, place)[0])


def _text_size(column: pa.ChunkedArray) -> int:
    """Bytes of a column's text, each value counted as often as it occurs; 0 for columns that hold none."""
    return sum(int(_sizes(chunk).sum()) for chunk in column.chunks)


def _sizes(array: pa.Array) -> npt.NDArray[np.int64]:
    if pa.types.is_dictionary(array.type):
        sizes = _sizes(array.dictionary)
        return sizes[array.indices.drop_null().to_numpy()] if len(sizes) else sizes
    if pa.types.is_string_view(array.type) and len(array):  # 16 bytes a view, the length first; no kernel reads it
        views = array.buffers()[1].slice(16 * array.offset, 16 * len(array))
        lengths = np.frombuffer(views, np.int32)[::4]
        return np.maximum(lengths, 0).astype(np.int64)
    if pa.types.is_string(array.type) or pa.types.is_large_string(array.type):
        return np.asarray(pc.fill_null(pc.binary_length(array), 0).to_numpy(), dtype=np.int64)
    return np.zeros(0, np.int64)
