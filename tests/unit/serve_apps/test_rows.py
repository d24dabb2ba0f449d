from __future__ import annotations

import json
import math
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.encoder import Encoder
from cluster.errors import (
    BadJson,
    BadRequestShape,
    BadTime,
    HomeostatError,
    MissingColumn,
    NoRows,
    NotFinite,
    RequestError,
    TooManyRows,
    UnknownColumn,
    UnknownModel,
    WrongType,
)
from cluster.schema import FeatureSchema, Label
from serve_apps.cascade import ENSEMBLE, STUDENT, UNANSWERED
from serve_apps.protocols.plane import Answered
from serve_apps.protocols.rows import RowsCodec
from tests.builders import make_row, make_schema

NOW = 1.7e9
CODEC = RowsCodec(make_schema(), model="late", max_rows=5)


def body(*rows: Any, **more: Any) -> bytes:
    return json.dumps({"rows": list(rows), **more}).encode()


def refusal(content: bytes, codec: RowsCodec = CODEC) -> HomeostatError:
    with pytest.raises(RequestError) as caught:
        codec.decode(content, now=NOW)
    return caught.value


# Good rows


def test_rows_are_decoded_column_by_column() -> None:
    decoded = CODEC.decode(body(make_row(), make_row(miles=None, carrier=7, sex=None, at=5), model="late"), now=NOW)
    assert decoded.columns == {"miles": [200.0, None], "wind": [3.5, 3.5], "carrier": ["B6", 7], "sex": ["female", None]}
    assert decoded.event_times == [1357016400.0, 5.0]


def test_rows_may_come_by_columns() -> None:
    rows = [make_row(), make_row(miles=None, carrier=7)]
    columns = json.dumps({"model": "late", "columns": {name: [row[name] for row in rows] for name in rows[0]}}).encode()
    assert CODEC.decode(columns, now=NOW) == CODEC.decode(body(*rows), now=NOW)


def test_a_row_without_a_time_happens_now() -> None:
    row = make_row()
    del row["at"]
    assert CODEC.decode(body(row, make_row(at=None)), now=NOW).event_times == [NOW, NOW]


def test_rows_of_a_schema_without_time_happen_now() -> None:
    row = make_row()
    del row["at"]
    codec = RowsCodec(make_schema(time=None), model="late", max_rows=5)
    assert codec.decode(body(row), now=NOW).event_times == [NOW]


def test_a_row_with_an_unknown_carrier_is_scored_as_unknown() -> None:
    decoded = CODEC.decode(body(make_row(carrier="ZZ")), now=NOW)
    assert Encoder(CODEC.reader.schema).columns(decoded.columns)[0, 2] == 3


scalars = st.one_of(st.none(), st.text(), st.integers(-(2**63), 2**63 - 1), st.booleans())
good_rows = st.fixed_dictionaries(
    {
        "miles": st.one_of(st.none(), st.floats(width=32, allow_nan=False, allow_infinity=False), st.integers(-(10**9), 10**9)),
        "wind": st.one_of(st.none(), st.floats(-1e30, 1e30)),
        "carrier": scalars,
        "sex": scalars,
    },
    optional={"at": st.floats(0, 4e9)},
)


@given(st.lists(good_rows, min_size=1, max_size=5))
def test_good_rows_arrive_as_they_were_sent(rows: list[dict[str, Any]]) -> None:
    decoded = CODEC.decode(msgspec.json.encode({"rows": rows}), now=NOW)
    assert decoded.columns == {name: [row[name] for row in rows] for name in ("miles", "wind", "carrier", "sex")}
    assert decoded.event_times == [row.get("at", NOW) for row in rows]


# Bad requests


