"""TensorFlow Serving's REST API: POST /v1/models/NAME:predict, :classify and :regress, status and metadata.

Every column is a named input of one value a row, alone or in a list of one, as exported Keras models have it. NaN is
a missing value, and so is null. The wire format is TensorFlow Serving's; the model behind it is ours.
"""

from __future__ import annotations

from typing import Any, Final, Literal

import msgspec

from cluster.errors import BadRequestShape, HomeostatError, UnknownColumn
from cluster.schema import FeatureSchema, canonical, score_width
from serve_apps.protocols.columns import ColumnsReader
from serve_apps.protocols.loose_json import parse_object
from serve_apps.protocols.plane import Answered, DecodedRows
from serve_apps.protocols.rules import detail_of, kind_of

Style = Literal["row", "column"]
Method = Literal["classify", "regress"]
SIGNATURE: Final = "serving_default"
_METHOD_NAME: Final = "tensorflow/serving/"
_TASKS: Final[dict[Method, tuple[str, ...]]] = {"classify": ("binary", "multiclass"), "regress": ("binary", "regression")}
_encode = msgspec.json.encode


def decode_predict(body: bytes, reader: ColumnsReader, *, now: float) -> tuple[DecodedRows, Style]:
    """Read `{"instances": [row, …]}` (row style) or `{"inputs": {"name": [value, …], …}}` (column style).

    Rows, and inputs that are a list, may be objects or lists by position.

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
    content = _content(body, "instances or inputs", "signature_name", "instances", "inputs")
    _check_signature(content, SIGNATURE)
    if ("instances" in content) == ("inputs" in content):
        raise BadRequestShape("the body must have one of 'instances' (rows) and 'inputs' (columns), and not both")
    if "instances" in content:
        return reader.read_records(_rows(content, "instances"), now=now), "row"
    if isinstance(inputs := content["inputs"], dict):
        return reader.read({name: _unwrapped(values) for name, values in inputs.items()}, now=now), "column"
    return reader.read_records(_rows(content, "inputs"), now=now), "column"


def decode_examples(body: bytes, reader: ColumnsReader, method: Method, *, now: float) -> DecodedRows:
    """Read `{"examples": [{"name": value, …}, …], "context"?: {…}}`; columns of the context are those of every example.

    Raises
    ------
    BadJson, BadRequestShape, NoRows, TooManyRows
    InvalidRows
        See `ColumnsReader.read`.
    """
    task = reader.schema.label.task
    if task not in _TASKS[method]:
        raise BadRequestShape(f"'{reader.model}' is a model of {task}, which has no '{method}'; call 'predict'")
    content = _content(body, "examples", "signature_name", "context", "examples")
    _check_signature(content, SIGNATURE, _METHOD_NAME + method)
    context = content.get("context", {})
    if not isinstance(context, dict):
        raise BadRequestShape(f"'context' is {kind_of(context)}, and must be an object of column: value")
    context = {name: _scalar(value) for name, value in context.items()}
    rows = _rows(content, "examples")
    reader.check_count(len(rows))
    for name in context:
        if name not in reader.known:  # before each example gets a copy
            detail = detail_of(UnknownColumn, None, name, None, list(reader.known))
            raise UnknownColumn(f"there is a column '{name}' in 'context', which the schema lacks", details=[detail])
    for i, row in enumerate(rows):
        if isinstance(row, dict) and (both := sorted(row.keys() & context)):
            raise BadRequestShape(f"column '{both[0]}' is in 'context' and in example {i}; it may be in one of them")
    return reader.read_records([context | row if isinstance(row, dict) else row for row in rows], now=now)


def render_predict(answered: Answered, style: Style) -> bytes:
    """The scores: a number a row, or a list of the classes' probabilities for multiclass."""
    scores = answered.scores if answered.label.task == "multiclass" else answered.scores[:, 0]
    return _encode({"predictions" if style == "row" else "outputs": scores.tolist()})


def render_classify(answered: Answered) -> bytes:
    """Each class, as text, with its probability."""
    names = [canonical(c) for c in answered.label.classes or ()]
    rows = answered.scores.tolist()
    if answered.label.task == "binary":
        rows = [[1 - p, p] for (p,) in rows]
    return _encode({"results": [list(zip(names, row, strict=True)) for row in rows]})


