from __future__ import annotations

import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.errors import BadRequestShape, WrongType
from serve_apps.protocols.oip_binary import pack, texts_of, unpack, values_of

INTEGERS = {f"{sign}INT{bits}": (sign, bits) for sign in ("", "U") for bits in (8, 16, 32, 64)}


@given(st.data())
def test_numbers_survive_the_way_through_bytes(data: st.DataObject) -> None:
    datatype = data.draw(st.sampled_from([*INTEGERS, "FP16", "FP32", "FP64", "BOOL"]))
    if datatype in INTEGERS:
        sign, bits = INTEGERS[datatype]
        values: st.SearchStrategy[Any] = st.integers(0, 2**bits - 1) if sign else st.integers(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    else:
        values = st.booleans() if datatype == "BOOL" else st.floats(width=int(datatype[2:]), allow_nan=False)  # type: ignore[arg-type]
    sent = data.draw(st.lists(values))
    found = unpack("x", pack(sent, datatype), datatype, len(sent))
    assert found == sent
    assert [type(value) for value in found] == [type(value) for value in sent]


@given(st.lists(st.text(min_size=1)))
def test_texts_survive_the_way_through_bytes(sent: list[str]) -> None:
    assert unpack("x", pack(sent, "BYTES"), "BYTES", len(sent)) == sent


def test_the_bytes_are_little_endian_and_texts_bring_their_length() -> None:
    assert pack([1.5, -2], "FP32") == struct.pack("<ff", 1.5, -2)
    assert pack([1], "UINT16") == b"\x01\x00"
    assert pack([True, False], "BOOL") == b"\x01\x00"
    assert pack(["B6", "é"], "BYTES") == b"\x02\x00\x00\x00B6\x02\x00\x00\x00\xc3\xa9"
    assert unpack("x", struct.pack("<ee", 0.5, -1), "FP16", 2) == [0.5, -1]


@pytest.mark.parametrize("datatype", ["FP16", "FP32", "FP64"])
def test_a_number_that_is_none_is_missing(datatype: str) -> None:
    assert unpack("x", pack([0.5, float("nan")], datatype), datatype, 2) == [0.5, None]
    assert values_of(np.array([[0.25, np.nan]], np.float32)) == [0.25, None]


def test_an_empty_text_is_missing() -> None:
    assert unpack("x", b"\0\0\0\0\x01\0\0\0a", "BYTES", 2) == [None, "a"]


@pytest.mark.parametrize(
    ("sent", "datatype", "count", "message"),
    [
        (b"\0" * 7, "FP32", 2, "x has 7 bytes; 2 elements of FP32 take 8"),
        (b"\0" * 8, "BOOL", 2, "x has 8 bytes; 2 elements of BOOL take 2"),
        (b"\x01\0\0\0a", "BYTES", 2, "x has 1 elements; its shape holds 2"),
        (b"\x05\0\0\0abc", "BYTES", 1, "x is cut short: element 0 needs 2 more bytes than were sent"),
        (b"\x01\0\0\0a\x01", "BYTES", 2, "x is cut short: element 1 needs 4 more bytes than were sent"),
        (b"\xff\xff\xff\xff", "BYTES", 1, "x is cut short: element 0 needs 4294967295 more bytes than were sent"),
    ],
)
def test_bytes_that_are_not_the_tensor_are_refused(sent: bytes, datatype: str, count: int, message: str) -> None:
    with pytest.raises(BadRequestShape) as caught:
        unpack("x", sent, datatype, count)
    assert caught.value.message == message


def test_a_text_that_is_not_utf8_is_refused() -> None:
    with pytest.raises(WrongType) as caught:
        texts_of("x", [b"fine", b"\xff\xfe"])
    assert caught.value.message == r"x holds b'\xff\xfe', which is not text in UTF-8"
