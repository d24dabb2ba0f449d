from __future__ import annotations

import datetime as dt
import decimal
import io
from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.csv
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import ipc

from cluster.errors import (
    BadJson,
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
from cluster.schema import Feature, Label
from serve_apps.cascade import STUDENT
from serve_apps.protocols.answers import row_answers
from serve_apps.protocols.bulk import decode_arrow, decode_columns_json, decode_csv, encode_arrow, encode_csv
from serve_apps.protocols.columns import ColumnsReader
from serve_apps.protocols.plane import DecodedRows
from tests.builders import make_row, make_schema
from tests.unit.serve_apps.tables import (
    BINARY,
    MULTICLASS,
    NAMES,
    NOW,
    READER,
    REGRESSION,
    answered,
    columns_of,
    dumps,
    numbers,
    rows_of,
    texts,
    two_rows,
    typed,
)

LATE = dt.datetime(2013, 1, 1, 5, 0, 0, 123456, tzinfo=dt.UTC)


def arrow(columns: Any, kind: Callable[..., Any] = ipc.new_stream) -> bytes:
    table = columns if isinstance(columns, pa.Table) else pa.table(columns)
    sink = io.BytesIO()
    with kind(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue()


def refusal(decode: Callable[..., DecodedRows], body: bytes) -> RequestError:
    with pytest.raises(RequestError) as caught:
        decode(body, READER, now=NOW)
    return caught.value


# Columns as JSON


@given(rows_of())
def test_columns_as_json_are_read_as_typed_rows_are(rows: list[dict[str, Any]]) -> None:
    assert decode_columns_json(msgspec.json.encode({"columns": columns_of(rows), "model": "late"}), READER, now=NOW) == typed(rows)


@pytest.mark.parametrize(
    ("body", "error", "message"),
    [
        (b"{", BadJson, "the body is not JSON"),
        (b'{"columns": {"miles": [NaN]}}', BadJson, "NaN and Infinity are not JSON either; send null for a missing value"),
        (b"[]", BadRequestShape, 'the body does not fit {"columns": {"name": [value, …], …}}: Expected `object`, got `array`'),
        (b"{}", BadRequestShape, "Object missing required field `columns`"),
        (b'{"columns": []}', BadRequestShape, "Expected `object`, got `array`"),
        (dumps({"columns": columns_of(two_rows()), "row": 1}), BadRequestShape, "Object contains unknown field `row`"),
        (dumps({"columns": columns_of(two_rows()), "model": 1}), BadRequestShape, "Expected `str | null`, got `int`"),
        (dumps({"columns": columns_of(two_rows()), "model": "other"}), UnknownModel, "model 'other' is not served here"),
        (dumps({"columns": {"miles": 5}}), MissingColumn, "column 'wind' is absent"),
        (dumps({"columns": columns_of(two_rows()) | {"miles": 5}}), BadRequestShape, "column 'miles' is a number, not a list of values"),
        (dumps({"columns": columns_of([make_row(miles="x")])}), WrongType, "row 0, column 'miles': 'x' is text"),
        (dumps({"columns": columns_of([make_row(sex=0.25)])}).replace(b"0.25", b"1e999"), NotFinite, "row 0, column 'sex': the number"),
        (dumps({"columns": dict.fromkeys(NAMES, ())}), NoRows, "the request holds no rows"),
    ],
)
def test_columns_of_another_shape_are_refused(body: bytes, error: type[RequestError], message: str) -> None:
    refused = refusal(decode_columns_json, body)
    assert type(refused) is error
    assert message in refused.message


# Arrow


def arrow_columns(rows: list[dict[str, Any]]) -> dict[str, pa.Array]:
    kinds = {"miles": pa.float64(), "wind": pa.float64(), "carrier": pa.string(), "sex": pa.string(), "at": None}
    return {name: pa.array([row[name] for row in rows], kind) for name, kind in kinds.items()}


text_rows = rows_of(st.one_of(st.none(), texts), st.one_of(st.none(), st.floats(0, 4e9)))


@given(rows=text_rows, kind=st.sampled_from([ipc.new_stream, ipc.new_file]))
def test_arrow_is_read_as_typed_rows_are(rows: list[dict[str, Any]], kind: Callable[..., Any]) -> None:
    assert decode_arrow(arrow(arrow_columns(rows), kind), READER, now=NOW) == typed(rows)


@given(text_rows, st.sampled_from([pa.large_string(), pa.string_view(), pa.dictionary(pa.int8(), pa.string())]))
def test_text_may_be_of_any_kind_that_arrow_has(rows: list[dict[str, Any]], kind: pa.DataType) -> None:
    columns = arrow_columns(rows)
    columns |= {name: columns[name].cast(kind) for name in ("carrier", "sex")}
    assert decode_arrow(arrow(columns), READER, now=NOW) == typed(rows)


@pytest.mark.parametrize(
    ("values", "sent"),
    [
        (pa.array([1, None], pa.int8()), [1, None]),
        (pa.array([2**63, 1], pa.uint64()), [float(2**63), 1]),
        (pa.array([0.5, float("nan")], pa.float16()), [0.5, None]),
        (pa.array([0.25, None], pa.float32()), [0.25, None]),
        (pa.array([decimal.Decimal("1.10"), None]), [1.1, None]),
        (pa.array([1.5, 2.5, None]).dictionary_encode()[1:], [2.5, None]),
        (pa.nulls(2), [None, None]),
    ],
)
def test_numbers_may_be_of_any_kind_that_arrow_has(values: pa.Array, sent: list[Any]) -> None:
    rows = two_rows()
    columns = arrow_columns(rows) | {"miles": values}
    assert decode_arrow(arrow(columns), READER, now=NOW) == typed([row | {"miles": value} for row, value in zip(rows, sent, strict=True)])


@pytest.mark.parametrize(
    ("values", "sent"),
    [
        (pa.array([7, None], pa.int32()), [7, None]),
        (pa.array([True, None]), [True, None]),
        (pa.array([0.5, float("nan")]), [0.5, None]),
        (pa.array([decimal.Decimal("1.10"), None]), ["1.10", None]),
    ],
)
def test_categories_may_be_numbers_and_booleans(values: pa.Array, sent: list[Any]) -> None:
    columns = arrow_columns(two_rows()) | {"carrier": values}
    assert decode_arrow(arrow(columns), READER, now=NOW).columns["carrier"] == sent


@pytest.mark.parametrize(
    ("kind", "seconds"),
    [
        (pa.timestamp("s"), 1357016400.0),
        (pa.timestamp("ms", "UTC"), 1357016400.123),
        (pa.timestamp("us", "Europe/Berlin"), LATE.timestamp()),
        (pa.timestamp("ns"), LATE.timestamp()),
        (pa.date32(), 1356998400.0),
        (pa.date64(), 1356998400.0),
        (pa.float64(), 5.5),
        (pa.int32(), 5.0),
        (pa.string(), LATE.timestamp()),
    ],
)
def test_the_time_may_be_a_timestamp_a_date_seconds_or_text(kind: pa.DataType, seconds: float) -> None:
    moment = pa.scalar(LATE, pa.timestamp("us", "UTC"))
    if pa.types.is_temporal(kind):
        values = pa.array([moment.as_py(), None], pa.timestamp("us", "UTC")).cast(kind, safe=False)
    else:
        values = pa.array([LATE.isoformat() if pa.types.is_string(kind) else int(seconds) if kind == pa.int32() else seconds, None], kind)
    assert decode_arrow(arrow(arrow_columns(two_rows()) | {"at": values}), READER, now=NOW).event_times == [seconds, NOW]


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"miles": pa.array(["far", None])}, WrongType, "row 0, column 'miles': 'far' is text; allowed: a number, or null for missing"),
        ({"miles": pa.array([True, None])}, WrongType, "row 0, column 'miles': True is a boolean"),
        ({"miles": pa.array([1.0, 1e39])}, NotFinite, "row 1, column 'miles': the number is infinite or too large"),
        ({"carrier": pa.array([2**63, 1], pa.uint64())}, NotFinite, "row 0, column 'carrier': the number is infinite or too large"),
        ({"carrier": pa.array([[1], None])}, WrongType, "column 'carrier' holds list<item: int64>; allowed: numbers, text, booleans"),
        ({"carrier": pa.array([LATE, None])}, WrongType, "column 'carrier' holds timestamp[us, tz=UTC]; allowed: numbers, text, booleans"),
        ({"carrier": pa.array([b"B6", None])}, WrongType, "column 'carrier' holds binary; allowed: numbers, text, booleans"),
        ({"at": pa.array([5, None], pa.time32("s"))}, WrongType, "column 'at' holds time32[s]; allowed: "),
        ({"at": pa.array([2**62, None], pa.timestamp("s"))}, BadTime, "row 0, column 'at': 4.611686018427388e+18 is not a time"),
        ({"colour": pa.array(["red", "red"])}, UnknownColumn, "there is a column 'colour', which the schema lacks"),
    ],
)
def test_arrow_that_does_not_fit_is_refused(changes: dict[str, pa.Array], error: type[RequestError], message: str) -> None:
    refused = refusal(decode_arrow, arrow(arrow_columns(two_rows()) | changes))
    assert type(refused) is error
    assert message in refused.message
    msgspec.json.encode(refused.details)


