"""Encoded rows in a person's terms: which of them a condition means, and how one is shown. Knows no model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np
import numpy.typing as npt

from cluster.check_settings import Condition
from cluster.schema import FeatureSchema, Matrix, canonical

Shown = dict[str, str | float | None]
"""A row for a person: numbers, and names of categories; None is missing."""
Flags = npt.NDArray[np.bool_]
UNKNOWN: Final = "(unknown)"
"""How a category that the schema does not know is shown."""


def matches(where: Mapping[str, Condition], schema: FeatureSchema, matrix: Matrix) -> Flags:
    """Which rows a check's `where` means, bool of shape (n,).

    Examples
    --------
    >>> from cluster.schema import Feature, Label
    >>> schema = FeatureSchema(features=(Feature(name="miles", type="number"),), label=Label(name="late", classes=(0, 1)))
    >>> matches({"miles": (None, 200)}, schema, np.array([[100], [200], [300], [np.nan]], dtype=np.float32)).tolist()
    [True, True, False, False]
    """
    fits = np.ones(len(matrix), dtype=np.bool_)
    for name, value in where.items():
        j = schema.names.index(name)
        fits &= _is_one_of(schema, j, matrix[:, j], value) if schema.features[j].type == "category" else _is_within(matrix[:, j], value)
    return fits


def show(schema: FeatureSchema, row: Matrix) -> Shown:
    """One encoded row, float32 of shape (features,), as names and values."""
    return {feature.name: _decoded(schema, j, float(row[j])) for j, feature in enumerate(schema.features)}


def _is_one_of(schema: FeatureSchema, j: int, codes: Matrix, value: Condition) -> Flags:
    categories = schema.features[j].categories or ()
    fits = np.zeros(len(codes), dtype=np.bool_)
    for text in map(canonical, value if isinstance(value, tuple) else (value,)):
        if text is None:
            fits |= np.isnan(codes)
        elif text in categories:
            fits |= codes == categories.index(text)
    return fits


def _is_within(numbers: Matrix, value: Condition) -> Flags:
    if value is None:
        return np.isnan(numbers)
    low, high = value if isinstance(value, tuple) else (value, value)
    fits = ~np.isnan(numbers)
    if low is not None:
        fits &= numbers >= np.float32(low)
    if high is not None:
        fits &= numbers <= np.float32(high)
    return fits


def _decoded(schema: FeatureSchema, j: int, value: float) -> str | float | None:
    categories = schema.features[j].categories
    if np.isnan(value):
        return None
    if categories is None:
        return value
    return categories[int(value)] if 0 <= value < len(categories) else UNKNOWN