def render_regress(answered: Answered) -> bytes:
    """The number, or the probability of the positive class."""
    return _encode({"results": answered.scores[:, 0].tolist()})


def status(version: str) -> bytes:
    """GET /v1/models/NAME: the version that answers."""
    available = {"version": version, "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}
    return _encode({"model_version_status": [available]})


def metadata(schema: FeatureSchema, *, model: str, version: str) -> bytes:
    """GET /v1/models/NAME/metadata: the inputs and outputs of each method."""
    kinds = {feature.name: "DT_FLOAT" if feature.type == "number" else "DT_STRING" for feature in schema.features}
    kinds |= dict.fromkeys(schema.side_columns, "DT_STRING") | ({schema.time: "DT_STRING"} if schema.time else {})
    width = score_width(schema.label)
    scores = {"scores": _tensor("scores", "DT_FLOAT", *([width] if width > 1 else []))}
    signatures = {SIGNATURE: _signature("predict", {name: _tensor(name, kind) for name, kind in kinds.items()}, scores)}
    examples = {"inputs": _tensor("inputs", "DT_STRING")}
    if schema.label.task in _TASKS["classify"]:
        classes = len(schema.label.classes or ())
        outputs = {"classes": _tensor("classes", "DT_STRING", classes), "scores": _tensor("scores", "DT_FLOAT", classes)}
        signatures[_METHOD_NAME + "classify"] = _signature("classify", examples, outputs)
    if schema.label.task in _TASKS["regress"]:
        signatures[_METHOD_NAME + "regress"] = _signature("regress", examples, {"outputs": _tensor("outputs", "DT_FLOAT")})
    spec = {"name": model, "signature_name": "", "version": version}
    return _encode({"model_spec": spec, "metadata": {"signature_def": {"signature_def": signatures}}})


def error(error: HomeostatError, status: int) -> bytes:  # noqa: ARG001
    """The error in TensorFlow Serving's shape; the HTTP status says the rest."""
    return _encode({"error": error.message} | ({"details": list(map(dict, error.details))} if error.details else {}))


def _content(body: bytes, wanted: str, *keys: str) -> dict[str, object]:
    content = parse_object(body, shape=f"with {wanted}")
    if strange := sorted(content.keys() - set(keys)):
        raise BadRequestShape(f"unknown key '{strange[0]}'; allowed: {', '.join(keys)}")
    return content


def _check_signature(content: dict[str, object], *known: str) -> None:
    found = content.get("signature_name", "")
    if found not in ("", *known):
        raise BadRequestShape(f"there is no signature {str(found)[:80]!r}; there is: {', '.join(known)}")


def _rows(content: dict[str, object], key: str) -> list[object]:
    rows = content.get(key)
    if not isinstance(rows, list):
        found = f"is {kind_of(rows)}" if key in content else "is absent"
        raise BadRequestShape(f"'{key}' {found}, and must be a list of rows")
    first = rows[0] if rows else None
    if not isinstance(first, dict) or not any(isinstance(value, list) for value in first.values()):
        return rows  # a tensor has one shape: what the first row has not, the others don't have
    return [{name: _scalar(value) for name, value in row.items()} if isinstance(row, dict) else row for row in rows]


def _unwrapped(values: Any) -> Any:
    return list(map(_scalar, values)) if isinstance(values, list) and values and isinstance(values[0], list) else values


def _scalar(value: Any) -> Any:
    return value[0] if isinstance(value, list) and len(value) == 1 else value


def _tensor(name: str, kind: str, *width: int) -> dict[str, object]:
    dims = [{"size": str(size), "name": ""} for size in (-1, *width)]
    return {"dtype": kind, "tensor_shape": {"dim": dims, "unknown_rank": False}, "name": name}


def _signature(method: str, inputs: dict[str, Any], outputs: dict[str, Any]) -> dict[str, object]:
    return {"inputs": inputs, "outputs": outputs, "method_name": _METHOD_NAME + method}
