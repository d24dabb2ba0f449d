"""Typed rows: the JSON of POST /v1/predict, and of its answer.

Good requests take a fast path: a decoder compiled from the feature schema checks and types the whole body in
one pass. When it refuses, a slow path reads the body again to say exactly what is wrong, and where.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Final

import msgspec

from cluster.errors import BadJson, BadRequestShape
from cluster.schema import FeatureSchema
from serve_apps.protocols.answers import RowAnswer, row_answers
from serve_apps.protocols.bulk import decode_columns_json
from serve_apps.protocols.columns import ColumnsReader
from serve_apps.protocols.plane import Answered, DecodedRows
from serve_apps.protocols.rules import RowRules, check_count, check_model

_KEYS: Final = ("rows", "columns", "model")
_SHAPE: Final = 'the body must be an object with a list of rows: {"rows": [{"column": value, …}, …]}, or of columns: {"columns": {"column": [value, …], …}}'


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
        self.reader = ColumnsReader(schema, model=model, max_rows=max_rows)
        self._rules = RowRules(schema)
        row = self._rules.struct("Row")
        body = msgspec.defstruct(
            "Body",
            [
                ("rows", list[row] | msgspec.UnsetType, msgspec.UNSET),  # type: ignore[valid-type] # made at run time
                ("columns", msgspec.Raw | msgspec.UnsetType, msgspec.UNSET),
                ("model", str | None, None),
            ],
            forbid_unknown_fields=True,
        )
        self._decode: Callable[[bytes], Any] = msgspec.json.Decoder(body).decode
        self._encode = msgspec.json.Encoder().encode

    def decode(self, body: bytes, *, now: float) -> DecodedRows:
        """Read a request, by rows or by columns.

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
        if rows is msgspec.UNSET or request.columns is not msgspec.UNSET:
            if rows is not msgspec.UNSET or request.columns is msgspec.UNSET:
                raise BadRequestShape(f"{_SHAPE}; one of them")
            return decode_columns_json(body, self.reader, now=now)
        check_model(request.model, self.reader.model)
        check_count(len(rows), self.reader.max_rows)
        return self._rules.decoded(list(zip(*map(msgspec.structs.astuple, rows), strict=True)), now=now)

    def _explain(self, body: bytes) -> None:
        """Raise the error that says what the compiled decoder disliked."""
        try:
            content = json.loads(body, parse_constant=_refuse_constant)  # unlike msgspec's, it reads numbers of any size
        except (ValueError, RecursionError) as error:
            raise _bad_json(error) from error
        if not isinstance(content, dict) or not isinstance(content.get("rows", content.get("columns") and []), list):
            raise BadRequestShape(_SHAPE)
        if strange := sorted(content.keys() - set(_KEYS)):
            raise BadRequestShape(f"unknown key '{strange[0]}' in the body; allowed: {', '.join(_KEYS)}")
        if not isinstance(content.get("model"), str | None):
            raise BadRequestShape("'model' must be a name")
        self._rules.explain(content.get("rows", ()))

    def encode(self, answered: Answered) -> bytes:
        """Write the answer."""
        return self._encode(PredictAnswer(answered.request_id, answered.model, answered.bundle, list(row_answers(answered))))


def _bad_json(error: Exception) -> BadJson:
    return BadJson(f"the body is not JSON: {error}. NaN and Infinity are not JSON either; send null for a missing value")


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is no JSON")
