from __future__ import annotations

import contextlib
import re
import struct
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster import errors
from cluster.errors import BadRequestShape, RequestError, WrongType
from serve_apps.cascade import UNANSWERED
from serve_apps.protocols import oip_grpc, oip_metadata
from serve_apps.protocols import open_inference_pb2 as pb
from serve_apps.protocols.errors import STATUS
from serve_apps.protocols.oip import InferRequest
from serve_apps.protocols.oip_binary import DATATYPES
from serve_apps.protocols.oip_grpc import decode_infer, encode_infer, message_of, status_of
from tests.builders import make_schema
from tests.unit.serve_apps.test_oip import ALL_BINARY, CODEC, NOW, answered, as_message, take, tensor, tensors

PROTO = Path(oip_grpc.__file__).with_name("open_inference.proto")


def decode(message: pb.ModelInferRequest) -> InferRequest:
    return decode_infer(CODEC, message, now=NOW)


# Requests


def test_outputs_are_answered_as_the_inputs_came() -> None:
    assert decode(as_message(tensors(), typed=False)).outputs == ALL_BINARY
    assert decode(as_message(tensors(), typed=True)).outputs == dict.fromkeys(ALL_BINARY, False)


def test_a_message_brings_an_id_a_timeout_and_the_outputs_it_wants() -> None:
    message = as_message(tensors(), typed=False, id="mine")
    message.outputs.add(name="degraded")
    message.parameters["timeout"].int64_param = 5_000_000
    request = decode(message)
    assert (request.id, request.timeout_s, request.outputs) == ("mine", 5.0, {"degraded": True})


def test_halves_travel_raw_only() -> None:
    halves = tensors(tensor("miles", "FP16", [0.5]))
    assert decode(as_message(halves, typed=False)).rows.columns["miles"] == [0.5]
    message = as_message(tensors(), typed=True)
    message.inputs[0].datatype = "FP16"
    with pytest.raises(BadRequestShape, match="input 'miles' is FP16, which has no typed contents; send raw_input_contents"):
        decode(message)


def broken(**fields: Any) -> pb.ModelInferRequest:
    """A typed message whose first input, `miles`, has other fields."""
    message = as_message(tensors(), typed=True)
    found = {"name": "miles", "datatype": "FP32", "shape": [1], "contents": {"fp32_contents": [200]}} | fields
    message.inputs[0].CopyFrom(pb.ModelInferRequest.InferInputTensor(**found))
    return message


def raw_and_typed() -> pb.ModelInferRequest:
    message = as_message(tensors(), typed=True)
    message.raw_input_contents.extend([b""] * 5)
    return message


def raw_for_some() -> pb.ModelInferRequest:
    message = as_message(tensors(), typed=False)
    del message.raw_input_contents[-1]
    return message


@pytest.mark.parametrize(
    ("message", "error", "text"),
    [
        (raw_for_some(), BadRequestShape, "there are 5 inputs and 4 raw_input_contents; send one for each"),
        (raw_and_typed(), BadRequestShape, "input 'miles' has 'contents' beside raw_input_contents; send its values once"),
        (broken(shape=[2]), BadRequestShape, "input 'miles' has 1 elements in fp32_contents; its shape [2] holds 2"),
        (broken(datatype="FP64"), BadRequestShape, "input 'miles' has 0 elements in fp64_contents; its shape [1] holds 1"),
        (broken(datatype="BF16"), BadRequestShape, "input 'miles' has datatype 'BF16'; allowed: BYTES, BOOL"),
        (broken(shape=[]), BadRequestShape, "input 'miles' has shape []; allowed: [rows] or [rows, 1]"),
        (broken(datatype="INT8", contents={"int_contents": [300]}), WrongType, "input 'miles' is INT8, and its contents are not"),
        (
            broken(parameters={"shared_memory_region": pb.InferParameter(string_param="r")}),
            BadRequestShape,
            "input 'miles' asks for 'shared_memory_region', which is not supported",
        ),
        (broken(name="sex"), BadRequestShape, "input 'sex' is named twice"),
    ],
)
def test_a_malformed_message_is_refused(message: pb.ModelInferRequest, error: type[RequestError], text: str) -> None:
    with pytest.raises(RequestError) as caught:
        decode(message)
    assert type(caught.value) is error
    assert text in caught.value.message


