from __future__ import annotations

import json
import math
from typing import Any

import msgspec
import pytest
from hypothesis import given

from cluster import errors
from cluster.errors import BadJson, BadRequestShape, MissingColumn, NoRows, RequestError, WrongType
from serve_apps.protocols.torchserve import PING, Style, decode_predictions, describe, error, render_predictions
from tests.builders import make_row
from tests.unit.serve_apps.tables import BINARY, MULTICLASS, NAMES, NOW, READER, answered, dumps, rows_of, typed


@given(rows_of())
def test_rows_are_read_as_typed_rows_are(rows: list[dict[str, Any]]) -> None:
    expected = typed(rows)
    assert decode_predictions(msgspec.json.encode(rows), READER, now=NOW) == (expected, "rows")
    assert decode_predictions(msgspec.json.encode({"instances": rows}), READER, now=NOW) == (expected, "instances")
    by_position = [[row[name] for name in NAMES] for row in rows]
    assert decode_predictions(msgspec.json.encode(by_position), READER, now=NOW) == (expected, "rows")
    assert decode_predictions(msgspec.json.encode(rows[0]), READER, now=NOW) == (typed(rows[:1]), "row")


def test_nan_is_missing() -> None:
    assert decode_predictions(dumps(make_row(miles=math.nan)), READER, now=NOW)[0] == typed([make_row(miles=None)])


@pytest.mark.parametrize(
    ("body", "refused", "message"),
    [
        (b"", BadJson, "the body is not JSON"),
        (b"5", BadRequestShape, "the body has a number where a row (an object of column: value) or a list of rows must be"),
        (b'{"instances": {}}', BadRequestShape, "the body has an object where a row"),
        (b"[]", NoRows, "the request holds no rows"),
        (b"{}", MissingColumn, "row 0 lacks column 'miles'; send null if its value is missing"),
        (dumps(make_row(miles="far")), WrongType, "row 0, column 'miles': 'far' is text"),
        (b"[1, 2]", WrongType, "row 0 is a number, not an object of column: value"),
    ],
)
def test_a_request_of_another_shape_is_refused(body: bytes, refused: type[RequestError], message: str) -> None:
    with pytest.raises(RequestError) as caught:
        decode_predictions(body, READER, now=NOW)
    assert type(caught.value) is refused
    assert message in caught.value.message


@pytest.mark.parametrize(
    ("style", "expected"),
    [
        ("row", {"prediction": 1, "answered_by": "student", "probability": 0.75}),
        ("rows", [{"prediction": 1, "answered_by": "student", "probability": 0.75}]),
        ("instances", {"predictions": [{"prediction": 1, "answered_by": "student", "probability": 0.75}]}),
    ],
)
def test_answers_come_as_the_rows_came(style: Style, expected: Any) -> None:
    assert json.loads(render_predictions(answered(BINARY, [[0.75]]), style)) == expected


def test_answers_say_each_class_and_who_stood_in() -> None:
    answer = json.loads(render_predictions(answered(MULTICLASS, [[0.25, 0.5, 0.25]], (2,)), "row"))
    probabilities = {"a": 0.25, "b": 0.5, "c": 0.25}
    assert answer == {"prediction": "b", "answered_by": "student", "probability": 0.5, "probabilities": probabilities, "degraded": True}


def test_a_model_is_described_by_what_is_known() -> None:
    assert json.loads(describe("late", "3", worker="gateway-1", started="2026-01-01T00:00:00Z")) == [
        {
            "modelName": "late",
            "modelVersion": "3",
            "engine": "ONNX Runtime",
            "runtime": "python",
            "workers": [{"id": "gateway-1", "startTime": "2026-01-01T00:00:00Z", "status": "READY", "gpu": False}],
        }
    ]
    assert json.loads(PING) == {"status": "Healthy"}


@pytest.mark.parametrize(
    ("kind", "status", "name"),
    [
        (errors.UnknownModel, 404, "ModelNotFoundException"),
        (errors.NotServed, 404, "ModelVersionNotFoundException"),
        (errors.RouteNotFound, 404, "ResourceNotFoundException"),
        (errors.MethodNotAllowed, 405, "MethodNotAllowedException"),
        (errors.Unauthenticated, 401, "InvalidKeyException"),
        (errors.WrongType, 400, "BadRequestException"),
        (errors.Overloaded, 503, "ServiceUnavailableException"),
        (errors.NoChampion, 503, "ServiceUnavailableException"),
        (errors.ScoringFailed, 500, "InternalServerException"),
    ],
)
def test_an_error_has_the_name_of_the_nearest_exception(kind: type[errors.HomeostatError], status: int, name: str) -> None:
    assert json.loads(error(kind("why"), status)) == {"code": status, "type": name, "message": "why"}


def test_an_error_keeps_its_details() -> None:
    assert json.loads(error(WrongType("why", details=[{"row": 0}]), 400))["details"] == [{"row": 0}]
