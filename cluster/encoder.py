"""How rows become the matrix that a bundle's graphs read: the one encoding of training and serving."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from cluster import packed
from cluster.arrow import as_strings, column_of, numbers_of
from cluster.errors import DataError
from cluster.schema import Columns, Feature, FeatureSchema, Matrix, Scalar, canonical

_MANY_ROWS: Final = 1024
"""From about so many on, the calls that tell codes of packed texts cost less than a look at each."""


class Encoder:
    """Turns columns into the float32 matrix that a bundle's graphs read.

    A number is itself, NaN where missing. A category is its index in `Feature.categories`; an unknown one is
    the index after the last; a missing one is NaN.

    Parameters
    ----------
    schema
        A frozen schema.

    Raises
    ------
    DataError
        When the schema still has unknown categories.

    Examples
    --------
    >>> from cluster.schema import Label
    >>> schema = FeatureSchema(
    ...     features=(Feature(name="miles", type="number"), Feature(name="carrier", type="category", categories=("UA", "B6"))),
    ...     label=Label(name="late", classes=(0, 1)),
    ... )
    >>> Encoder(schema).columns({"miles": [200, None], "carrier": ["B6", "ZZ"]})
    array([[200.,   1.],
           [ nan,   2.]], dtype=float32)
    """

    def __init__(self, schema: FeatureSchema) -> None:
        if not schema.is_frozen:
            raise DataError("the schema has categories or classes that are not known yet; freeze it over a training table first")
        self.schema = schema
        self._order = tuple((f.name, None if f.categories is None else _Codes(f.categories)) for f in schema.features)

    def columns(self, columns: Columns) -> Matrix:
        """Encode Python columns, each of n values; returns float32 of shape (n, features)."""
        n = len(columns[self._order[0][0]])
        if n == 1:  # most requests; a list of a row costs a sixth of 24 assignments to a matrix's columns
            row = [columns[name][0] if codes is None else codes[columns[name][0]] for name, codes in self._order]
            return np.array([row], dtype=np.float32)
        matrix = np.empty((n, len(self._order)), dtype=np.float32)
        for j, (name, codes) in enumerate(self._order):
            matrix[:, j] = _numbers(codes, columns[name])
        return matrix

    def packed(self, columns: packed.Columns) -> Matrix:
        """Encode columns as they lie in the journal; returns what `columns` would of the same values, to the bit."""
        matrix = np.empty((columns.rows, len(self._order)), dtype=np.float32)
        for j, (name, codes) in enumerate(self._order):
            column = columns[name]
            found = column.floats() if codes is None else codes.of(column)
            matrix[:, j] = _numbers(codes, column.scalars()) if found is None else found
        return matrix

    def table(self, table: pa.Table) -> Matrix:
        """Encode an Arrow table; returns float32 of shape (rows, features).

        Raises
        ------
        DataError
            When a feature's column is absent, or a number's column holds text.
        """
        matrix = np.empty((table.num_rows, len(self.schema.features)), dtype=np.float32)
        for j, feature in enumerate(self.schema.features):
            matrix[:, j] = self._arrow_column(table, feature)
        return matrix

    def _arrow_column(self, table: pa.Table, feature: Feature) -> npt.NDArray[np.float32]:
        column = column_of(table, feature.name)
        if feature.categories is None:
            return numbers_of(column, feature.name).astype(np.float32)
        strings = as_strings(column)
        codes = pc.index_in(strings, value_set=pa.array(feature.categories, pa.string()))
        codes = pc.fill_null(codes, len(feature.categories)).cast(pa.float32())
        codes = pc.if_else(pc.is_null(strings), pa.scalar(math.nan, pa.float32()), codes)
        return np.asarray(codes.to_numpy(zero_copy_only=False), dtype=np.float32)


def _numbers(codes: _Codes | None, values: Sequence[Scalar]) -> npt.NDArray[np.float32]:
    """None is read as NaN."""
    return np.fromiter(values if codes is None else map(codes.__getitem__, values), np.float32, len(values))


class _Codes(dict[Scalar, float]):
    """Codes by text. What is no text is looked up by its text each time: 1 and True are the same key and not the same category."""

    def __init__(self, categories: Sequence[str]) -> None:
        super().__init__({category: float(code) for code, category in enumerate(categories)})
        self._unknown = float(len(categories))
        self[None] = math.nan
        self._written = pa.array([packed.written(value) for value in self], pa.binary())
        self._codes = np.array([*self.values(), self._unknown], dtype=np.float32)

    def of(self, column: packed.Column) -> npt.NDArray[np.float32] | None:
        """Codes of a packed column, where they can be told without a look at each value."""
        texts = column.texts() if column.rows >= _MANY_ROWS else None
        if texts is None:
            return None
        found = pc.index_in(texts, value_set=self._written).fill_null(len(self))
        return np.asarray(self._codes[found.to_numpy()])

    def __missing__(self, value: Scalar) -> float:
        return self._unknown if isinstance(value, str) else self.get(canonical(value), self._unknown)
