"""The Open Inference Protocol over HTTP: JSON, and its extension of tensors as bytes after the JSON.

Owns the bodies of POST /v2/models/NAME/infer and of errors; what tensors mean is said in `serve_apps.protocols.oip`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from typing import Annotated, Any, Final

import msgspec
import numpy as np

from cluster.errors import BadRequestShape, HomeostatError, WrongType
from cluster.records import Int64
from cluster.schema import Scalar
from serve_apps.protocols.loose_json import parse
from serve_apps.protocols.oip import InferRequest, OipCodec, Parameters, Tensor, count_elements, refuse_extensions, tensors_of
from serve_apps.protocols.oip_binary import DATATYPES, NUMPY, TEXT, pack, unpack
from serve_apps.protocols.plane import Answered, Headers, Reply

JSON_LENGTH: Final = "Inference-Header-Content-Length"
"""The header that says how many bytes of a body are its JSON; the tensors' bytes follow."""
_JSON_LENGTH: Final = JSON_LENGTH.lower().encode()


class _Input(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    shape: list[int]
    datatype: str
    parameters: dict[str, Any] | None = None
    data: Any = msgspec.UNSET


class _Output(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    parameters: dict[str, Any] | None = None


class _Body(msgspec.Struct, forbid_unknown_fields=True):
    inputs: list[_Input]
    outputs: list[_Output] | None = None
    parameters: dict[str, Any] | None = None
    id: str | None = None
    model_name: str | None = None
    """KServe's client repeats it here."""


def _element(datatype: str) -> Any:
    """The type that an element has in JSON."""
    if datatype == TEXT:
        return str
    dtype = NUMPY[datatype]
    if dtype.kind not in "iu" or dtype.itemsize == 8:
        return {"b": bool, "f": float, "i": Int64, "u": Annotated[int, msgspec.Meta(ge=0)]}[dtype.kind]
    return Annotated[int, msgspec.Meta(ge=int(np.iinfo(dtype).min), le=int(np.iinfo(dtype).max))]


_decode: Final = msgspec.json.Decoder(_Body).decode
_encode: Final = msgspec.json.Encoder().encode
_values: Final[Mapping[str, Any]] = {
    datatype: msgspec.defstruct("Values", [("data", list[_element(datatype) | None])])  # type: ignore[misc] # made at run time
    for datatype in DATATYPES
}
"""Structs, because msgspec remembers how to read them; a bare list's type it would look at anew each time."""


def decode_infer(codec: OipCodec, body: bytes, headers: Headers, *, now: float) -> InferRequest:
    """Read the body of POST /v2/models/NAME/infer, whatever its content type says.

    Parameters
    ----------
    now
        Event time of rows that bring none, seconds since 1970 UTC.

    Raises
    ------
    BadJson, UnknownModel
    BadRequestShape, InvalidRows, NoRows, TooManyRows
        See `OipCodec.request`.
    """
    length = _json_length(body, headers)
    message = _parse(body[:length])
    codec.reader.check_model(message.model_name)
    parameters = message.parameters or {}
    binary = _flag("the request", parameters, "binary_data_output", default=False)
    return codec.request(
        list(_tensors(message.inputs, body[length:])),
        [(output.name, _as_bytes(output, default=binary)) for output in message.outputs or ()] or codec.all_outputs(binary=binary),
        caller_id=message.id or "",
        timeout=parameters.get("timeout"),
        now=now,
    )


def encode_infer(request: InferRequest, answered: Answered) -> Reply:
    """Write the answer: JSON, and after it the outputs that are wanted as bytes."""
    outputs, blobs = [], []
    for tensor in tensors_of(answered, request.outputs):
        output: dict[str, object] = {"name": tensor.name, "datatype": tensor.datatype, "shape": tensor.shape}
        if request.outputs[tensor.name]:
            blobs.append(pack(tensor.values, tensor.datatype))
            output["parameters"] = {"binary_data_size": len(blobs[-1])}
        else:
            output["data"] = tensor.values
        outputs.append(output)
    content = {
        "model_name": answered.model,
        "model_version": answered.bundle,
        "id": request.id or answered.request_id,
        "parameters": {"request_id": answered.request_id},
        "outputs": outputs,
    }
    head = _encode(content)
    if not blobs:
        return Reply(200, head)
    return Reply(200, b"".join([head, *blobs]), "application/octet-stream", {JSON_LENGTH: str(len(head))})


def render(error: HomeostatError, status: int) -> bytes:  # noqa: ARG001 - other protocols repeat the status in the body
    """The error as the protocol has it, and its details where there are some."""
    return _encode({"error": error.message} | ({"details": list(map(dict, error.details))} if error.details else {}))


def _json_length(body: bytes, headers: Headers) -> int:
    announced = next((value for name, value in headers if name == _JSON_LENGTH), None)
    if announced is None:
        return len(body)
    if not announced.isdigit() or len(announced) > 18 or int(announced) > len(body):
        shown = announced[:80].decode("latin-1")
        raise BadRequestShape(f"the header {JSON_LENGTH} is '{shown}'; allowed: 0 to {len(body)}, the bytes of this body")
    return int(announced)


def _parse(content: bytes) -> _Body:
    try:
        return _decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        found = parse(content)  # Triton's client writes NaN
    try:
        return msgspec.convert(found, _Body)
    except msgspec.ValidationError as error:
        raise BadRequestShape(f"the request does not fit the protocol: {error}") from error


def _tensors(inputs: Sequence[_Input], tail: bytes) -> Iterable[Tensor]:
    at = 0
    for found in inputs:
        where, parameters = f"input '{found.name}'", found.parameters or {}
        count = count_elements(where, found.datatype, found.shape, parameters)
        size = parameters.get("binary_data_size")
        if (size is None) == (found.data is msgspec.UNSET):
            raise BadRequestShape(f"{where} needs its values once: in 'data', or as bytes with parameter 'binary_data_size'")
        if size is None:
            values = _json_values(where, found, count)
        else:
            values = unpack(where, tail[at : at + _checked_size(where, size, len(tail) - at)], found.datatype, count)
            at += size
        yield Tensor(found.name, found.datatype, tuple(found.shape), values)
    if at != len(tail):
        raise BadRequestShape(f"{len(tail)} bytes follow the JSON; the inputs' binary_data_size account for {at}")


def _checked_size(where: str, size: object, left: int) -> int:
    if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size <= left:
        raise BadRequestShape(
            f"{where} has binary_data_size {size!r}; {left} bytes are left for it (the header {JSON_LENGTH} says where they begin)"
        )
    return size


def _json_values(where: str, found: _Input, count: int) -> list[Scalar]:
    data = found.data
    if isinstance(data, list) and data and all(isinstance(inner, list) for inner in data):
        if any(len(inner) != found.shape[-1] for inner in data):
            raise BadRequestShape(f"{where} holds lists of other lengths than its shape {found.shape}")
        data = list(chain.from_iterable(data))
    try:
        values: list[Scalar] = msgspec.convert({"data": data}, _values[found.datatype]).data
    except msgspec.ValidationError as error:
        raise WrongType(f"{where} is {found.datatype}, and its data are not: {error}") from error
    if len(values) != count:
        raise BadRequestShape(f"{where} has {len(values)} elements; its shape {found.shape} holds {count}")
    return [value or None for value in values] if found.datatype == TEXT else values


def _as_bytes(output: _Output, *, default: bool) -> bool:
    where, parameters = f"output '{output.name}'", output.parameters or {}
    refuse_extensions(where, parameters)
    return _flag(where, parameters, "binary_data", default=default)


def _flag(where: str, parameters: Parameters, name: str, *, default: bool) -> bool:
    found = parameters.get(name, default)
    if not isinstance(found, bool):
        raise BadRequestShape(f"{where} has {name} {found!r}; allowed: true, false")
    return found
