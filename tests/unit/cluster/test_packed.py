"""Columns read as they lie in the journal, beside the ordinary decoder and encoder of the same values."""

from __future__ import annotations

import math
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster import encoder, packed
from cluster.encoder import Encoder
from cluster.journal import Writer, scan
from cluster.records import Prediction
from cluster.schema import Feature, FeatureSchema, Label, Scalar

KNOWN = ("UA", "B6", "", "7", "true", "é", "x" * 31, "x" * 32, "c0")
SCHEMA = FeatureSchema(
    features=(Feature(name="miles", type="number"), Feature(name="carrier", type="category", categories=KNOWN)),
    label=Label(name="late", classes=(0, 1)),
)
floats = st.floats(allow_nan=False, width=32)
numbers = st.one_of(st.none(), st.integers(-(2**31), 2**31), floats, st.just(math.inf), st.booleans())
texts = st.one_of(st.none(), st.sampled_from(KNOWN), st.text(max_size=40), st.integers(-200, 70_000), st.booleans(), floats)
plain = st.one_of(st.none(), st.sampled_from(["UA", "B6", "", "x" * 31, "ZZ"]))


@pytest.fixture(autouse=True)
def _few_rows_are_read_like_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoder, "_MANY_ROWS", 1)


def request(miles: list[Scalar], carriers: list[Scalar]) -> Prediction:
    rows = len(miles)
    columns = {"miles": miles, "carrier": carriers}
    return Prediction(bundle="1", event_times=[1.5] * rows, columns=columns, scores=bytes(4 * rows), by_ensemble=bytes(rows))


def packed_of(*requests: Prediction) -> packed.Columns:
    encode = msgspec.msgpack.Encoder().encode
    return packed.Columns([packed.decode(encode(one)) for one in requests], [len(one.event_times) for one in requests])


def column(values: list[Scalar]) -> packed.Column:
    return packed.Column(b"".join(map(packed.written, values)), len(values))


def rows_of(miles: st.SearchStrategy[Scalar], carriers: st.SearchStrategy[Scalar]) -> st.SearchStrategy[list[tuple[Scalar, Scalar]]]:
    return st.lists(st.tuples(miles, carriers), min_size=1, max_size=40)


@given(st.lists(st.one_of(rows_of(numbers, texts), rows_of(floats, plain)), min_size=1, max_size=4))
def test_packed_rows_are_encoded_as_the_ordinary_decoder_and_encoder_would(several: list[list[tuple[Scalar, Scalar]]]) -> None:
    requests = [request([miles for miles, _ in rows], [carrier for _, carrier in rows]) for rows in several]
    both = {name: [value for one in requests for value in one.columns[name]] for name in SCHEMA.names}
    made = Encoder(SCHEMA)
    assert made.packed(packed_of(*requests)).tobytes() == made.columns(both).tobytes()


@given(st.lists(st.one_of(numbers, texts), max_size=40))
def test_a_column_is_decoded_as_it_was_written(values: list[Scalar]) -> None:
    assert list(map(repr, column(values).scalars())) == list(map(repr, values))


@given(st.lists(st.one_of(numbers, texts), min_size=1, max_size=40))
def test_only_columns_of_nothing_but_floats_are_read_as_floats(values: list[Scalar]) -> None:
    found = column(values).floats()
    assert (found is not None) == all(isinstance(value, float) for value in values)
    assert found is None or found.tolist() == values


@given(st.lists(st.one_of(texts, plain, numbers), min_size=1, max_size=40))
def test_only_columns_of_short_texts_and_gaps_are_read_as_texts(values: list[Scalar]) -> None:
    found = column(values).texts()
    assert (found is not None) == all(value is None or (isinstance(value, str) and value.isascii() and len(value) < 32) for value in values)
    assert found is None or found.to_pylist() == [packed.written(value) for value in values]


def test_bytes_that_look_like_a_float_or_a_gap_inside_a_value_are_no_other_value() -> None:
    looks_like = [float(np.frombuffer(bytes([0xCB, 0xC0] * 4), ">f8")[0]), -2.0]
    found = column([*looks_like, 3.0]).floats()
    assert found is not None
    assert found.tolist() == [*looks_like, 3.0]
    assert column(["AB", 7, "CD"]).texts() is None
    assert column([5, "é"]).texts() is None


def test_nan_and_infinity_are_read() -> None:
    found = column([math.nan, math.inf, -math.inf]).floats()
    assert found is not None
    assert np.array_equal(found, [math.nan, math.inf, -math.inf], equal_nan=True)


def test_a_column_that_a_request_lacks_is_missing_in_its_rows_alone() -> None:
    lacking = Prediction(bundle="1", event_times=[1.5] * 2, columns={"miles": [], "carrier": ["UA", "B6"]}, scores=b"", by_ensemble=b"")
    columns = packed_of(request([1.0], ["UA"]), lacking, request([2.0], ["B6"]))
    assert columns["miles"].scalars() == [1.0, None, None, 2.0]
    assert columns["weight"].scalars() == [None] * 4


@pytest.mark.parametrize("rows", [1, 15, 16, 65_535, 65_536])
def test_requests_of_every_size_are_read(rows: int) -> None:
    columns = packed_of(request([float(i) for i in range(rows)], ["UA"] * rows))
    found = columns["miles"].floats()
    assert found is not None
    assert np.array_equal(found, np.arange(rows))


def test_times_are_read_from_frames_whether_whole_numbers_or_not(tmp_path: Path) -> None:
    writer = Writer(str(tmp_path), clock_ns=lambda: 1)
    wanted = [[1.25, 2.5], [], [3, 4.75]]
    for times in wanted:
        writer.append(Prediction(bundle="1", event_times=times, columns={}, scores=b"", by_ensemble=b""))
    entries = list(scan(str(tmp_path)))
    flat = [time for times in wanted for time in times]
    assert packed.times_of([entry.body for entry in entries], 4).tolist() == flat
    assert packed.times([entry.packed() for entry in entries], 4).tolist() == flat
    assert packed.times([entries[0].packed()], 2).dtype == np.float64