@given(st.data())
def test_a_damaged_message_is_read_or_refused_by_name(data: st.DataObject) -> None:
    message = as_message(tensors(), typed=False)
    i = data.draw(st.integers(0, len(message.inputs) - 1))
    message.raw_input_contents[i] = data.draw(st.binary(max_size=16))
    message.inputs[i].datatype = data.draw(st.sampled_from([*DATATYPES, ""]))
    message.inputs[i].shape[:] = data.draw(st.lists(st.integers(-(2**63), 2**63 - 1) | st.integers(0, 4), max_size=3))
    with contextlib.suppress(RequestError):
        decode(message)


# Answers


def test_a_typed_answer_holds_its_values_in_the_field_of_their_datatype() -> None:
    request = take(tensors(), CODEC.all_outputs(binary=False))
    response = encode_infer(request, answered([[0.75], [0.25]], [UNANSWERED] * 2))
    assert (response.model_name, response.model_version, response.id) == ("late", "12", "journal-7")
    assert response.parameters["request_id"].string_param == "journal-7"
    assert [(output.name, output.datatype, list(output.shape)) for output in response.outputs] == [
        ("prediction", "INT64", [2]),
        ("probability", "FP32", [2]),
        ("answered_by", "BYTES", [2]),
        ("degraded", "BOOL", [2]),
    ]
    prediction, probability, answered_by, degraded = (output.contents for output in response.outputs)
    assert list(prediction.int64_contents) == [1, 0]
    assert list(probability.fp32_contents) == [0.75, 0.25]
    assert list(answered_by.bytes_contents) == [b"student", b"student"]
    assert list(degraded.bool_contents) == [True, True]
    assert not response.raw_output_contents


def test_a_raw_answer_holds_bytes_in_the_order_of_its_outputs() -> None:
    request = take(tensors(), [("degraded", True), ("probability", True)])
    response = encode_infer(request._replace(id="mine"), answered([[0.75]]))
    assert list(response.raw_output_contents) == [b"\0", struct.pack("<f", 0.75)]
    assert not any(output.HasField("contents") for output in response.outputs)
    assert (response.id, response.parameters["request_id"].string_param) == ("mine", "journal-7")


def test_what_a_model_says_of_itself_fits_the_messages() -> None:
    schema = make_schema()
    metadata = message_of(pb.ModelMetadataResponse, oip_metadata.model_metadata(schema, model="late", versions=["12"]))
    assert (metadata.inputs[2].name, metadata.inputs[2].datatype, list(metadata.inputs[2].shape)) == ("carrier", "BYTES", [-1])
    config = message_of(pb.ModelConfigResponse, {"config": oip_metadata.model_config(schema, model="late", max_rows=5)}).config
    assert (config.input[0].data_type, config.input[4].optional) == (pb.TYPE_FP32, True)
    assert config.parameters["max_rows"].string_value == "5"
    index = message_of(pb.RepositoryIndexResponse, {"models": oip_metadata.repository_index({"late": ["12"]})})
    assert (index.models[0].name, index.models[0].state) == ("late", "READY")
    assert message_of(pb.ServerMetadataResponse, oip_metadata.server_metadata("1.2")).version == "1.2"


