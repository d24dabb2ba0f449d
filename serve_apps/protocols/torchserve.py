"""TorchServe's REST API: POST /predictions/NAME, GET /ping and GET /models/NAME.

TorchServe leaves bodies to each model's handler; ours reads a row or a list of rows, and answers likewise.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal

import msgspec

from cluster import errors
from cluster.errors import BadRequestShape, HomeostatError
from serve_apps.protocols.answers import row_answers
from serve_apps.protocols.columns import ColumnsReader
from serve_apps.protocols.loose_json import parse
from serve_apps.protocols.plane import Answered, DecodedRows
from serve_apps.protocols.rules import kind_of

Style = Literal["row", "rows", "instances"]
"""A row by itself, a list of rows, or TorchServe's JSON envelope."""
PING: Final = b'{"status":"Healthy"}'
_TYPES: Final[Mapping[type[HomeostatError], str]] = {
    errors.Unauthenticated: "InvalidKeyException",
    errors.UnknownModel: "ModelNotFoundException",
    errors.NotServed: "ModelVersionNotFoundException",
    errors.RouteNotFound: "ResourceNotFoundException",
    errors.MethodNotAllowed: "MethodNotAllowedException",
    errors.RequestError: "BadRequestException",
    errors.Unavailable: "ServiceUnavailableException",
    errors.NoChampion: "ServiceUnavailableException",
    errors.JournalError: "ServiceUnavailableException",
    HomeostatError: "InternalServerException",
}
_encode = msgspec.json.encode


def decode_predictions(body: bytes, reader: ColumnsReader, *, now: float) -> tuple[DecodedRows, Style]:
    """Read a row, a list of rows, or `{"instances": [row, …]}`.

    A row is an object, or in a list of rows a list by position.

    Parameters
    ----------
    now
        Event time of rows that bring none, seconds since 1970 UTC.

    Raises
    ------
    BadJson, BadRequestShape, NoRows, TooManyRows
    InvalidRows
        See `ColumnsReader.read`.
    """
    style: Style = "rows"
    content = parse(body)
    if isinstance(content, dict) and content.keys() == {"instances"}:
        content, style = content["instances"], "instances"
    elif isinstance(content, dict):
        content, style = [content], "row"
    if not isinstance(content, list):
        raise BadRequestShape(f"the body has {kind_of(content)} where a row (an object of column: value) or a list of rows must be")
    return reader.read_records(content, now=now), style


def render_predictions(answered: Answered, style: Style) -> bytes:
    """The answer for the row, a list of answers, or `{"predictions": [answer, …]}`: as the rows came."""
    answers = list(row_answers(answered))
    if style == "instances":
        return _encode({"predictions": answers})
    return _encode(answers[0] if style == "row" else answers)


def describe(model: str, version: str, *, worker: str, started: str) -> bytes:
    """GET /models/NAME: what is known here: the model, its version, and the process that answers.

    Parameters
    ----------
    worker
        Name of this process.
    started
        When it was, ISO 8601.
    """
    workers = [{"id": worker, "startTime": started, "status": "READY", "gpu": False}]
    return _encode([{"modelName": model, "modelVersion": version, "engine": "ONNX Runtime", "runtime": "python", "workers": workers}])


def error(error: HomeostatError, status: int) -> bytes:
    """The error in TorchServe's shape, under the name of its own exception that is nearest."""
    name = next(_TYPES[cls] for cls in type(error).__mro__ if cls in _TYPES)
    body: dict[str, object] = {"code": status, "type": name, "message": error.message}
    return _encode(body | ({"details": list(map(dict, error.details))} if error.details else {}))
