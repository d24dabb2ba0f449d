"""Many rows at once on POST /v1/predict: columns as JSON, Arrow IPC or CSV, and answers as Arrow IPC or CSV.

Only the wrapping differs from typed rows: the same values give the same rows, and the same mistakes the same words.
"""

from __future__ import annotations

import decimal
import io
from collections.abc import Callable, Sequence
from typing import Any, Final

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv, ipc

from cluster.errors import BadJson, BadRequestShape, WrongType
from cluster.schema import Scalar, decide
from serve_apps.cascade import ENSEMBLE, UNANSWERED
from serve_apps.protocols import loose_json
from serve_apps.protocols.arrow_ipc import read_table
from serve_apps.protocols.columns import ColumnsReader
from serve_apps.protocols.plane import Answered, DecodedRows
from serve_apps.protocols.rules import detail_of

ARROW_STREAM: Final = "application/vnd.apache.arrow.stream"
ARROW_FILE: Final = "application/vnd.apache.arrow.file"
CSV: Final = "text/csv"
_PLAIN: Final = (
    pa.types.is_string,
    pa.types.is_large_string,
    pa.types.is_string_view,
    pa.types.is_boolean,
    pa.types.is_integer,
    pa.types.is_null,
)
_TICKS: Final = {"s": 1, "ms": 1_000, "us": 1_000_000}


class _Columns(msgspec.Struct, forbid_unknown_fields=True):
    columns: dict[str, list[Any]]
    model: str | None = None


_decode_columns = msgspec.json.Decoder(_Columns).decode


def decode_columns_json(body: bytes, reader: ColumnsReader, *, now: float) -> DecodedRows:
    """Read `{"columns": {"name": [value, …], …}, "model"?: "…"}`.

    Parameters
    ----------
    now
        Event time of rows that bring none, seconds since 1970 UTC.

    Raises
    ------
    BadJson, BadRequestShape, UnknownModel, NoRows, TooManyRows
    InvalidRows
        See `ColumnsReader.read`.
    """
    try:
        request = _decode_columns(body)
    except msgspec.ValidationError as error:
        _explain(body, reader, now)
        shape = '{"columns": {"name": [value, …], …}}'
        raise BadRequestShape(f"the body does not fit {shape}: {error}") from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadJson(f"the body is not JSON: {error}. NaN and Infinity are not JSON either; send null for a missing value") from error
    reader.check_model(request.model)
    return reader.read(request.columns, now=now)


def decode_arrow(body: bytes, reader: ColumnsReader, *, now: float) -> DecodedRows:
    """Read an Arrow IPC stream or file, uncompressed; null and NaN are missing.

    Dictionary columns are unfolded; decimals are numbers, or text where a category is due; the time column may hold
    timestamps or dates (without a zone: UTC).

    Raises
    ------
    BadRequestShape, BodyTooLarge, NoRows, TooManyRows
    InvalidRows
        See `ColumnsReader.read`; `WrongType` for columns of other types.
    """
    table = read_table(body, reader.check_count)
    _check_unique(table)
    reader.check_names(table.column_names)  # before values are unfolded: columns may be many and their bytes few
    return reader.read({name: _scalars(reader, name, table.column(name)) for name in table.column_names}, now=now)


def decode_csv(body: bytes, reader: ColumnsReader, *, now: float) -> DecodedRows:
    """Read CSV in UTF-8 with a line of column names; categories are text.

    An empty field is missing; a quoted empty one is the empty text where a category is due. A plain number in the time
    column is seconds since 1970.

    Raises
    ------
    BadRequestShape
        When the body is no CSV, or a line has more or fewer fields than there are names.
    NoRows, TooManyRows
    InvalidRows
        See `ColumnsReader.read`.
    """
    try:
        body.decode()  # the names too must be text
        table = csv.read_csv(
            pa.py_buffer(body),
            csv.ReadOptions(use_threads=False, block_size=len(body) + 1),  # one block: a quoted field may span lines
            # a blank line is nothing, unless it is the missing value of an only column
            csv.ParseOptions(newlines_in_values=True, ignore_empty_lines=len(reader.known) > 1),
            csv.ConvertOptions(
                column_types=dict.fromkeys(reader.known, pa.string()),
                null_values=[""],
                strings_can_be_null=True,
                quoted_strings_can_be_null=False,
            ),
        )
    except (pa.ArrowException, ValueError) as error:
        raise BadRequestShape(f"the body is not CSV in UTF-8 with a line of column names: {error}") from error
    reader.check_count(table.num_rows)
    _check_unique(table)
    reader.check_names(table.column_names)
    return reader.read({name: _parsed(reader, name, table.column(name)) for name in table.column_names}, now=now)


