"""How rows become the matrix that a bundle's graphs read: the one encoding of training and serving."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from cluster.arrow import as_strings, column_of, numbers_of
from cluster.errors import DataError
from cluster.schema import Columns, Feature, FeatureSchema, Matrix, Scalar, canonical


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
        self._codes = {
            f.name: {category: float(code) for code, category in enumerate(f.categories)}
            for f in schema.features
            if f.categories is not None
        }
        self._order = tuple((name, codes, float(len(codes or ()))) for name, codes in ((n, self._codes.get(n)) for n in schema.names))

    def columns(self, columns: Columns) -> Matrix:
        """Encode Python columns, each of n values; returns float32 of shape (n, features)."""
        n = len(columns[self._order[0][0]])
        if n == 1:  # most requests; a list of a row costs a sixth of 24 assignments to a matrix's columns
            row = [columns[name][0] if codes is None else _code(columns[name][0], codes, unknown) for name, codes, unknown in self._order]
            return np.array([row], dtype=np.float32)
        matrix = np.empty((n, len(self.schema.features)), dtype=np.float32)
        for j, feature in enumerate(self.schema.features):
            values = columns[feature.name]
            codes = self._codes.get(feature.name)
            if codes is None:
                matrix[:, j] = values  # numpy reads None as NaN
            else:
                unknown = float(len(codes))
                matrix[:, j] = [_code(value, codes, unknown) for value in values]
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


def _code(value: Scalar, codes: Mapping[str, float], unknown: float) -> float:
    text = value if isinstance(value, str) else canonical(value)
    return math.nan if text is None else codes.get(text, unknown)
