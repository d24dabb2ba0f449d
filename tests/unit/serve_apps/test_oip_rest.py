from __future__ import annotations

import contextlib
import json
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.errors import BadJson, BadRequestShape, NotFinite, RequestError, UnknownModel, WrongType
from serve_apps.cascade import ENSEMBLE, STUDENT
from serve_apps.protocols.oip import InferRequest
from serve_apps.protocols.oip_rest import decode_infer, encode_infer, render
from tests.unit.serve_apps.test_oip import ALL_BINARY, CODEC, NOW, answered, as_binary, as_json, take, tensor, tensors


def decode(body: bytes, headers: Any = ()) -> InferRequest:
    return decode_infer(CODEC, body, headers, now=NOW)


def changed(**fields: Any) -> bytes:
    """A request whose first input, `miles`, has other fields; None leaves one out."""
    content = json.loads(as_json(tensors()))
    content["inputs"][0] = {name: value for name, value in (content["inputs"][0] | fields).items() if value is not None}
    return json.dumps(content).encode()


# Requests in JSON


def test_a_request_brings_an_id_a_timeout_and_the_outputs_it_wants() -> None:
    outputs = [{"name": "degraded"}, {"name": "prediction", "parameters": {"binary_data": True}}]
    request = decode(as_json(tensors(), id="mine", model_name="late", parameters={"timeout": 5_000_000}, outputs=outputs))
    assert (request.id, request.timeout_s) == ("mine", 5.0)
    assert list(request.outputs.items()) == [("degraded", False), ("prediction", True)]


def test_outputs_are_json_unless_the_request_or_an_output_says_bytes() -> None:
    outputs = [{"name": "degraded"}, {"name": "prediction", "parameters": {"binary_data": False}}]
    assert set(decode(as_json(tensors())).outputs.values()) == {False}
    assert decode(as_json(tensors(), parameters={"binary_data_output": True})).outputs == ALL_BINARY
    mixed = decode(as_json(tensors(), parameters={"binary_data_output": True}, outputs=outputs))
    assert mixed.outputs == {"degraded": True, "prediction": False}


def test_null_nan_and_empty_text_are_missing() -> None:
    rows = decode(as_json(tensors(tensor("miles", "FP32", [None]), tensor("sex", "BYTES", [None])))).rows
    assert (rows.columns["miles"], rows.columns["sex"]) == ([None], [None])
    written_by_tritons_client = as_json(tensors(tensor("miles", "FP32", [float("nan")]), tensor("sex", "BYTES", [""])))
    assert b"NaN" in written_by_tritons_client
    assert decode(written_by_tritons_client).rows == rows


def test_values_may_be_nested_as_the_shape_is() -> None:
    nested = decode(changed(shape=[1, 1], data=[[7]]))
    assert nested.rows.columns["miles"] == [7.0]