def test_a_column_that_is_there_twice_is_refused() -> None:
    table = pa.table(arrow_columns(two_rows()))
    assert refusal(decode_arrow, arrow(table.append_column("sex", table["sex"]))).message == "column 'sex' is there twice"
    assert refusal(decode_csv, b"miles,wind,carrier,sex,sex\n1,2,B6,f,f\n").message == "column 'sex' is there twice"


def test_too_many_rows_or_none_are_refused() -> None:
    none = arrow(pa.table(arrow_columns(two_rows())).slice(0, 0))
    assert type(refusal(decode_arrow, none)) is NoRows
    assert type(refusal(decode_arrow, arrow(arrow_columns([make_row(at=1)] * 6)))) is TooManyRows
    assert type(refusal(decode_csv, b"miles,wind,carrier,sex\n")) is NoRows
    assert type(refusal(decode_csv, b"miles,wind,carrier,sex\n" + b"1,2,B6,f\n" * 6)) is TooManyRows


# CSV

csv_texts = st.text(st.characters(codec="utf-8", exclude_characters="\0\r"), min_size=1)  # a field is empty or missing, not both
csv_rows = rows_of(st.one_of(st.none(), csv_texts), st.one_of(st.none(), st.floats(0, 4e9), st.just("2013-01-01T05:00:00")))


