"""The Open Inference Protocol over gRPC: the public protocol's messages, and the service that Serve listens with.

What tensors mean is said in `serve_apps.protocols.oip`. The messages' code is made from `open_inference.proto`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, TypeVar

import grpc
import numpy as np
from google.protobuf import json_format, message_factory

from cluster import errors
from cluster.errors import BadRequestShape, WrongType
from cluster.schema import Scalar
from serve_apps.protocols import open_inference_pb2 as pb
from serve_apps.protocols.oip import InferRequest, OipCodec, Tensor, count_elements, refuse_extensions, tensors_of
from serve_apps.protocols.oip_binary import NUMPY, TEXT, pack, texts_of, unpack, values_of
from serve_apps.protocols.plane import Answered

_STATUS: Final[Mapping[type[errors.HomeostatError], grpc.StatusCode]] = {
    errors.Unauthenticated: grpc.StatusCode.UNAUTHENTICATED,
    errors.RouteNotFound: grpc.StatusCode.NOT_FOUND,
    errors.UnknownModel: grpc.StatusCode.NOT_FOUND,
    errors.NotServed: grpc.StatusCode.NOT_FOUND,
    errors.BodyTooLarge: grpc.StatusCode.RESOURCE_EXHAUSTED,
    errors.RequestError: grpc.StatusCode.INVALID_ARGUMENT,
    errors.CallerLeft: grpc.StatusCode.CANCELLED,
    errors.DeadlineExceeded: grpc.StatusCode.DEADLINE_EXCEEDED,
    errors.Overloaded: grpc.StatusCode.RESOURCE_EXHAUSTED,
    errors.Unavailable: grpc.StatusCode.UNAVAILABLE,
    errors.JournalError: grpc.StatusCode.UNAVAILABLE,
    errors.NoChampion: grpc.StatusCode.UNAVAILABLE,
}
"""As `serve_apps.protocols.errors` says it for HTTP."""
_CONTENTS: Final = {
    "BOOL": "bool_contents",
    **dict.fromkeys(("INT8", "INT16", "INT32"), "int_contents"),
    "INT64": "int64_contents",
    **dict.fromkeys(("UINT8", "UINT16", "UINT32"), "uint_contents"),
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    TEXT: "bytes_contents",
}
"""The field that holds a datatype's elements; FP16 has none."""
M = TypeVar("M")


def status_of(error: errors.HomeostatError) -> grpc.StatusCode:
    """Status of an error: its own row of the table, else its nearest ancestor's, else INTERNAL."""
    return next((_STATUS[cls] for cls in type(error).__mro__ if cls in _STATUS), grpc.StatusCode.INTERNAL)


def decode_infer(codec: OipCodec, message: pb.ModelInferRequest, *, now: float) -> InferRequest:
    """Read the message of ModelInfer; outputs are answered as the inputs came, raw or typed.

    Parameters
    ----------
    now
        Event time of rows that bring none, seconds since 1970 UTC.

    Raises
    ------
    BadRequestShape, InvalidRows, NoRows, TooManyRows
        See `OipCodec.request`.
    """
    raw = bool(message.raw_input_contents)
    for output in message.outputs:
        refuse_extensions(f"output '{output.name}'", output.parameters)
    return codec.request(
        list(_raw_tensors(message) if raw else _typed_tensors(message)),
        [(output.name, raw) for output in message.outputs] or codec.all_outputs(binary=raw),
        caller_id=message.id,
        timeout=_timeout(message),
        now=now,
    )


def encode_infer(request: InferRequest, answered: Answered) -> pb.ModelInferResponse:
    """Write the answer."""
    response = pb.ModelInferResponse(model_name=answered.model, model_version=answered.bundle, id=request.id or answered.request_id)
    response.parameters["request_id"].string_param = answered.request_id
    for tensor in tensors_of(answered, request.outputs):
        output = response.outputs.add(name=tensor.name, datatype=tensor.datatype, shape=tensor.shape)
        if request.outputs[tensor.name]:
            response.raw_output_contents.append(pack(tensor.values, tensor.datatype))
        else:
            values = [str(text).encode() for text in tensor.values] if tensor.datatype == TEXT else tensor.values
            getattr(output.contents, _CONTENTS[tensor.datatype]).extend(values)
    return response


def message_of(kind: type[M], content: Mapping[str, Any]) -> M:
    """A message with the content of one of `serve_apps.protocols.oip_metadata`'s dictionaries."""
    message = kind()
    json_format.ParseDict(content, message)
    return message


def add_GRPCInferenceServiceServicer_to_server(servicer: Any, server: Any) -> None:  # noqa: N802 # generated code has this name
    """Let a server answer the service's methods by the servicer's of the same names."""
    service = pb.DESCRIPTOR.services_by_name["GRPCInferenceService"]
    handlers = {
        method.name: grpc.unary_unary_rpc_method_handler(
            getattr(servicer, method.name),
            request_deserializer=message_factory.GetMessageClass(method.input_type).FromString,
            response_serializer=message_factory.GetMessageClass(method.output_type).SerializeToString,
        )
        for method in service.methods
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service.full_name, handlers),))


def _timeout(message: pb.ModelInferRequest) -> object:
    found = message.parameters.get("timeout")
    return found and getattr(found, found.WhichOneof("parameter_choice") or "int64_param")


def _raw_tensors(message: pb.ModelInferRequest) -> Iterable[Tensor]:
    if len(message.raw_input_contents) != len(message.inputs):
        raise BadRequestShape(
            f"there are {len(message.inputs)} inputs and {len(message.raw_input_contents)} raw_input_contents; send one for each"
        )
    for found, raw in zip(message.inputs, message.raw_input_contents, strict=True):
        where = f"input '{found.name}'"
        if found.HasField("contents"):
            raise BadRequestShape(f"{where} has 'contents' beside raw_input_contents; send its values once")
        count = count_elements(where, found.datatype, found.shape, found.parameters)
        yield Tensor(found.name, found.datatype, tuple(found.shape), unpack(where, raw, found.datatype, count))


def _typed_tensors(message: pb.ModelInferRequest) -> Iterable[Tensor]:
    for found in message.inputs:
        where = f"input '{found.name}'"
        count = count_elements(where, found.datatype, found.shape, found.parameters)
        field = _CONTENTS.get(found.datatype)
        if field is None:
            raise BadRequestShape(f"{where} is {found.datatype}, which has no typed contents; send raw_input_contents")
        contents = getattr(found.contents, field)
        if len(contents) != count:
            raise BadRequestShape(f"{where} has {len(contents)} elements in {field}; its shape {list(found.shape)} holds {count}")
        yield Tensor(found.name, found.datatype, tuple(found.shape), _typed_values(where, found.datatype, contents))


def _typed_values(where: str, datatype: str, contents: Sequence[Any]) -> list[Scalar]:
    if datatype == TEXT:
        return texts_of(where, contents)
    try:
        return values_of(np.array(list(contents), NUMPY[datatype]))  # of the message's own list, numpy would wrap what is too large
    except OverflowError as error:
        raise WrongType(f"{where} is {datatype}, and its contents are not: {error}") from error
