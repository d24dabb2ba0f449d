from __future__ import annotations

import io
import struct
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import ipc

from cluster.errors import BadRequestShape, BodyTooLarge, RequestError, TooManyRows
from serve_apps.protocols.arrow_ipc import read_table

TABLE = pa.table({"number": [1.0, None], "text": pa.array(["a", "b"]).dictionary_encode(), "view": pa.array(["x", None], pa.string_view())})


def written(table: pa.Table, kind: Callable[..., Any] = ipc.new_stream, **options: Any) -> bytes:
    sink = io.BytesIO()
    with kind(sink, table.schema, options=ipc.IpcWriteOptions(**options)) as writer:
        writer.write_table(table, max_chunksize=1)
    return sink.getvalue()


def accept(rows: int) -> None:
    """Any number of rows."""


def refuse(rows: int) -> None:
    raise TooManyRows(str(rows))


@pytest.mark.parametrize("kind", [ipc.new_stream, ipc.new_file])
def test_streams_and_files_are_read(kind: Callable[..., Any]) -> None:
    assert read_table(written(TABLE, kind), accept).to_pylist() == TABLE.to_pylist()


def test_rows_are_counted_over_all_batches_before_they_are_read() -> None:
    counted: list[int] = []
    read_table(written(TABLE), counted.append)
    assert counted == [2]
    claimed = pa.record_batch({"nothing": pa.nulls(2**30)})  # some hundred bytes
    sink = io.BytesIO()
    with ipc.new_stream(sink, claimed.schema) as writer:
        writer.write_batch(claimed)
    with pytest.raises(TooManyRows, match=str(2**30)):
        read_table(sink.getvalue(), refuse)


@pytest.mark.parametrize("kind", [ipc.new_stream, ipc.new_file])
@pytest.mark.parametrize("codec", ["lz4", "zstd"])
def test_a_compressed_body_is_refused(kind: Callable[..., Any], codec: str) -> None:
    plain, dictionaries = TABLE.select(["number"]), TABLE.select(["text"])
    for table in (plain, dictionaries):
        with pytest.raises(BadRequestShape, match="the Arrow body is compressed; send it without compression"):
            read_table(written(table, kind, compression=codec), accept)


@pytest.mark.parametrize("kind", [pa.string(), pa.string_view()])
def test_a_dictionary_that_would_unfold_to_gigabytes_is_refused(kind: pa.DataType) -> None:
    shared = pa.DictionaryArray.from_arrays(pa.array([0] * 2000 + [None], pa.int16()), pa.array(["x" * 100_000], kind))
    with pytest.raises(BodyTooLarge, match="the text of the body unfolds to 200000000 bytes; at most 8388608 are taken"):
        read_table(written_whole(pa.table({"text": shared})), accept)


def test_views_of_one_text_are_measured_like_any_text() -> None:
    text = pa.array(["x" * 100_000], pa.large_string())
    views = pa.Array.from_buffers(pa.string_view(), 200, [None, view_of(100_000, 200), text.buffers()[2]])
    views.validate(full=True)
    with pytest.raises(BodyTooLarge, match="unfolds to 20000000 bytes"):
        read_table(written_whole(pa.table({"text": views})), accept)


def view_of(length: int, times: int) -> pa.Buffer:
    import struct

    return pa.py_buffer(struct.pack("<i4sii", length, b"xxxx", 0, 0) * times)


def written_whole(table: pa.Table) -> bytes:
    sink = io.BytesIO()
    with ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue()


@pytest.mark.parametrize("kind", [pa.string(), pa.string_view()])
def test_an_empty_dictionary_holds_no_text(kind: pa.DataType) -> None:
    nothing = pa.DictionaryArray.from_arrays(pa.array([None], pa.int8()), pa.array([], kind))
    assert read_table(written_whole(pa.table({"text": nothing})), accept).to_pylist() == [{"text": None}]


def test_text_whose_offsets_point_astray_is_refused() -> None:
    honest = written_whole(pa.table({"text": ["x" * 77_777]}))
    offsets = struct.pack("<ii", 0, 77_777)
    before, _, after = honest.rpartition(offsets)
    with pytest.raises(BadRequestShape, match="is damaged"):
        read_table(before + struct.pack("<ii", 0, 2**31 - 1) + after, accept)


def test_text_that_is_no_utf8_is_refused() -> None:
    raw = pa.array([b"\xff\xfe"], pa.binary())
    broken = pa.Array.from_buffers(pa.string(), 1, raw.buffers())
    with pytest.raises(BadRequestShape, match="is damaged"):
        read_table(written_whole(pa.table({"text": broken})), accept)


@pytest.mark.parametrize("body", [b"", b"hello world", b"ARROW1\x00\x00", b"\xff" * 100, written(TABLE)[:-20], written(TABLE)[:100]])
def test_what_is_no_arrow_is_refused(body: bytes) -> None:
    with pytest.raises(BadRequestShape, match="the body is not an Arrow IPC stream or file, or is damaged"):
        read_table(body, accept)


@given(place=st.integers(0, len(written(TABLE)) - 1), byte=st.integers(0, 255))
def test_a_damaged_byte_is_read_or_refused_in_words(place: int, byte: int) -> None:
    body = bytearray(written(TABLE))
    body[place] = byte
    try:
        read_table(bytes(body), lambda rows: refuse(rows) if not 0 <= rows <= 1000 else None).to_pylist()
    except RequestError:
        return
