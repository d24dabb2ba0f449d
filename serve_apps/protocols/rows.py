"""Typed rows: the JSON of POST /v1/predict, and of its answer.

Good requests take a fast path: a decoder compiled from the feature schema checks and types the whole body in
one pass. When it refuses, a slow path reads the body again to say exactly what is wrong, and where.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Annotated, Any, Final

import msgspec
import numpy as np
import numpy.typing as npt

from cluster.errors import (
    BadJson,
    BadRequestShape,
    BadTime,
    InvalidRows,
    MissingColumn,
    NoRows,
    NotFinite,
    TooManyRows,
    UnknownColumn,
    UnknownModel,
    WrongType,
)
from cluster.records import Int64
from cluster.schema import FeatureSchema, Matrix, Scalar, decide, parse_time
from serve_apps.cascade import ENSEMBLE, UNANSWERED
from serve_apps.protocols.plane import DecodedRows

_MOST_DETAILS: Final = 20
_FLOAT32_MAX: Final = float(np.finfo(np.float32).max)
_Finite = Annotated[float, msgspec.Meta(ge=-_FLOAT32_MAX, le=_FLOAT32_MAX)]
_KEYS: Final = ("rows", "model")


class RowAnswer(msgspec.Struct, frozen=True, omit_defaults=True):
    """The answer for one row."""

    prediction: str | int | float | bool
    answered_by: str
    """`student` or `ensemble`."""
    probability: float | None = None
    """Binary: of the positive class; multiclass: of the predicted class."""
    probabilities: dict[str, float] | None = None
    """Multiclass: of each class."""
    degraded: bool = False
    """True when the ensemble was asked and could not answer in time, so that the student did."""


class PredictAnswer(msgspec.Struct, frozen=True):
    """The answer of POST /v1/predict."""

    request_id: str
    model: str
    bundle: str
    predictions: list[RowAnswer]


class RowsCodec:
    """Reads and writes typed rows of one schema.

    Parameters
    ----------
    schema
        A frozen schema.
    model
        The name that a request may mention.
    max_rows
        Most rows in a request.
    """

    def __init__(self, schema: FeatureSchema, *, model: str, max_rows: int) -> None:
        self.schema = schema
        self._model = model
        self._max_rows = max_rows
        self._sent = (*schema.names, *schema.side_columns)
        types: list[tuple[str, Any] | tuple[str, Any, Any]] = [
            (f"c{j}", kind, msgspec.field(name=name)) for j, (name, kind) in enumerate(self._kinds())
        ]
        if schema.time is not None:
            types.append((f"c{len(types)}", str | float | None, msgspec.field(default=None, name=schema.time)))
        row = msgspec.defstruct("Row", types, forbid_unknown_fields=True, frozen=True, gc=False)
        body = msgspec.defstruct("Body", [("rows", list[row]), ("model", str | None, None)], forbid_unknown_fields=True)  # type: ignore[valid-type]
        self._decode: Callable[[bytes], Any] = msgspec.json.Decoder(body).decode
        self._encode = msgspec.json.Encoder().encode

    def _kinds(self) -> Iterator[tuple[str, Any]]:
        for feature in self.schema.features:
            yield feature.name, _Finite | None if feature.type == "number" else str | Int64 | float | bool | None
        for name in self.schema.side_columns:
            yield name, str | Int64 | float | bool | None

    def decode(self, body: bytes, *, now: float) -> DecodedRows:
        """Read a request.

        Parameters
        ----------
        now
            Event time of rows that bring none, seconds since 1970 UTC.

        Raises
        ------
        BadJson, BadRequestShape, UnknownModel, NoRows, TooManyRows
        InvalidRows
            As `MissingColumn`, `UnknownColumn`, `WrongType`, `NotFinite` or `BadTime`; `details` lists up to 20 places.
        """
        try:
            request = self._decode(body)
        except msgspec.ValidationError as error:
            self._explain(body)
            raise BadRequestShape(f"the body does not fit: {error}") from error
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise _bad_json(error) from error
        rows = request.rows
        self._check_envelope(request.model, len(rows))
        columns = list(zip(*map(msgspec.structs.astuple, rows), strict=True))
        times = self._times(columns[-1], now) if self.schema.time is not None else [now] * len(rows)
        return DecodedRows({name: list(columns[j]) for j, name in enumerate(self._sent)}, times)

    def _check_envelope(self, model: str | None, rows: int) -> None:
        if model is not None and model != self._model:
            raise UnknownModel(f"model {model!r} is not served here; this service answers for '{self._model}'")
        if rows == 0:
            raise NoRows("the request holds no rows; send at least one in 'rows'")
        if rows > self._max_rows:
            raise TooManyRows(f"the request holds {rows} rows; at most {self._max_rows} are answered at once. Split it")

    def _times(self, values: tuple[Scalar, ...], now: float) -> list[float]:
        times = []
        for i, value in enumerate(values):
            try:
                times.append(now if value is None else parse_time(value))
            except ValueError as error:
                allowed = "ISO 8601 text or seconds since 1970"
                detail = {"problem": "BadTime", "row": i, "column": self.schema.time, "found": _shown(value), "allowed": allowed}
                raise BadTime(
                    f"row {i}, column '{self.schema.time}': {_shown(value)} is not a time; allowed: {allowed}", details=[detail]
                ) from error
        return times

    def _explain(self, body: bytes) -> None:
        """Raise the error that says what the compiled decoder disliked."""
        try:
            content = json.loads(body, parse_constant=_refuse_constant)  # unlike msgspec's, it reads numbers of any size
        except (ValueError, RecursionError) as error:
            raise _bad_json(error) from error
        if not isinstance(content, dict) or not isinstance(content.get("rows"), list):
            raise BadRequestShape('the body must be an object with a list of rows: {"rows": [{"column": value, …}, …]}')
        if strange := sorted(content.keys() - set(_KEYS)):
            raise BadRequestShape(f"unknown key '{strange[0]}' beside 'rows'; allowed: {', '.join(_KEYS)}")
        if not isinstance(content.get("model"), str | None):
            raise BadRequestShape("'model' must be a name")
        problems: list[tuple[type[InvalidRows], str, dict[str, object]]] = []
        for i, row in enumerate(content["rows"]):
            problems.extend(self._problems(i, row))
            if len(problems) >= _MOST_DETAILS:
                break
        if problems:
            kind, message, _ = problems[0]
            more = f" (and {len(problems) - 1} more, see details)" if len(problems) > 1 else ""
            raise kind(message + more, details=[detail for _, _, detail in problems[:_MOST_DETAILS]])

    def _problems(self, i: int, row: object) -> Iterator[tuple[type[InvalidRows], str, dict[str, object]]]:
        if not isinstance(row, dict):
            yield WrongType, f"row {i} is {_kind(row)}, not an object of column: value", _detail(WrongType, i, None, row, "an object")
            return
        known = (*self._sent, self.schema.time) if self.schema.time else self._sent
        for name in self._sent:
            if name not in row:
                yield (
                    MissingColumn,
                    f"row {i} lacks column '{name}'; send null if its value is missing",
                    _detail(MissingColumn, i, name, None, list(known)),
                )
        for name in row:
            if name not in known:
                yield (
                    UnknownColumn,
                    f"row {i} has column '{name}', which the schema lacks",
                    _detail(UnknownColumn, i, name, row[name], list(known)),
                )
        numbers = {feature.name for feature in self.schema.features if feature.type == "number"}
        for name, allowed, fits in self._checks():
            if name in row and _is_huge(row[name], _FLOAT32_MAX if name in numbers else 2**63 - 1):
                message = f"row {i}, column '{name}': the number is infinite or too large; send null for a missing value"
                yield NotFinite, message, _detail(NotFinite, i, name, row[name], allowed)
            elif name in row and not fits(row[name]):
                message = f"row {i}, column '{name}': {_shown(row[name])} is {_kind(row[name])}; allowed: {allowed}"
                yield WrongType, message, _detail(WrongType, i, name, row[name], allowed)

    def _checks(self) -> Iterator[tuple[str, str, Any]]:
        for feature in self.schema.features:
            if feature.type == "number":
                yield feature.name, "a number, or null for missing", _is_number
            else:
                yield feature.name, "a string, integer or boolean, or null for missing", _is_scalar
        for name in self.schema.side_columns:
            yield name, "a string, number or boolean, or null for missing", _is_scalar
        if self.schema.time is not None:
            yield self.schema.time, "ISO 8601 text or seconds since 1970", _is_time

    def encode(self, request_id: str, bundle: str, scores: Matrix, answered_by: npt.NDArray[np.uint8]) -> bytes:
        """Write the answer for scores of shape (n, width) and who gave them (`serve_apps.cascade`)."""
        return self._encode(PredictAnswer(request_id, self._model, bundle, list(self._answers(scores, answered_by))))

    def _answers(self, scores: Matrix, answered_by: npt.NDArray[np.uint8]) -> Iterator[RowAnswer]:
        label = self.schema.label
        predictions = decide(label, scores)
        names = [str(c) for c in label.classes or ()]
        values = scores.tolist()
        for prediction, row, by in zip(predictions, values, answered_by.tolist(), strict=True):
            who = "ensemble" if by == ENSEMBLE else "student"
            degraded = by == UNANSWERED
            if label.task == "binary":
                yield RowAnswer(prediction, who, row[0], degraded=degraded)
            elif label.task == "multiclass":
                yield RowAnswer(prediction, who, max(row), dict(zip(names, row, strict=True)), degraded=degraded)
            else:
                yield RowAnswer(prediction, who, degraded=degraded)


def _detail(kind: type[InvalidRows], row: int, column: str | None, found: object, allowed: object) -> dict[str, object]:
    return {"problem": kind.__name__, "row": row, "column": column, "found": _shown(found), "allowed": allowed}


def _shown(value: object) -> object:
    if value is None or (isinstance(value, int) and abs(value) < 2**63) or (isinstance(value, float) and math.isfinite(value)):
        return value
    return repr(value)[:80]


def _kind(value: object) -> str:
    names: Mapping[type, str] = {
        dict: "an object",
        list: "a list",
        str: "text",
        bool: "a boolean",
        int: "a number",
        float: "a number",
        type(None): "null",
    }
    return names.get(type(value), type(value).__name__)


def _bad_json(error: Exception) -> BadJson:
    return BadJson(f"the body is not JSON: {error}. NaN and Infinity are not JSON either; send null for a missing value")


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is no JSON")


def _is_huge(value: object, most: float) -> bool:
    """An integer beyond `most`, or an infinite number: no column holds it."""
    return isinstance(value, (int, float)) and abs(value) > (most if isinstance(value, int) else _FLOAT32_MAX)


def _is_time(value: object) -> bool:
    return _is_scalar(value) and not isinstance(value, bool)


def _is_number(value: object) -> bool:
    return value is None or (isinstance(value, (int, float)) and not isinstance(value, bool) and not math.isnan(value))


def _is_scalar(value: object) -> bool:
    return value is None or isinstance(value, (str, int, float, bool))