@pytest.mark.parametrize(
    ("content", "error", "message"),
    [
        (b"", BadJson, "the body is not JSON"),
        (b"{", BadJson, "the body is not JSON"),
        (b"\xff\xfe", BadJson, "the body is not JSON"),
        (b'{"rows": [{"carrier": "\xff"}]}', BadJson, "the body is not JSON"),
        (b'{"rows": [{"miles": NaN}]}', BadJson, "send null for a missing value"),
        (b'{"rows": [{"miles": -Infinity}]}', BadJson, "send null for a missing value"),
        (b'{"rows": [{"miles": "text"}', BadJson, "the body is not JSON"),
        (b'{"rows": [{"miles": "text", "wind": NaN}]}', BadJson, "the body is not JSON"),
        (b"[" * 100_000, BadJson, "the body is not JSON"),
        (b'{"rows": ' + b"[" * 100_000, BadJson, "the body is not JSON"),
        (b"[]", BadRequestShape, "must be an object with a list of rows"),
        (b"null", BadRequestShape, "must be an object with a list of rows"),
        (b"{}", BadRequestShape, "must be an object with a list of rows"),
        (b'{"rows": {}}', BadRequestShape, "must be an object with a list of rows"),
        (b'{"rows": [], "model": 5}', BadRequestShape, "'model' must be a name"),
        (b'{"rows": [], "row": 1}', BadRequestShape, "unknown key 'row' in the body; allowed: rows, columns, model"),
        (b'{"rows": [], "columns": {}}', BadRequestShape, "one of them"),
        (b'{"columns": {"miles": [1]}}', MissingColumn, "column 'wind' is absent"),
        (b'{"rows": []}', NoRows, "the request holds no rows"),
        (body(make_row(), model="other"), UnknownModel, "model 'other' is not served here; this service answers for 'late'"),
        (body(*[make_row()] * 6), TooManyRows, "the request holds 6 rows; at most 5 are answered at once"),
    ],
)
def test_a_request_of_another_shape_is_refused(content: bytes, error: type[RequestError], message: str) -> None:
    found = refusal(content)
    assert type(found) is error
    assert message in found.message


@pytest.mark.parametrize(
    ("column", "value", "error", "found", "message"),
    [
        ("miles", "far", WrongType, "'far'", "row 1, column 'miles': 'far' is text; allowed: a number, or null for missing"),
        ("miles", True, WrongType, True, "is a boolean; allowed: a number"),
        ("miles", [1], WrongType, "[1]", "is a list; allowed: a number"),
        ("carrier", {"a": 1}, WrongType, "{'a': 1}", "is an object; allowed: a string, integer or boolean"),
        ("carrier", 10**30, NotFinite, repr(10**30), "infinite or too large"),
        ("sex", -(10**30), NotFinite, repr(-(10**30)), "infinite or too large"),
        ("sex", [], WrongType, "[]", "is a list; allowed: a string, number or boolean"),
        ("wind", 1e39, NotFinite, 1e39, "infinite or too large"),
        ("wind", 10**60, NotFinite, repr(10**60), "infinite or too large"),
        ("wind", 10**400, NotFinite, repr(10**400)[:80], "infinite or too large"),
        ("at", "soon", BadTime, "'soon'", "row 1, column 'at': 'soon' is not a time; allowed: ISO 8601 text or seconds since 1970"),
        ("at", 1e300, BadTime, 1e300, "is not a time"),
        ("at", True, WrongType, True, "is a boolean; allowed: ISO 8601 text or seconds since 1970"),
        ("at", [], WrongType, "[]", "is a list; allowed: ISO 8601 text"),
    ],
)
def test_a_wrong_value_is_named_with_its_place(column: str, value: Any, error: type[RequestError], found: Any, message: str) -> None:
    refused = refusal(body(make_row(), make_row(**{column: value})))
    assert type(refused) is error
    assert message in refused.message
    (detail,) = refused.details
    assert (detail["problem"], detail["row"], detail["column"], detail["found"]) == (error.__name__, 1, column, found)
    msgspec.json.encode(detail)


@pytest.mark.parametrize("literal", [b"1e999", b"-1e999"])
@pytest.mark.parametrize("column", ["miles", "carrier", "sex", "at"])
def test_a_number_beyond_all_bounds_is_not_finite(column: str, literal: bytes) -> None:
    refused = refusal(body(make_row(**{column: 0.25})).replace(b"0.25", literal))
    assert type(refused) is NotFinite
    assert (refused.details[0]["row"], refused.details[0]["column"]) == (0, column)


def test_a_missing_column_is_named_with_the_known_ones() -> None:
    row = make_row()
    del row["carrier"]
    refused = refusal(body(row))
    assert type(refused) is MissingColumn
    assert refused.message == "row 0 lacks column 'carrier'; send null if its value is missing"
    known = ["miles", "wind", "carrier", "sex", "at"]
    assert refused.details == ({"problem": "MissingColumn", "row": 0, "column": "carrier", "found": None, "allowed": known},)


