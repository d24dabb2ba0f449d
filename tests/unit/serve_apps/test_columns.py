from __future__ import annotations

import math
from typing import Any

import msgspec
import pytest
from hypothesis import given

from cluster.errors import (
    BadRequestShape,
    BadTime,
    MissingColumn,
    NoRows,
    NotFinite,
    RequestError,
    TooManyRows,
    UnknownColumn,
    UnknownModel,
    WrongType,
)
from serve_apps.protocols.columns import ColumnsReader
from serve_apps.protocols.rows import RowsCodec
from tests.builders import make_row, make_schema
from tests.unit.serve_apps.tables import NAMES, NOW, READER, SCHEMA, columns_of, dumps, rows_of, two_rows, typed


def refusal(columns: Any, reader: ColumnsReader = READER) -> RequestError:
    with pytest.raises(RequestError) as caught:
        reader.read(columns, now=NOW)
    return caught.value


# Good rows


@given(rows_of())
def test_columns_records_and_positions_are_read_as_typed_rows_are(rows: list[dict[str, Any]]) -> None:
    expected = typed(rows)
    assert READER.read(columns_of(rows), now=NOW) == expected
    assert READER.read_records(rows, now=NOW) == expected
    assert READER.read_matrix([[row[name] for name in NAMES] for row in rows], now=NOW) == expected
    assert READER.read_records([[row[name] for name in NAMES] for row in rows], now=NOW) == expected


def test_numbers_arrive_as_floats_and_categories_as_they_were_sent() -> None:
    decoded = READER.read({"miles": (1, 2.5), "wind": (None, 0), "carrier": (7, True), "sex": (0.5, "f"), "at": (5, None)}, now=NOW)
    assert decoded.columns == {"miles": [1.0, 2.5], "wind": [None, 0.0], "carrier": [7, True], "sex": [0.5, "f"]}
    assert [type(value) for value in decoded.columns["miles"]] == [float, float]
    assert decoded.event_times == [5.0, NOW]


def test_not_a_number_is_missing_in_every_column() -> None:
    columns: dict[str, Any] = {"miles": [1.0, math.nan], "wind": [math.nan, None], "carrier": [math.nan, "B6"], "sex": [None, math.nan]}
    assert READER.read(columns | {"at": [math.nan, 5]}, now=NOW).columns == {
        "miles": [1.0, None],
        "wind": [None, None],
        "carrier": [None, "B6"],
        "sex": [None, None],
    }
    (record,) = [make_row(miles=math.nan, sex=math.nan, at=math.nan)]
    assert READER.read_records([record], now=NOW) == typed([make_row(miles=None, sex=None, at=None)])


def test_rows_without_a_time_happen_now() -> None:
    columns = columns_of(two_rows())
    del columns["at"]
    assert READER.read(columns, now=NOW).event_times == [NOW, NOW]
    timeless = ColumnsReader(make_schema(time=None), model="late", max_rows=5)
    assert timeless.read(columns, now=NOW).event_times == [NOW, NOW]


def test_rows_by_position_may_leave_out_the_time_and_the_protected_columns() -> None:
    everything = typed([make_row(sex="f", at=5)])
    assert READER.read_matrix([[200.0, 3.5, "B6", "f", 5]], now=NOW) == everything
    assert READER.read_matrix([(200.0, 3.5, "B6", "f")], now=NOW) == typed([make_row(sex="f", at=None)])
    assert READER.read_matrix([[200.0, 3.5, "B6"]], now=NOW) == typed([make_row(sex=None, at=None)])


# Bad rows


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("miles", "far"),
        ("miles", True),
        ("miles", [1]),
        ("carrier", {"a": 1}),
        ("carrier", 10**30),
        ("carrier", 2**63),
        ("sex", -(10**30)),
        ("sex", []),
        ("wind", 1e39),
        ("wind", 10**400),
        ("at", "soon"),
        ("at", 1e300),
        ("at", True),
        ("at", []),
    ],
)
def test_a_wrong_value_is_refused_in_the_words_of_typed_rows(column: str, value: Any) -> None:
    rows = [make_row(), make_row(**{column: value})]
    body = dumps({"rows": rows})
    with pytest.raises(RequestError) as caught:
        RowsCodec(SCHEMA, model="late", max_rows=5).decode(body, now=NOW)
    expected = (type(caught.value), caught.value.message, caught.value.details)
    with pytest.raises(RequestError) as caught:
        READER.read_records(rows, now=NOW)
    assert (type(caught.value), caught.value.message, caught.value.details) == expected
    refused = refusal(columns_of(rows))
    assert (type(refused), refused.message, refused.details) == expected
    assert (refused.details[0]["row"], refused.details[0]["column"]) == (1, column)
    msgspec.json.encode(refused.details)


