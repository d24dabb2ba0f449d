from __future__ import annotations

import json
import math
from typing import Any

import msgspec
import pandas as pd
import pytest
from hypothesis import given
from mlflow.deployments import PredictionsResponse
from mlflow.utils.proto_json_utils import dump_input_data

from cluster.errors import BadJson, BadRequestShape, MissingColumn, NoRows, Overloaded, RequestError, UnknownModel, WrongType
from serve_apps.protocols.mlflow import decode_invocations, error, render_predictions
from tests.builders import make_row
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
    rows_of,
    two_rows,
    typed,
)

ROW = make_row()


@given(rows_of())
def test_all_four_shapes_are_read_as_typed_rows_are(rows: list[dict[str, Any]]) -> None:
    by_position = [[row[name] for name in NAMES] for row in rows]
    expected = typed(rows)
    for content in (
        {"dataframe_split": {"columns": list(NAMES), "index": list(range(len(rows))), "data": by_position}},
        {"dataframe_split": {"data": by_position}},
        {"dataframe_records": rows},
        {"instances": rows},
        {"instances": by_position, "params": None},
        {"inputs": columns_of(rows), "params": {}},
        {"inputs": rows},
        {"inputs": by_position},
    ):
        assert decode_invocations(msgspec.json.encode(content), READER, now=NOW) == expected


def test_columns_may_be_in_any_order_and_inputs_may_be_a_single_row() -> None:
    names = list(reversed(NAMES))
    content = {"dataframe_split": {"columns": names, "data": [[ROW[name] for name in names]]}}
    assert decode_invocations(dumps(content), READER, now=NOW) == typed([ROW])
    assert decode_invocations(dumps({"inputs": ROW}), READER, now=NOW) == typed([ROW])


@pytest.mark.parametrize("columns", [list(NAMES), ["sex", "miles", "at", "wind", "carrier"]])
def test_what_mlflow_s_client_sends_is_read(columns: list[str]) -> None:
    rows = [*two_rows(), make_row(carrier=7, at="2013-01-01")]
    frame = pd.DataFrame(rows)[columns]
    sent = [row | {"at": None if row["at"] is None else row["at"]} for row in rows]
    assert decode_invocations(dump_input_data(frame).encode(), READER, now=NOW) == typed(sent)
    assert decode_invocations(dump_input_data(rows).encode(), READER, now=NOW) == typed(rows)


def test_a_data_frame_s_timestamps_and_gaps_are_read() -> None:
    frame = pd.DataFrame([make_row(miles=math.nan, sex=None)])
    frame["at"] = pd.to_datetime(frame["at"])
    assert decode_invocations(dump_input_data(frame).encode(), READER, now=NOW) == typed([make_row(miles=None, sex=None)])


@pytest.mark.parametrize(
    ("body", "refused", "message"),
    [
        (b"{", BadJson, "the body is not JSON"),
        (
            b"[]",
            BadRequestShape,
            "the body is a list, and must be an object: with one of dataframe_split, dataframe_records, instances, inputs",
        ),
        (
            b"{}",
            BadRequestShape,
            "the body must have exactly one of dataframe_split, dataframe_records, instances, inputs (and maybe params); it has: ",
        ),
        (dumps({"rows": []}), BadRequestShape, "; it has: rows"),
        (dumps({"instances": [ROW], "inputs": [ROW]}), BadRequestShape, "; it has: instances, inputs"),
        (dumps({"instances": [ROW], "params": {"top": 1}}), BadRequestShape, "unknown parameter 'top': this model takes none"),
        (dumps({"instances": [ROW], "params": 1}), BadRequestShape, "'params' is a number, and must be an object"),
        (dumps({"instances": ROW}), BadRequestShape, "'instances' is an object, and must be a list of rows"),
        (dumps({"dataframe_records": {}}), BadRequestShape, "'dataframe_records' is an object, and must be a list of rows"),
        (dumps({"dataframe_records": []}), NoRows, "the request holds no rows"),
        (dumps({"dataframe_split": []}), BadRequestShape, "'dataframe_split' must be an object with a list 'data', and maybe 'columns'"),
        (dumps({"dataframe_split": {"data": [], "rows": 1}}), BadRequestShape, "'dataframe_split' must be an object with a list 'data'"),
        (dumps({"dataframe_split": {"data": [], "columns": ["a", "a"]}}), BadRequestShape, "must be a list of different names"),
        (dumps({"dataframe_split": {"data": [], "columns": [1]}}), BadRequestShape, "must be a list of different names"),
        (dumps({"dataframe_split": {"data": [], "columns": ["a"]}}), NoRows, "the request holds no rows"),
        (
            dumps({"dataframe_split": {"data": [[1], 5], "columns": ["a"]}}),
            BadRequestShape,
            "row 1 of 'data' is a number; allowed: a list of 1 values",
        ),
        (
            dumps({"dataframe_split": {"data": [[1, 2]], "columns": ["a"]}}),
            BadRequestShape,
            "row 0 of 'data' has 2 values; allowed: a list of 1 values",
        ),
        (dumps({"dataframe_split": {"data": [[1]], "columns": ["miles"]}}), MissingColumn, "column 'wind' is absent"),
        (dumps({"inputs": columns_of([ROW]) | {"miles": ["far"]}}), WrongType, "row 0, column 'miles': 'far' is text"),
        (dumps({"inputs": {}}), MissingColumn, "row 0 lacks column 'miles'"),
    ],
)
def test_a_request_of_another_shape_is_refused(body: bytes, refused: type[RequestError], message: str) -> None:
    with pytest.raises(RequestError) as caught:
        decode_invocations(body, READER, now=NOW)
    assert type(caught.value) is refused
    assert message in caught.value.message


@pytest.mark.parametrize(
    ("label", "scores", "expected"),
    [
        (BINARY, [[0.75], [0.25]], [{"prediction": 1, "probability": 0.75}, {"prediction": 0, "probability": 0.25}]),
        (MULTICLASS, [[0.25, 0.5, 0.25]], [{"prediction": "b", "probability": 0.5}]),
        (REGRESSION, [[12.5]], [{"prediction": 12.5}]),
    ],
)
def test_answers_are_the_records_that_the_bundle_s_own_model_gives(label: Any, scores: Any, expected: Any) -> None:
    body = render_predictions(answered(label, scores))
    assert json.loads(body) == {"predictions": expected}
    assert PredictionsResponse.from_json(body).get_predictions().to_dict(orient="records") == expected


def test_errors_have_mlflow_s_codes() -> None:
    assert json.loads(error(UnknownModel("why"), 404)) == {"error_code": "ENDPOINT_NOT_FOUND", "message": "why"}
    assert json.loads(error(BadJson("why"), 400)) == {"error_code": "BAD_REQUEST", "message": "why"}
    assert json.loads(error(Overloaded("why"), 503)) == {"error_code": "TEMPORARILY_UNAVAILABLE", "message": "why"}
    wrong = json.loads(error(WrongType("why", details=[{"row": 0}]), 422))
    assert wrong == {"error_code": "INVALID_PARAMETER_VALUE", "message": "why", "details": [{"row": 0}]}
