"""The same rows in the shapes of request that servers take: rows, MLflow's split, tensors of the Open Inference Protocol."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec
import numpy as np

Row = Mapping[str, str | int | float | bool | None]
Shape = Callable[[Sequence[Row]], bytes]
"""From rows to a body of one line."""


def as_rows(rows: Sequence[Row]) -> bytes:
    """A list of objects."""
    return msgspec.json.encode({"rows": rows})


def as_split(rows: Sequence[Row]) -> bytes:
    """A DataFrame as MLflow's `/invocations` takes it."""
    return msgspec.json.encode({"dataframe_split": {"columns": list(rows[0]), "data": [list(row.values()) for row in rows]}})


def as_tensors(rows: Sequence[Row]) -> bytes:
    """One input a column: BYTES for text, FP64 for numbers, null where there is none."""
    return msgspec.json.encode({"inputs": [_tensor(name, [row[name] for row in rows]) for name in rows[0]]})


def _tensor(name: str, values: Sequence[Any]) -> dict[str, Any]:
    datatype = "BYTES" if any(isinstance(value, str) for value in values) else "FP64"
    return {"name": name, "shape": [len(values), 1], "datatype": datatype, "data": values}


def as_matrix(encode: Callable[[Mapping[str, Sequence[Any]]], np.ndarray]) -> Shape:
    """One FP32 input of rows that the caller has encoded.

    Parameters
    ----------
    encode
        From columns to a float32 matrix of shape (n, features).
    """

    def shape(rows: Sequence[Row]) -> bytes:
        matrix = encode({name: [row[name] for row in rows] for name in rows[0]})
        values = [None if math.isnan(value) else value for value in matrix.ravel().tolist()]
        return msgspec.json.encode({"inputs": [{"name": "matrix", "shape": list(matrix.shape), "datatype": "FP32", "data": values}]})

    return shape
