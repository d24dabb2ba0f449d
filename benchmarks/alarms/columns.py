"""What the peers are given of a stream: how far each column of each window is from the reference, and one mean of each for ADWIN."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from benchmarks.alarms import distances
from benchmarks.alarms.streams import Rows, World
from cluster.schema import Feature, Floats, Matrix
from monitoring import performance


class Columns:
    """The columns of one reference."""

    def __init__(self, world: World, reference: Sequence[Rows]) -> None:
        self._label = world.schema.label
        whole = np.concatenate([rows[0] for rows in reference])
        self._columns = [_column(feature, whole[:, j]) for j, feature in enumerate(world.schema.features)]

    def far(self, windows: Sequence[Rows]) -> Floats:
        """Float64 (windows, features, 3): see `distances.FIGURES`."""
        return np.array([[column.far(rows[0][:, j]) for j, column in enumerate(self._columns)] for rows in windows])

    def means(self, windows: Sequence[Rows]) -> Floats:
        """Float64 (windows, features + 1): the last is the mean loss of the predictions."""
        return np.array([[column.mean(rows[0][:, j]) for j, column in enumerate(self._columns)] + [self._loss(rows)] for rows in windows])

    def far_in(self, j: int, windows: Sequence[Rows]) -> Floats:
        """Float64 (windows, 3), of one column."""
        return np.array([self._columns[j].far(rows[0][:, j]) for rows in windows])

    def means_in(self, j: int, windows: Sequence[Rows]) -> Floats:
        """Float64 (windows,), of one column; -1: of the loss."""
        return np.array([self._loss(rows) if j < 0 else self._columns[j].mean(rows[0][:, j]) for rows in windows])

    def _loss(self, rows: Rows) -> float:
        return float(performance.loss(self._label, rows[1], rows[2]).mean())


def _column(feature: Feature, values: Matrix) -> distances.Column:
    return distances.Number(values) if feature.categories is None else distances.Category(values, known=len(feature.categories))
