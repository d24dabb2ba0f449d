"""Blocks of rows become the matrix that a request's rows become, and rows that do not fit are named."""

from __future__ import annotations

import decimal
import math
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.encoder import Encoder
from cluster.errors import MissingColumn, WrongType
from tests.builders import make_schema
from training.batch.columns import ColumnReader, check_types

SCHEMA = make_schema()
NUMBERS = st.one_of(st.none(), st.integers(-9999, 9999), st.floats(-1e30, 1e30), st.just(math.nan))
CARRIERS = st.one_of(st.none(), st.sampled_from(["UA", "B6", "9E", "ZZ", ""]))


def columns(**changes: Any) -> dict[str, pa.Array]:
    plain = {"miles": [100.0, 200.0], "wind": [1.0, 2.0], "carrier": ["UA", "B6"]} | changes
    return {name: values if isinstance(values, pa.Array) else pa.array(values) for name, values in plain.items()}


@given(rows=st.lists(st.tuples(NUMBERS, NUMBERS, CARRIERS), min_size=1, max_size=20), folded=st.booleans())
def test_a_block_is_encoded_as_a_table_is(rows: list[tuple[Any, Any, Any]], folded: bool) -> None:
    miles, wind, carrier = zip(*rows, strict=True)
    plain = {"miles": pa.array(miles, pa.float64()), "wind": pa.array(wind, pa.float64()), "carrier": pa.array(carrier, pa.string())}
    given_columns = plain | {"carrier": plain["carrier"].dictionary_encode()} if folded else plain
    block = ColumnReader(SCHEMA).read(given_columns)
    assert np.array_equal(block.matrix, Encoder(SCHEMA).table(pa.table(plain)), equal_nan=True)
    assert block.rejects == {}
    assert block.unknown.get("carrier", 0) == sum(value not in ("UA", "B6", "9E", None) for value in carrier)
    outside = [value for value in miles if value is not None and not math.isnan(value) and not 0 <= np.float32(value) <= 5000]
    assert block.out_of_range.get("miles", 0) == len(outside)


@pytest.mark.parametrize(
    ("values", "read"),
    [
        (pa.array([1, None], pa.int16()), [1, math.nan]),
        (pa.array([True, False]), [1, 0]),
        (pa.array([decimal.Decimal("1.5"), None]), [1.5, math.nan]),
        (pa.nulls(2), [math.nan, math.nan]),
        (pa.array([7, 7]).dictionary_encode(), [7, 7]),
        (pa.array([1.5, 2.5], pa.float32()), [1.5, 2.5]),
    ],
)
def test_numbers_of_any_type_are_read(values: pa.Array, read: list[float]) -> None:
    assert np.array_equal(ColumnReader(SCHEMA).read(columns(wind=values)).matrix[:, 1], np.array(read), equal_nan=True)


@pytest.mark.parametrize("values", [pa.array([7, None]), pa.array([7.0, math.nan]), pa.array(["7", None], pa.large_string())])
def test_categories_of_any_type_are_compared_as_canonical_text(values: pa.Array) -> None:
    carrier = SCHEMA.features[2].model_copy(update={"categories": ("x", "7")})
    schema = make_schema(features=(*SCHEMA.features[:2], carrier))
    assert np.array_equal(ColumnReader(schema).read(columns(carrier=values)).matrix[:, 2], [1, math.nan], equal_nan=True)


def test_a_new_dictionary_is_looked_up_anew() -> None:
    reader = ColumnReader(SCHEMA)
    codes = [
        reader.read(columns(carrier=pa.array(values).dictionary_encode())).matrix[:, 2].tolist() for values in (["UA", "B6"], ["9E", "UA"])
    ]
    assert codes == [[0, 1], [2, 0]]


def test_an_infinite_number_rejects_its_row_alone() -> None:
    block = ColumnReader(SCHEMA).read(columns(miles=[1.0, math.inf], wind=[1e39, 2.0]))
    assert {row: (r.reason, r.column, r.found) for row, r in block.rejects.items()} == {
        0: ("NotFinite", "wind", "1e+39"),
        1: ("NotFinite", "miles", "inf"),
    }


def test_an_infinite_category_rejects_its_row() -> None:
    block = ColumnReader(SCHEMA).read(columns(carrier=[math.inf, 7.0]))
    assert [(row, r.reason, r.column) for row, r in block.rejects.items()] == [(0, "NotFinite", "carrier")]


def test_numerals_of_a_csv_are_parsed_and_other_text_rejected() -> None:
    texts = ["1.5", " +2e1 ", None, "true", "False", "ten", "0x10", "1,5", "-inf", "1_0"]
    n = len(texts)
    block = ColumnReader(SCHEMA, is_text=True).read(columns(wind=pa.array(texts), miles=pa.array(["1"] * n), carrier=pa.array(["UA"] * n)))
    assert np.array_equal(block.matrix[:5, 1], [1.5, 20, math.nan, 1, 0], equal_nan=True)
    assert {row: (r.reason, r.found) for row, r in block.rejects.items()} == {
        5: ("WrongType", "ten"),
        6: ("WrongType", "0x10"),
        7: ("WrongType", "1,5"),
        8: ("NotFinite", "-inf"),
        9: ("WrongType", "1_0"),
    }


def test_a_csv_category_is_what_training_took_it_for() -> None:
    carrier = SCHEMA.features[2].model_copy(update={"categories": ("7", "true", "B6")})
    reader = ColumnReader(make_schema(features=(*SCHEMA.features[:2], carrier)), is_text=True)
    texts = ["7", "07", "7.0", "True", "B6", "nan", "7_0", None]
    plain = pa.array(["1"] * len(texts))
    block = reader.read({"miles": plain, "wind": plain, "carrier": pa.array(texts)})
    assert np.array_equal(block.matrix[:, 2], [0, 0, 0, 1, 2, 3, 3, math.nan], equal_nan=True)
    assert block.unknown == {"carrier": 2}


def test_a_long_value_is_shown_in_part() -> None:
    plain = columns(miles=["1", "1"], wind=["y" * 500, "1"])
    assert len(ColumnReader(SCHEMA, is_text=True).read(plain).rejects[0].found) == 80


def test_extra_columns_are_nobodys_business() -> None:
    check_types(SCHEMA, {"miles": pa.int64(), "wind": pa.float32(), "carrier": pa.string(), "other": pa.binary()}, where="'a.parquet'")


def test_missing_columns_are_named_with_all_that_are_read() -> None:
    with pytest.raises(
        MissingColumn, match=r"'a\.parquet' lacks columns 'wind', 'carrier'; the model reads: miles, wind, carrier; .* has: miles"
    ) as error:
        check_types(SCHEMA, {"miles": pa.int64()}, where="'a.parquet'")
    assert [detail["column"] for detail in error.value.details] == ["wind", "carrier"]


def test_wrong_types_are_named_with_what_is_allowed() -> None:
    found = {"miles": pa.string(), "wind": pa.list_(pa.int8()), "carrier": pa.binary()}
    with pytest.raises(
        WrongType, match="'miles' holds string and is a number: allowed are integers, floats, decimals or booleans"
    ) as error:
        check_types(SCHEMA, found, where="'a.parquet'")
    assert [detail["column"] for detail in error.value.details] == ["miles", "wind", "carrier"]
