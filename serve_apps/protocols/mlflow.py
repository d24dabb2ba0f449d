"""MLflow's scoring server: POST /invocations, as `mlflow models serve` and its clients speak it.

The answer is what MLflow makes of the bundle as a model of its own (`cluster/pyfunc.py`): a record a row.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from cluster.errors import BadRequestShape, HomeostatError
from serve_apps.protocols.answers import row_answers
from serve_apps.protocols.columns import ColumnsReader
from serve_apps.protocols.loose_json import parse_object
from serve_apps.protocols.plane import Answered, DecodedRows
from serve_apps.protocols.rules import kind_of

PING: Final = b"\n"
"""Body of GET /ping and GET /health."""
_FORMATS: Final = ("dataframe_split", "dataframe_records", "instances", "inputs")
_SPLIT: Final = ("columns", "data", "index")
_CODES: Final[Mapping[int, str]] = {
    401: "UNAUTHENTICATED",
    404: "ENDPOINT_NOT_FOUND",
    422: "INVALID_PARAMETER_VALUE",
    500: "INTERNAL_ERROR",
    503: "TEMPORARILY_UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
_encode = msgspec.json.encode


def decode_invocations(body: bytes, reader: ColumnsReader, *, now: float) -> DecodedRows:
    """Read one of `dataframe_split`, `dataframe_records`, `instances` and `inputs`; for text/csv there is `bulk.decode_csv`.

    NaN, which pandas writes for a missing value, is missing. Rows without column names are read by position.

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
    content = parse_object(body, shape=f"with one of {', '.join(_FORMATS)}")
    _check_params(content.pop("params", None))
    if len(content) != 1 or not content.keys() <= set(_FORMATS):
        raise BadRequestShape(f"the body must have exactly one of {', '.join(_FORMATS)} (and maybe params); it has: {', '.join(content)}")
    ((name, value),) = content.items()
    if name == "dataframe_split":
        return _read_split(value, reader, now)
    if name == "inputs" and isinstance(value, dict):
        if any(isinstance(values, list) for values in value.values()):
            return reader.read(value, now=now)
        value = [value]
    if not isinstance(value, list):
        raise BadRequestShape(f"'{name}' is {kind_of(value)}, and must be a list of rows")
    return reader.read_records(value, now=now)


def render_predictions(answered: Answered) -> bytes:
    """A record a row: the prediction, and the probability where the task has one."""
    records = []
    for answer in row_answers(answered):
        record: dict[str, Any] = {"prediction": answer.prediction}
        records.append(record if answer.probability is None else record | {"probability": answer.probability})
    return _encode({"predictions": records})


def error(error: HomeostatError, status: int) -> bytes:
    """The error in MLflow's shape, under the code it has for the HTTP status."""
    body: dict[str, object] = {"error_code": _CODES.get(status, "BAD_REQUEST"), "message": error.message}
    return _encode(body | ({"details": list(map(dict, error.details))} if error.details else {}))


def _check_params(params: object) -> None:
    if not isinstance(params, dict | None):
        raise BadRequestShape(f"'params' is {kind_of(params)}, and must be an object")
    if params:
        raise BadRequestShape(f"unknown parameter '{next(iter(params))}': this model takes none")


def _read_split(content: object, reader: ColumnsReader, now: float) -> DecodedRows:
    """Read pandas' `split` form; the index says nothing of the rows."""
    if not isinstance(content, dict) or not isinstance(rows := content.get("data"), list) or not content.keys() <= set(_SPLIT):
        raise BadRequestShape("'dataframe_split' must be an object with a list 'data', and maybe 'columns' and 'index'")
    names = content.get("columns")
    if names is None:
        return reader.read_matrix(rows, now=now)
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names) or len(set(names)) != len(names):
        raise BadRequestShape("'columns' of 'dataframe_split' must be a list of different names")
    reader.check_count(len(rows))
    _check_widths(rows, len(names))
    return reader.read(dict(zip(names, zip(*rows, strict=True), strict=True)), now=now)


def _check_widths(rows: Sequence[object], width: int) -> None:
    for i, row in enumerate(rows):
        if not isinstance(row, list) or len(row) != width:
            found = f"has {len(row)} values" if isinstance(row, list) else f"is {kind_of(row)}"
            raise BadRequestShape(f"row {i} of 'data' {found}; allowed: a list of {width} values, one for each of 'columns'")
