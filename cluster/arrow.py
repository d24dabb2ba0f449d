"""Arrow columns as the schema reads them: category strings, numbers, times."""

from __future__ import annotations

import re

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cluster.errors import DataError
from cluster.schema import Floats, canonical


def as_strings(column: pa.ChunkedArray | pa.Array) -> pa.Array:
    """An Arrow column as canonical category strings, nulls kept."""
    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    if pa.types.is_floating(array.type) or pa.types.is_decimal(array.type):
        return pa.array([canonical(value) for value in array.to_pylist()], pa.string())
    return array.cast(pa.string())


def column_of(table: pa.Table, name: str) -> pa.ChunkedArray:
    """A table's column, or a `DataError` that lists what there is."""
    if name not in table.column_names:
        raise DataError(f"the table has no column '{name}'; it has: {', '.join(table.column_names)}")
    return table.column(name)


def numbers_of(column: pa.ChunkedArray, name: str) -> Floats:
    """An Arrow column as float64 with NaN for nulls; integers beyond 2**53 are rounded.

    Raises
    ------
    DataError
        When the column does not hold numbers, or nothing in any row.
    """
    if pa.types.is_null(column.type):
        raise DataError(
            f"column '{name}' is declared a number and is missing in all {len(column):,} rows; fill it, or take it out of schema"
        )
    if not (
        pa.types.is_integer(column.type)
        or pa.types.is_floating(column.type)
        or pa.types.is_boolean(column.type)
        or pa.types.is_decimal(column.type)
    ):
        raise DataError(f"column '{name}' is declared a number and holds {column.type}; declare it a category or convert it")
    if pa.types.is_boolean(column.type):
        column = column.cast(pa.int8())
    return np.asarray(column.cast(pa.float64(), safe=False).to_numpy(), dtype=np.float64)


def times_of(table: pa.Table, name: str) -> Floats:
    """A time column as seconds since 1970 UTC, float64 of shape (rows,); naive times are read as UTC.

    Raises
    ------
    DataError
        When the column is absent, holds nulls, or is no time.
    """
    column = column_of(table, name)
    try:
        if pa.types.is_integer(column.type) or pa.types.is_floating(column.type):
            seconds = column.cast(pa.float64())
        else:
            if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
                column = pc.cast(column, pa.timestamp("us", tz="UTC")) if _has_zone(column) else pc.cast(column, pa.timestamp("us"))
            seconds = pc.divide(column.cast(pa.timestamp("us"), safe=False).cast(pa.int64()).cast(pa.float64()), 1e6)
    except pa.ArrowInvalid as error:
        raise DataError(f"column '{name}' cannot be read as a time: {error}") from error
    except pa.ArrowNotImplementedError as error:
        raise DataError(
            f"column '{name}' of type {column.type} is not a time; use a timestamp, an ISO 8601 string or seconds since 1970"
        ) from error
    if seconds.null_count:
        raise DataError(f"column '{name}' is the time and has {seconds.null_count} empty values; every row needs one")
    return np.asarray(seconds.to_numpy(), dtype=np.float64)


def _has_zone(column: pa.ChunkedArray) -> bool:
    first = next((value for value in column.to_pylist()[:1000] if value), "")
    return bool(re.search(r"(Z|[+-]\d\d:?\d\d)$", str(first)))