@given(csv_rows)
def test_csv_is_read_as_typed_rows_are(rows: list[dict[str, Any]]) -> None:
    assert decode_csv(comma_separated_by_hand(rows), READER, now=NOW) == typed(rows)


def comma_separated_by_hand(rows: list[dict[str, Any]]) -> bytes:
    lines = [",".join(NAMES), *(",".join(field(row[name]) for name in NAMES) for row in rows)]
    return "\n".join(lines).encode()


def field(value: Any) -> str:
    if isinstance(value, str):
        return '"' + value.replace('"', '""') + '"'
    return "" if value is None else repr(value)


def test_what_pandas_writes_is_read() -> None:
    import pandas as pd

    rows = [make_row(carrier='a "quoted", \n one'), make_row(miles=None, carrier="NA", sex=None), make_row(wind=-1e-7)]
    assert decode_csv(pd.DataFrame(rows).to_csv(index=False).encode(), READER, now=NOW) == typed(rows)


def test_csv_fields_are_read_by_their_columns() -> None:
    body = '\ufeffmiles,wind,carrier,sex,at\r\n 1e2 ,nan,07,"",1357016400\r\n"",2.5,nan,,\r\n'.encode()
    decoded = decode_csv(body, READER, now=NOW)
    assert decoded.columns == {"miles": [100.0, None], "wind": [None, 2.5], "carrier": ["07", "nan"], "sex": ["", None]}
    assert decoded.event_times == [1357016400.0, NOW]


def test_a_blank_line_is_nothing_unless_it_is_the_missing_value_of_an_only_column() -> None:
    assert len(decode_csv(b"miles,wind,carrier,sex\n1,2,B6,f\n\n1,2,B6,f\n\n", READER, now=NOW).event_times) == 2
    schema = make_schema(features=(Feature(name="miles", type="number"),), protected=(), time=None)
    reader = ColumnsReader(schema, model="late", max_rows=5)
    assert decode_csv(b"miles\n1\n\n3\n", reader, now=NOW).columns == {"miles": [1.0, None, 3.0]}


@pytest.mark.parametrize(
    ("body", "error", "message"),
    [
        (b"", BadRequestShape, "the body is not CSV in UTF-8 with a line of column names: "),
        (b"miles,wind,carrier,sex\n1,2,B6\n", BadRequestShape, "Expected 4 columns, got 3"),
        (b"miles,wind,carrier,sex\n1,2,\xff,f\n", BadRequestShape, "the body is not CSV in UTF-8"),
        (b"miles,wind,sex\n1,2,f\n", MissingColumn, "column 'carrier' is absent"),
        (b"miles,wind,carrier,sex,colour\n1,2,B6,f,red\n", UnknownColumn, "there is a column 'colour'"),
        (b"miles,wind,carrier,sex\n1,2,B6,f\n1,far,B6,f\n", WrongType, "row 1, column 'wind': 'far' is text; allowed: a number"),
        (b"miles,wind,carrier,sex\n1_0,2,B6,f\n", WrongType, "row 0, column 'miles': '1_0' is text"),
        (b"miles,wind,carrier,sex\n1,inf,B6,f\n", NotFinite, "row 0, column 'wind': the number is infinite"),
        (b"miles,wind,carrier,sex\n1,1e39,B6,f\n", NotFinite, "row 0, column 'wind': the number is infinite"),
        (b"miles,wind,carrier,sex,at\n1,2,B6,f,soon\n", BadTime, "row 0, column 'at': 'soon' is not a time"),
    ],
)
def test_csv_that_does_not_fit_is_refused(body: bytes, error: type[RequestError], message: str) -> None:
    refused = refusal(decode_csv, body)
    assert type(refused) is error
    assert message in refused.message


