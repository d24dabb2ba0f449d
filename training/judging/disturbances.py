"""Ways in which encoded rows go wrong on their way to a model. Knows the schema and the usual values, not the model."""

from __future__ import annotations

from typing import Final, Literal

import numpy as np
import numpy.typing as npt

from cluster.schema import FeatureSchema, Floats, Matrix

Kind = Literal["noise", "missing", "below_range", "above_range", "unknown_category"]
KINDS: Final[tuple[Kind, ...]] = ("noise", "missing", "below_range", "above_range", "unknown_category")
_EXTREME: Final = float(np.finfo(np.float32).max)


class Disturber:
    """Spoils rows of one schema.

    Parameters
    ----------
    schema
        Frozen.
    matrix
        Usual rows, float32 of shape (n, features): the standard deviation of a number, and its ends where the schema gives no range.
    """

    def __init__(self, schema: FeatureSchema, matrix: Matrix) -> None:
        self._features = schema.features
        numbers = [j for j, f in enumerate(schema.features) if f.type == "number"]
        self._categories = [j for j, f in enumerate(schema.features) if f.type == "category"]
        known = {j: matrix[~np.isnan(matrix[:, j]), j].astype(np.float64) for j in numbers}
        self._numbers = [j for j in numbers if len(known[j])]  # one that is always missing has no scale
        self._scale = {j: float(known[j].std()) for j in self._numbers}
        self._ends = {j: schema.features[j].range or (float(known[j].min()), float(known[j].max())) for j in self._numbers}

    def columns(self, kind: Kind) -> list[int]:
        """The columns that can go wrong in this way."""
        if kind == "missing":
            return list(range(len(self._features)))
        return self._categories if kind == "unknown_category" else self._numbers

    def spoil(self, kind: Kind, size: float, rows: Matrix, columns: list[int], rng: np.random.Generator) -> Matrix:
        """A copy of the rows that has gone wrong in these columns.

        `size` is a number of standard deviations for noise, for the other kinds the share of cells, drawn at random.
        What is missing stays missing.
        """
        result = rows.copy()
        for j in columns:
            hit = np.ones(len(rows), dtype=np.bool_) if kind == "noise" else rng.random(len(rows)) < size
            spoilt = self._spoilt(kind, size, rows[:, j], j, rng)
            result[hit, j] = spoilt[hit]
        return result

    def _spoilt(self, kind: Kind, size: float, values: npt.NDArray[np.float32], j: int, rng: np.random.Generator) -> Floats:
        if kind == "missing":
            return np.full(len(values), np.nan)
        if kind == "noise":
            return values + rng.normal(0, size * self._scale[j], len(values))
        if kind == "unknown_category":
            beyond = float(len(self._features[j].categories or ()))
        else:
            low, high = self._ends[j]
            width = (high - low) or 1.0
            beyond = float(np.clip(low - width if kind == "below_range" else high + width, -_EXTREME, _EXTREME))
        return np.where(np.isnan(values), np.nan, beyond)