@pytest.mark.parametrize(
    ("body", "error", "message"),
    [
        (b"", BadJson, "the body is not JSON: Expecting value"),
        (b"{", BadJson, "the body is not JSON"),
        (changed(data=[float("inf")]), NotFinite, "row 0, column 'miles': the number is infinite or too large"),
        (changed(data=[10**400]), WrongType, "input 'miles' is FP32, and its data are not: Number out of range - at `$.data[0]`"),
        (b"\xff", BadJson, "the body is not JSON"),
        (b'{"inputs": [], "parameters": {"deep": ' + b"[" * 100_000, BadJson, "the body is not JSON"),
        (b"[NaN]", BadRequestShape, "the request does not fit the protocol: Expected `object`, got `array`"),
        (b"{}", BadRequestShape, "the request does not fit the protocol: Object missing required field `inputs`"),
        (as_json(tensors(), rows=[]), BadRequestShape, "Object contains unknown field `rows`"),
        (as_json(tensors(), model_name="other"), UnknownModel, "model 'other' is not served here"),
        (as_json(tensors(), id=7), BadRequestShape, "Expected `str | null`, got `int` - at `$.id`"),
        (
            as_json(tensors(), parameters={"binary_data_output": 1}),
            BadRequestShape,
            "the request has binary_data_output 1; allowed: true, false",
        ),
        (changed(datatype="BF16"), BadRequestShape, "input 'miles' has datatype 'BF16'; allowed: BYTES, BOOL, INT8"),
        (changed(datatype="fp32"), BadRequestShape, "input 'miles' has datatype 'fp32'; allowed: BYTES, BOOL, INT8"),
        (changed(shape=[]), BadRequestShape, "input 'miles' has shape []; allowed: [rows] or [rows, 1]"),
        (changed(shape=[-1]), BadRequestShape, "input 'miles' has shape [-1]; allowed: [rows] or [rows, 1]"),
        (changed(shape=[2]), BadRequestShape, "input 'miles' has 1 elements; its shape [2] holds 2"),
        (changed(shape=[2, 1], data=[[1, 2]]), BadRequestShape, "input 'miles' holds lists of other lengths than its shape [2, 1]"),
        (
            changed(data=["200"]),
            WrongType,
            "input 'miles' is FP32, and its data are not: Expected `float | null`, got `str` - at `$.data[0]`",
        ),
        (
            changed(data=[True]),
            WrongType,
            "input 'miles' is FP32, and its data are not: Expected `float | null`, got `bool` - at `$.data[0]`",
        ),
        (
            changed(datatype="INT8", data=[128]),
            WrongType,
            "input 'miles' is INT8, and its data are not: Expected `int` <= 127 - at `$.data[0]`",
        ),
        (
            changed(datatype="UINT64", data=[-1]),
            WrongType,
            "input 'miles' is UINT64, and its data are not: Expected `int` >= 0 - at `$.data[0]`",
        ),
        (changed(data=7), WrongType, "input 'miles' is FP32, and its data are not: Expected `array`, got `int`"),
        (
            changed(data=None),
            BadRequestShape,
            "input 'miles' needs its values once: in 'data', or as bytes with parameter 'binary_data_size'",
        ),
        (changed(parameters={"binary_data_size": 0}), BadRequestShape, "input 'miles' needs its values once"),
        (changed(parameters={"shared_memory_region": "r"}), BadRequestShape, "input 'miles' asks for 'shared_memory_region', which is not"),
        (
            as_json(tensors(), outputs=[{"name": "prediction", "parameters": {"classification": 2}}]),
            BadRequestShape,
            "output 'prediction' asks for 'classification', which is not supported",
        ),
    ],
)
def test_a_malformed_request_is_refused(body: bytes, error: type[RequestError], message: str) -> None:
    with pytest.raises(RequestError) as caught:
        decode(body)
    assert type(caught.value) is error
    assert message in caught.value.message


# Requests with bytes after the JSON


def test_bytes_and_json_may_be_mixed() -> None:
    content = json.loads(as_json(tensors()))
    content["inputs"][1] = {"name": "wind", "datatype": "FP16", "shape": [1], "parameters": {"binary_data_size": 2}}
    head = json.dumps(content).encode()
    request = decode(head + struct.pack("<e", 2.5), [(b"inference-header-content-length", str(len(head)).encode())])
    assert request.rows.columns == {"miles": [200.0], "wind": [2.5], "carrier": ["B6"], "sex": ["female"]}


def test_without_the_header_the_whole_body_is_json() -> None:
    body, _ = as_binary(tensors())
    with pytest.raises(BadJson):
        decode(body)


@pytest.mark.parametrize("announced", [b"-1", b"x", b"", b"9" * 5000, b"100000"])
def test_a_header_that_cannot_be_is_refused(announced: bytes) -> None:
    body, _ = as_binary(tensors())
    with pytest.raises(BadRequestShape, match=rf"allowed: 0 to {len(body)}, the bytes of this body"):
        decode(body, [(b"inference-header-content-length", announced)])