# Errors


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (errors.Unauthenticated, grpc.StatusCode.UNAUTHENTICATED),
        (errors.UnknownModel, grpc.StatusCode.NOT_FOUND),
        (errors.NotServed, grpc.StatusCode.NOT_FOUND),
        (errors.WrongType, grpc.StatusCode.INVALID_ARGUMENT),
        (errors.TooManyRows, grpc.StatusCode.INVALID_ARGUMENT),
        (errors.Overloaded, grpc.StatusCode.RESOURCE_EXHAUSTED),
        (errors.CallerLeft, grpc.StatusCode.CANCELLED),
        (errors.DeadlineExceeded, grpc.StatusCode.DEADLINE_EXCEEDED),
        (errors.Unavailable, grpc.StatusCode.UNAVAILABLE),
        (errors.NoChampion, grpc.StatusCode.UNAVAILABLE),
        (errors.BundleTampered, grpc.StatusCode.INTERNAL),
        (errors.ScoringFailed, grpc.StatusCode.INTERNAL),
    ],
)
def test_an_error_has_its_own_status_or_its_nearest_ancestors(error: type[errors.HomeostatError], status: grpc.StatusCode) -> None:
    assert status_of(error("wrong")) == status


def test_a_status_blames_the_caller_where_http_does() -> None:
    blaming = {"UNAUTHENTICATED", "NOT_FOUND", "INVALID_ARGUMENT", "RESOURCE_EXHAUSTED", "CANCELLED"}
    for error, status in STATUS.items():
        assert (status_of(error("wrong")).name in blaming) == (status < 500)


# The service


class Servicer:
    """Is ready for one model; its other methods do nothing."""

    def ModelReady(self, request: pb.ModelReadyRequest, context: object) -> pb.ModelReadyResponse:  # noqa: N802 # the protocol's name
        return pb.ModelReadyResponse(ready=request.name == "late")

    def __getattr__(self, name: str) -> None:
        return None


@pytest.fixture
def channel() -> Iterator[grpc.Channel]:
    server = grpc.server(ThreadPoolExecutor(1))
    oip_grpc.add_GRPCInferenceServiceServicer_to_server(Servicer(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    with grpc.insecure_channel(f"127.0.0.1:{port}") as opened:
        yield opened
    server.stop(None).wait()


def test_the_service_listens_under_the_protocols_name(channel: grpc.Channel) -> None:
    call = channel.unary_unary(
        "/inference.GRPCInferenceService/ModelReady",
        request_serializer=pb.ModelReadyRequest.SerializeToString,
        response_deserializer=pb.ModelReadyResponse.FromString,
    )
    assert call(pb.ModelReadyRequest(name="late"), timeout=10).ready
    assert not call(pb.ModelReadyRequest(name="other"), timeout=10).ready


def test_the_messages_are_made_from_the_proto_file_as_it_is() -> None:
    found = {"GRPCInferenceService": sorted(pb.DESCRIPTOR.services_by_name["GRPCInferenceService"].methods_by_name)}
    waiting = list(pb.DESCRIPTOR.message_types_by_name.values())
    while waiting:
        kind = waiting.pop()
        found[kind.name] = sorted(f"{field.name} = {field.number}" for field in kind.fields)
        waiting += [nested for nested in kind.nested_types if not nested.GetOptions().map_entry]
    assert found == written(PROTO.read_text())


def written(text: str) -> dict[str, list[str]]:
    """Methods of the service and fields of the messages, as a proto file writes them."""
    blocks: dict[str, list[str]] = {}
    within: list[str] = []
    for line in re.sub(r"//.*", "", text).splitlines():
        if opened := re.match(r"\s*(?:service|message|oneof|enum) (\w+) \{(\})?", line):
            nested = within[-1] if "oneof" in line else opened[1]
            if "enum" not in line:
                blocks.setdefault(nested, [])
            within += [] if opened[2] else [nested]
        elif line.strip() == "}":
            within.pop()
        elif method := re.match(r"\s*rpc (\w+)", line):
            blocks[within[-1]].append(method[1])
        elif (field := re.match(r"\s*\S.* (\w+ = \d+);", line)) and within[-1] in blocks:
            blocks[within[-1]].append(field[1])
    return {name: sorted(lines) for name, lines in blocks.items()}