@given(
    st.binary() | st.text(st.sampled_from('miles,wnd"\n\r01.;\0é')).map(str.encode),
    st.sampled_from([decode_arrow, decode_csv, decode_columns_json]),
)
def test_whatever_is_sent_is_decoded_or_refused_in_words(body: bytes, decode: Callable[..., DecodedRows]) -> None:
    try:
        decode(body, READER, now=NOW)
    except RequestError as error:
        msgspec.json.encode([error.message, *error.details])


# Answers


def read_back(body: bytes) -> pa.Table:
    return ipc.open_stream(body).read_all()


def test_binary_answers_are_columns_with_the_request_in_the_metadata() -> None:
    table = read_back(encode_arrow(answered(BINARY, [[0.75], [0.25], [0.5]])))
    assert table.schema.metadata == {b"request_id": b"id", b"model": b"late", b"bundle": b"3"}
    assert table.to_pydict() == {
        "prediction": [1, 0, 1],
        "probability": [0.75, 0.25, 0.5],
        "answered_by": ["student", "ensemble", "student"],
        "degraded": [False, False, True],
    }


def test_multiclass_answers_have_a_column_for_each_class() -> None:
    table = read_back(encode_arrow(answered(MULTICLASS, [[0.25, 0.5, 0.25]])))
    assert table.to_pydict() == {
        "prediction": ["b"],
        "probability": [0.5],
        "probability_a": [0.25],
        "probability_b": [0.5],
        "probability_c": [0.25],
        "answered_by": ["student"],
        "degraded": [False],
    }


def test_regression_answers_are_the_number() -> None:
    assert read_back(encode_arrow(answered(REGRESSION, [[12.5]]))).to_pydict() == {
        "prediction": [12.5],
        "answered_by": ["student"],
        "degraded": [False],
    }


def test_classes_of_several_types_are_answered_as_text() -> None:
    label = Label(name="late", task="multiclass", classes=("a", 1, True))
    table = read_back(encode_arrow(answered(label, [[0.0, 1.0, 0.0], [0.0, 0.0, 1.0]], (STUDENT, STUDENT))))
    assert table["prediction"].to_pylist() == ["1", "True"]


def test_answers_as_csv_have_the_same_columns() -> None:
    body = encode_csv(answered(BINARY, [[0.75], [0.25], [0.5]]))
    assert (
        body
        == b'"prediction","probability","answered_by","degraded"\n1,0.75,"student",false\n0,0.25,"ensemble",false\n1,0.5,"student",true\n'
    )


@given(st.lists(numbers.filter(lambda value: value is not None), min_size=1, max_size=3))
def test_every_format_says_the_same_number(scores: list[float]) -> None:
    answer = answered(REGRESSION, [[score] for score in scores])
    expected = answer.scores[:, 0].tolist()
    assert read_back(encode_arrow(answer))["prediction"].to_pylist() == expected
    assert pa.csv.read_csv(io.BytesIO(encode_csv(answer)))["prediction"].cast(pa.float64()).to_pylist() == expected


def test_a_body_of_very_many_columns_is_refused_by_their_names_before_their_values_are_read() -> None:
    names = [f"c{i}" for i in range(20_000)]
    table = pa.table({name: pa.nulls(2) for name in names})
    with pytest.raises(MissingColumn, match="and 19 more"):
        decode_arrow(arrow(table), READER, now=NOW)
    with pytest.raises(MissingColumn, match="and 19 more"):
        decode_csv((",".join(names) + "\n" + "," * 19_999 + "\n").encode(), READER, now=NOW)


def test_a_number_comes_with_the_ends_of_its_interval_where_the_bundle_has_them():
    answer = answered(REGRESSION, [[12.5], [3.0]])._replace(intervals=np.array([[10.0, 15.0], [2.5, 3.5]]))
    table = read_back(encode_arrow(answer))
    assert table.select(["prediction", "lower", "upper"]).to_pydict() == {
        "prediction": [12.5, 3.0],
        "lower": [10.0, 2.5],
        "upper": [15.0, 3.5],
    }
    assert [found.interval for found in row_answers(answer)] == [(10.0, 15.0), (2.5, 3.5)]
    assert b"interval" not in msgspec.json.encode(list(row_answers(answered(REGRESSION, [[12.5]]))))