def test_a_body_that_is_cut_short_is_refused() -> None:
    body, headers = as_binary(tensors())
    with pytest.raises(BadRequestShape, match="input 'at' has binary_data_size 23; 22 bytes are left for it"):
        decode(body[:-1], headers)


def test_bytes_that_belong_to_no_input_are_refused() -> None:
    body, headers = as_binary(tensors())
    with pytest.raises(BadRequestShape, match="48 bytes follow the JSON; the inputs' binary_data_size account for 47"):
        decode(body + b"\0", headers)


@pytest.mark.parametrize("size", [-1, "4", True, 4.0])
def test_a_size_that_cannot_be_is_refused(size: object) -> None:
    with pytest.raises(BadRequestShape, match="input 'miles' has binary_data_size"):
        decode(changed(data=None, parameters={"binary_data_size": size}))


@given(st.data())
def test_a_damaged_request_is_read_or_refused_by_name(data: st.DataObject) -> None:
    body, headers = as_binary(tensors()) if data.draw(st.booleans()) else (as_json(tensors()), [])
    start, end = sorted(data.draw(st.tuples(*[st.integers(0, len(body))] * 2)))
    with contextlib.suppress(RequestError):
        decode(body[:start] + data.draw(st.binary(max_size=8)) + body[end:], headers)


# Answers


def test_an_answer_in_json_says_which_bundle_gave_it_and_what_labels_refer_to() -> None:
    request = take(tensors(), CODEC.all_outputs(binary=False))
    reply = encode_infer(request, answered([[0.75], [0.25]], [ENSEMBLE, STUDENT]))
    assert (reply.status, reply.content_type, reply.headers) == (200, "application/json", {})
    assert json.loads(reply.body) == {
        "model_name": "late",
        "model_version": "12",
        "id": "journal-7",
        "parameters": {"request_id": "journal-7"},
        "outputs": [
            {"name": "prediction", "datatype": "INT64", "shape": [2], "data": [1, 0]},
            {"name": "probability", "datatype": "FP32", "shape": [2], "data": [0.75, 0.25]},
            {"name": "answered_by", "datatype": "BYTES", "shape": [2], "data": ["ensemble", "student"]},
            {"name": "degraded", "datatype": "BOOL", "shape": [2], "data": [False, False]},
        ],
    }


def test_the_callers_id_comes_back_beside_the_one_for_labels() -> None:
    reply = encode_infer(decode(as_json(tensors(), id="mine")), answered([[0.75]]))
    content = json.loads(reply.body)
    assert (content["id"], content["parameters"]) == ("mine", {"request_id": "journal-7"})


def test_outputs_wanted_as_bytes_follow_the_json() -> None:
    request = take(tensors(), [("answered_by", True), ("degraded", False), ("probability", True)])
    reply = encode_infer(request, answered([[0.75], [0.25]]))
    length = int(reply.headers["Inference-Header-Content-Length"])
    assert reply.content_type == "application/octet-stream"
    assert json.loads(reply.body[:length])["outputs"] == [
        {"name": "answered_by", "datatype": "BYTES", "shape": [2], "parameters": {"binary_data_size": 22}},
        {"name": "degraded", "datatype": "BOOL", "shape": [2], "data": [False, False]},
        {"name": "probability", "datatype": "FP32", "shape": [2], "parameters": {"binary_data_size": 8}},
    ]
    assert reply.body[length:] == b"\x07\0\0\0student\x07\0\0\0student" + struct.pack("<ff", 0.75, 0.25)


def test_an_error_is_a_message_under_the_key_that_clients_read() -> None:
    assert json.loads(render(UnknownModel("no such model"), 404)) == {"error": "no such model"}
    assert json.loads(render(WrongType("wrong", details=[{"row": 0}]), 422)) == {"error": "wrong", "details": [{"row": 0}]}