@pytest.mark.parametrize("column", ["miles", "carrier", "sex", "at"])
@pytest.mark.parametrize("value", [math.inf, -math.inf])
def test_an_infinite_number_is_refused(column: str, value: float) -> None:
    refused = refusal(columns_of([make_row(), make_row(**{column: value})]))
    assert type(refused) is NotFinite
    assert (refused.details[0]["row"], refused.details[0]["column"], refused.details[0]["found"]) == (1, column, repr(value))


def test_bytes_are_no_text() -> None:
    refused = refusal(columns_of([make_row(carrier=b"B6")]))
    assert type(refused) is WrongType
    assert refused.message == "row 0, column 'carrier': b'B6' is bytes; allowed: a string, integer or boolean, or null for missing"


def test_absent_and_unknown_columns_are_named_once_and_not_for_each_row() -> None:
    columns = columns_of([make_row(colour="red")] * 3)
    del columns["carrier"]
    refused = refusal(columns)
    assert type(refused) is MissingColumn
    assert refused.message == "column 'carrier' is absent; send nulls if its values are missing (and 1 more, see details)"
    allowed = list(NAMES)
    assert refused.details == (
        {"problem": "MissingColumn", "row": None, "column": "carrier", "found": None, "allowed": allowed},
        {"problem": "UnknownColumn", "row": None, "column": "colour", "found": None, "allowed": allowed},
    )
    assert type(refusal(columns_of([make_row(colour="red")]))) is UnknownColumn


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"wind": [1, 2]}, BadRequestShape, "columns differ in length: 'miles' has 1 values, 'wind' has 2"),
        ({"wind": 3.5}, BadRequestShape, "column 'wind' is a number, not a list of values"),
        ({"carrier": "B6"}, BadRequestShape, "column 'carrier' is text, not a list of values"),
        (dict.fromkeys(NAMES, ()), NoRows, "the request holds no rows; send at least one"),
        (dict.fromkeys(NAMES, [None] * 6), TooManyRows, "the request holds 6 rows; at most 5 are answered at once. Split it"),
        ({"at": ["soon"]}, BadTime, "row 0, column 'at': 'soon' is not a time; allowed: ISO 8601 text or seconds since 1970"),
    ],
)
def test_columns_of_another_shape_are_refused(changes: dict[str, Any], error: type[RequestError], message: str) -> None:
    refused = refusal(columns_of([make_row()]) | changes)
    assert (type(refused), refused.message) == (error, message)


@pytest.mark.parametrize(
    ("records", "error", "message"),
    [
        ([], NoRows, "the request holds no rows; send at least one"),
        ([make_row()] * 6, TooManyRows, "the request holds 6 rows; at most 5 are answered at once. Split it"),
        ([make_row(), 5], WrongType, "row 1 is a number, not an object of column: value"),
        ([make_row(), [1, 2, "B6"]], WrongType, "row 1 is a list, not an object of column: value"),
        (
            [[1, 2, "B6"], [1, 2]],
            WrongType,
            "row 1 has 2 values; allowed: 3 or 4 or 5 values by position: miles, wind, carrier, sex, at; in every row as many",
        ),
        (
            [[1, 2, "B6"], [1, 2, "B6", "f"]],
            WrongType,
            "row 1 has 4 values; allowed: 3 or 4 or 5 values by position: miles, wind, carrier, sex, at; in every row as many",
        ),
        (
            [[]],
            WrongType,
            "row 0 has 0 values; allowed: 3 or 4 or 5 values by position: miles, wind, carrier, sex, at; in every row as many",
        ),
        ([[1, "2", "B6"]], WrongType, "row 0, column 'wind': '2' is text; allowed: a number, or null for missing"),
    ],
)
def test_records_of_another_shape_are_refused(records: list[Any], error: type[RequestError], message: str) -> None:
    with pytest.raises(RequestError) as caught:
        READER.read_records(records, now=NOW)
    assert (type(caught.value), caught.value.message) == (error, message)


def test_a_matrix_of_something_else_than_rows_is_refused() -> None:
    with pytest.raises(WrongType, match="row 1 is a number, not a list of values"):
        READER.read_matrix([[1, 2, "B6"], 5], now=NOW)  # type: ignore[list-item]


def test_at_most_twenty_problems_are_listed() -> None:
    reader = ColumnsReader(SCHEMA, model="late", max_rows=50)
    refused = refusal(columns_of([make_row(miles="x", wind="y")] * 50), reader)
    assert len(refused.details) == 20
    assert refused.message.endswith("(and 19 more, see details)")


def test_a_reader_knows_its_model() -> None:
    READER.check_model(None)
    READER.check_model("late")
    with pytest.raises(UnknownModel, match="model 'other' is not served here; this service answers for 'late'"):
        READER.check_model("other")