def encode_arrow(answered: Answered) -> bytes:
    """The answers as an Arrow IPC stream; model, bundle and request id are in the schema's metadata.

    Columns: prediction; probability where the task has one; probability_CLASS for each class of a multiclass task; lower and
    upper where a regression bundle has intervals; answered_by; degraded.
    """
    metadata = {"request_id": answered.request_id, "model": answered.model, "bundle": answered.bundle}
    table = _answers(answered).replace_schema_metadata(metadata)
    sink = io.BytesIO()
    with ipc.new_stream(sink, table.schema) as stream:
        stream.write_table(table)
    return sink.getvalue()


def encode_csv(answered: Answered) -> bytes:
    """The answers as CSV, with the columns of `encode_arrow`; there is no place for metadata."""
    sink = io.BytesIO()
    csv.write_csv(_answers(answered), sink, csv.WriteOptions(quoting_style="needed"))
    return sink.getvalue()


def _explain(body: bytes, reader: ColumnsReader, now: float) -> None:
    """Let the reader say which column or number the compiled decoder disliked."""
    content = loose_json.parse(body)
    if isinstance(content, dict) and isinstance(content.get("columns"), dict):
        reader.read(content["columns"], now=now)


def _answers(answered: Answered) -> pa.Table:
    label, scores = answered.label, answered.scores.astype(np.float64)  # as JSON shows them
    predictions = decide(label, answered.scores)
    if len(set(map(type, label.classes or ()))) > 1:
        predictions = list(map(str, predictions))
    columns: dict[str, Any] = {"prediction": predictions}
    if label.task != "regression":
        columns["probability"] = scores.max(axis=1)
    if label.task == "multiclass":
        columns |= {f"probability_{name}": scores[:, j] for j, name in enumerate(label.classes or ())}
    if answered.intervals is not None:
        columns |= {"lower": answered.intervals[:, 0], "upper": answered.intervals[:, 1]}
    columns["answered_by"] = np.where(answered.answered_by == ENSEMBLE, "ensemble", "student")
    columns["degraded"] = answered.answered_by == UNANSWERED
    return pa.table(columns)


def _check_unique(table: pa.Table) -> None:
    seen: set[str] = set()
    for name in table.column_names:
        if name in seen:
            raise BadRequestShape(f"column '{name}' is there twice")
        seen.add(name)


def _scalars(reader: ColumnsReader, name: str, column: pa.ChunkedArray) -> list[Scalar]:
    """An Arrow column's values."""
    exact: Callable[[decimal.Decimal], Scalar] = str if name in reader.categories else float
    if name == reader.schema.time and pa.types.is_temporal(column.type):
        column = _seconds(name, column)
    return [value for chunk in column.chunks for value in _values(name, chunk, exact)]


def _values(name: str, array: pa.Array, exact: Callable[[decimal.Decimal], Scalar]) -> Sequence[Scalar]:
    if pa.types.is_dictionary(array.type):
        values = _values(name, array.dictionary, exact)
        return [None if i is None else values[i] for i in array.indices.to_pylist()]
    if pa.types.is_decimal(array.type):
        return [None if value is None else exact(value) for value in array.to_pylist()]
    if pa.types.is_floating(array.type):
        array = pc.if_else(pc.is_nan(array), pa.scalar(None, array.type), array)
    elif not any(is_kind(array.type) for is_kind in _PLAIN):
        raise _wrong_type(name, array.type)
    return array.to_pylist()  # type: ignore[no-any-return]


def _seconds(name: str, column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Moments as seconds since 1970, null where they are."""
    if pa.types.is_date32(column.type):
        column = column.cast(pa.timestamp("s"))
    elif pa.types.is_date64(column.type):
        column = column.cast(pa.timestamp("ms"))
    if not pa.types.is_timestamp(column.type):
        raise _wrong_type(name, column.type)
    if column.type.unit == "ns":  # beyond float64's digits
        column = column.cast(pa.timestamp("us", column.type.tz), safe=False)
    return pc.divide(column.cast(pa.int64()).cast(pa.float64(), safe=False), float(_TICKS[column.type.unit]))


def _wrong_type(name: str, found: pa.DataType) -> WrongType:
    allowed = "numbers, text, booleans, dictionaries of these, and timestamps in the time column"
    message = f"column '{name}' holds {found}; allowed: {allowed}"
    return WrongType(message, details=[detail_of(WrongType, None, name, str(found), allowed)])


def _parsed(reader: ColumnsReader, name: str, column: pa.ChunkedArray) -> list[Scalar]:
    """A CSV column's values; text that is no number stays text, for the reader to complain of."""
    if name in reader.categories or not pa.types.is_string(column.type):
        return column.to_pylist()  # type: ignore[no-any-return]
    if name != reader.schema.time:
        try:
            return _scalars(reader, name, column.cast(pa.float64()))
        except pa.ArrowInvalid:
            pass
    return [_number(text) for text in column.to_pylist()]


def _number(text: str | None) -> Scalar:
    if not text:
        return None
    try:
        return text if "_" in text else float(text)
    except ValueError:
        return text
