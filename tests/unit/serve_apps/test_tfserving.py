from __future__ import annotations

import json
import math
from typing import Any

import msgspec
import pytest
from hypothesis import given

from cluster.errors import BadJson, BadRequestShape, MissingColumn, NoRows, NotFinite, RequestError, UnknownColumn, UnknownModel, WrongType
from serve_apps.protocols.columns import ColumnsReader
from serve_apps.protocols.tfserving import (
    decode_examples,
    decode_predict,
    error,
    metadata,
    render_classify,
    render_predict,
    render_regress,
    status,
)
from tests.builders import make_row, make_schema
from tests.unit.serve_apps.tables import (
    BINARY,
    MULTICLASS,
    NAMES,
    NOW,
    READER,
    REGRESSION,
    SCHEMA,
    answered,
    columns_of,
    dumps,
    rows_of,
    two_rows,
    typed,
)

# Predict


@given(rows_of())
def test_instances_and_inputs_are_read_as_typed_rows_are(rows: list[dict[str, Any]]) -> None:
    expected = typed(rows)
    by_position = [[row[name] for name in NAMES] for row in rows]
    lists_of_one = [{name: [value] for name, value in row.items()} for row in rows]
    for key, content, style in [
        ("instances", rows, "row"),
        ("instances", by_position, "row"),
        ("instances", lists_of_one, "row"),
        ("inputs", columns_of(rows), "column"),
        ("inputs", columns_of(lists_of_one), "column"),
        ("inputs", by_position, "column"),
    ]:
        assert decode_predict(msgspec.json.encode({key: content}), READER, now=NOW) == (expected, style)


def test_the_default_signature_may_be_named_and_nan_is_missing() -> None:
    body = dumps({"signature_name": "serving_default", "instances": [make_row(miles=math.nan)]})
    assert decode_predict(body, READER, now=NOW)[0] == typed([make_row(miles=None)])


ROW = make_row()


@pytest.mark.parametrize(
    ("body", "refused", "message"),
    [
        (b"{", BadJson, "the body is not JSON"),
        (b"[]", BadRequestShape, "the body is a list, and must be an object: with instances or inputs"),
        (b"{}", BadRequestShape, "the body must have one of 'instances' (rows) and 'inputs' (columns), and not both"),
        (dumps({"instances": [ROW], "inputs": {}}), BadRequestShape, "the body must have one of 'instances' (rows) and 'inputs'"),
        (dumps({"instances": [ROW], "context": {}}), BadRequestShape, "unknown key 'context'; allowed: signature_name, instances, inputs"),
        (dumps({"instances": ROW}), BadRequestShape, "'instances' is an object, and must be a list of rows"),
        (dumps({"inputs": "x"}), BadRequestShape, "'inputs' is text, and must be a list of rows"),
        (
            dumps({"signature_name": "other", "instances": [ROW]}),
            BadRequestShape,
            "there is no signature 'other'; there is: serving_default",
        ),
        (dumps({"signature_name": [], "instances": [ROW]}), BadRequestShape, "there is no signature '[]'; there is: serving_default"),
        (dumps({"instances": []}), NoRows, "the request holds no rows"),
        (dumps({"instances": [1.0]}), WrongType, "row 0 is a number, not an object of column: value"),
        (dumps({"instances": [make_row(miles=[1, 2])]}), WrongType, "row 0, column 'miles': [1, 2] is a list; allowed: a number"),
        (dumps({"instances": [make_row(carrier={"b64": "QjY="})]}), WrongType, "row 0, column 'carrier': "),
        (dumps({"instances": [make_row(miles=math.inf)]}), NotFinite, "row 0, column 'miles': the number is infinite"),
        (dumps({"inputs": {"miles": [1]}}), MissingColumn, "column 'wind' is absent"),
        (dumps({"inputs": columns_of([ROW]) | {"miles": 5}}), BadRequestShape, "column 'miles' is a number, not a list of values"),
    ],
)
def test_a_request_of_another_shape_is_refused(body: bytes, refused: type[RequestError], message: str) -> None:
    with pytest.raises(RequestError) as caught:
        decode_predict(body, READER, now=NOW)
    assert type(caught.value) is refused
    assert message in caught.value.message


def test_predictions_are_the_scores_in_the_style_of_the_request() -> None:
    assert render_predict(answered(BINARY, [[0.75], [0.25]]), "row") == b'{"predictions":[0.75,0.25]}'
    assert render_predict(answered(REGRESSION, [[12.5]]), "column") == b'{"outputs":[12.5]}'
    assert render_predict(answered(MULTICLASS, [[0.25, 0.5, 0.25]]), "row") == b'{"predictions":[[0.25,0.5,0.25]]}'


# Classify and regress


def test_examples_share_their_context() -> None:
    rows = two_rows()
    for row in rows:
        del row["sex"]
    body = dumps({"context": {"sex": ["f"]}, "examples": rows})
    assert decode_examples(body, READER, "classify", now=NOW) == typed([row | {"sex": "f"} for row in rows])