def test_an_unknown_column_is_named() -> None:
    refused = refusal(body(make_row(colour="red")))
    assert type(refused) is UnknownColumn
    assert refused.message == "row 0 has column 'colour', which the schema lacks"
    assert refused.details[0]["column"] == "colour"


@pytest.mark.parametrize("row", [5, None, "row", [1, 2]])
def test_a_row_that_is_no_object_is_refused(row: Any) -> None:
    refused = refusal(body(make_row(), row))
    assert type(refused) is WrongType
    assert "row 1 is " in refused.message
    assert refused.details[0]["allowed"] == "an object"


def test_all_problems_are_listed_and_at_most_twenty() -> None:
    refused = refusal(body({}, make_row(miles="x")))
    assert [detail["problem"] for detail in refused.details] == ["MissingColumn"] * 4 + ["WrongType"]
    assert "(and 4 more, see details)" in refused.message
    assert len(refusal(body(*[{}] * 50)).details) == 20


def test_a_large_value_is_not_sent_back_whole() -> None:
    for column in ("miles", "at"):
        refused = refusal(body(make_row(**{column: "x" * 10_000})))
        assert len(refused.message) < 300
        assert len(str(refused.details)) < 400


anything = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.text(),
        st.integers(-(10**40), 10**40),
        st.floats(),
        st.sampled_from(["2013-01-01", 10**400, -1e300, ""]),
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=2), st.dictionaries(st.text(), inner, max_size=2)),
    max_leaves=4,
)
rows_of_anything = st.one_of(
    anything,
    st.dictionaries(st.sampled_from(["miles", "wind", "carrier", "sex", "at", "model", ""]), anything),
    st.fixed_dictionaries(dict.fromkeys(("miles", "wind", "carrier", "sex", "at"), anything)),
)
requests = st.one_of(
    anything.map(lambda value: json.dumps(value).encode()),
    st.fixed_dictionaries({"rows": st.lists(rows_of_anything, max_size=3)}, optional={"model": anything}).map(
        lambda value: json.dumps(value).encode()
    ),
    st.binary(),
)


@given(content=requests, cut=st.integers(0, 5))
def test_whatever_is_sent_is_decoded_or_refused_in_words(content: bytes, cut: int) -> None:
    try:
        decoded = CODEC.decode(content[: len(content) - cut], now=NOW)
    except RequestError as error:
        json.loads(msgspec.json.encode([error.message, *error.details]))
        return
    matrix = Encoder(CODEC.reader.schema).columns(decoded.columns)
    assert not np.isinf(matrix).any()
    assert all(math.isfinite(time) for time in decoded.event_times)
    msgspec.msgpack.encode(decoded.columns)


# Answers


def answers(schema: FeatureSchema, scores: list[list[float]], by: list[int]) -> Any:
    codec = RowsCodec(schema, model="late", max_rows=5)
    answered = Answered("id", "late", "3", schema.label, np.array(scores, dtype=np.float32), np.array(by, dtype=np.uint8))
    return json.loads(codec.encode(answered))


def test_binary_answers_carry_probability_and_who_answered() -> None:
    assert answers(make_schema(), [[0.75], [0.25], [0.5]], [STUDENT, ENSEMBLE, UNANSWERED]) == {
        "request_id": "id",
        "model": "late",
        "bundle": "3",
        "predictions": [
            {"prediction": 1, "answered_by": "student", "probability": 0.75},
            {"prediction": 0, "answered_by": "ensemble", "probability": 0.25},
            {"prediction": 1, "answered_by": "student", "probability": 0.5, "degraded": True},
        ],
    }


def test_multiclass_answers_carry_the_probability_of_each_class() -> None:
    schema = make_schema(label=Label(name="late", task="multiclass", classes=("a", "b", "c")))
    (answer,) = answers(schema, [[0.25, 0.5, 0.25]], [STUDENT])["predictions"]
    probabilities = {"a": 0.25, "b": 0.5, "c": 0.25}
    assert answer == {"prediction": "b", "answered_by": "student", "probability": 0.5, "probabilities": probabilities}


def test_regression_answers_are_the_number() -> None:
    schema = make_schema(label=Label(name="late", task="regression"))
    assert answers(schema, [[12.5]], [ENSEMBLE])["predictions"] == [{"prediction": 12.5, "answered_by": "ensemble"}]