@pytest.mark.parametrize("method", ["classify", "regress"])
def test_a_method_may_be_named_as_the_signature(method: Any) -> None:
    body = dumps({"signature_name": f"tensorflow/serving/{method}", "examples": [ROW]})
    assert decode_examples(body, READER, method, now=NOW) == typed([ROW])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({}, "'examples' is absent, and must be a list of rows"),
        ({"examples": [ROW], "context": []}, "'context' is a list, and must be an object of column: value"),
        ({"examples": [ROW], "context": {"sex": "f"}}, "column 'sex' is in 'context' and in example 0; it may be in one of them"),
        ({"examples": [ROW], "inputs": 1}, "unknown key 'inputs'; allowed: signature_name, context, examples"),
        ({"examples": [ROW], "signature_name": "tensorflow/serving/regress"}, "there is no signature 'tensorflow/serving/regress'"),
    ],
)
def test_examples_of_another_shape_are_refused(content: Any, message: str) -> None:
    with pytest.raises(BadRequestShape) as caught:
        decode_examples(dumps(content), READER, "classify", now=NOW)
    assert message in caught.value.message


def test_a_method_that_the_task_does_not_have_is_refused() -> None:
    for label, method in [(REGRESSION, "classify"), (MULTICLASS, "regress")]:
        reader = ColumnsReader(make_schema(label=label), model="late", max_rows=5)
        with pytest.raises(BadRequestShape, match=f"'late' is a model of {label.task}, which has no '{method}'; call 'predict'"):
            decode_examples(dumps({"examples": [ROW]}), reader, method, now=NOW)  # type: ignore[arg-type]


def test_classes_are_answered_with_their_probabilities() -> None:
    assert json.loads(render_classify(answered(BINARY, [[0.75]]))) == {"results": [[["0", 0.25], ["1", 0.75]]]}
    expected = {"results": [[["a", 0.25], ["b", 0.5], ["c", 0.25]]]}
    assert json.loads(render_classify(answered(MULTICLASS, [[0.25, 0.5, 0.25]]))) == expected


def test_regress_answers_a_number_a_row() -> None:
    assert render_regress(answered(REGRESSION, [[12.5], [3.0]])) == b'{"results":[12.5,3.0]}'
    assert render_regress(answered(BINARY, [[0.75]])) == b'{"results":[0.75]}'


# Status, metadata, errors


def test_status_names_the_version_that_answers() -> None:
    assert json.loads(status("3")) == {
        "model_version_status": [{"version": "3", "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}]
    }


def test_metadata_names_inputs_and_outputs() -> None:
    found = json.loads(metadata(SCHEMA, model="late", version="3"))
    assert found["model_spec"] == {"name": "late", "signature_name": "", "version": "3"}
    signatures = found["metadata"]["signature_def"]["signature_def"]
    assert list(signatures) == ["serving_default", "tensorflow/serving/classify", "tensorflow/serving/regress"]
    default = signatures["serving_default"]
    kinds = {"miles": "DT_FLOAT", "wind": "DT_FLOAT", "carrier": "DT_STRING", "sex": "DT_STRING", "at": "DT_STRING"}
    assert {name: tensor["dtype"] for name, tensor in default["inputs"].items()} == kinds
    shape = {"dim": [{"size": "-1", "name": ""}], "unknown_rank": False}
    assert default["outputs"] == {"scores": {"dtype": "DT_FLOAT", "tensor_shape": shape, "name": "scores"}}
    assert default["method_name"] == "tensorflow/serving/predict"


def test_metadata_of_many_classes_has_a_score_for_each_and_no_regress() -> None:
    signatures = json.loads(metadata(make_schema(label=MULTICLASS), model="late", version="3"))["metadata"]["signature_def"][
        "signature_def"
    ]
    assert list(signatures) == ["serving_default", "tensorflow/serving/classify"]
    dims = [{"size": "-1", "name": ""}, {"size": "3", "name": ""}]
    assert signatures["serving_default"]["outputs"]["scores"]["tensor_shape"]["dim"] == dims
    regression = json.loads(metadata(make_schema(label=REGRESSION, time=None), model="late", version="3"))
    assert list(regression["metadata"]["signature_def"]["signature_def"]) == ["serving_default", "tensorflow/serving/regress"]


def test_an_error_is_its_message() -> None:
    assert error(UnknownModel("model 'x' is not served here"), 404) == b'{"error":"model \'x\' is not served here"}'
    assert json.loads(error(WrongType("row 0", details=[{"row": 0}]), 400)) == {"error": "row 0", "details": [{"row": 0}]}


def test_a_context_of_unknown_columns_is_refused_before_each_example_gets_a_copy() -> None:
    body = json.dumps({"context": {f"c{i}": 1 for i in range(1000)}, "examples": [{}, {}]}).encode()
    with pytest.raises(UnknownColumn, match="column 'c0' in 'context'"):
        decode_examples(body, ColumnsReader(make_schema(), model="late", max_rows=10), "classify", now=0.0)
