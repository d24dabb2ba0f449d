"""Partial dependence: the mean score as one feature moves over a grid and all else stays, and how rows differ in it. Pure.

It averages over rows that may not exist (a winter's snow in July), as every such curve does.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from cluster.records import Record
from cluster.schema import Feature, FeatureSchema, Floats, Label, Matrix
from training.explaining.attributions import Scorer
from training.judging.conditions import UNKNOWN

_POINTS: Final = 12
_BAND: Final = (0.1, 0.9)


class Curve(Record, frozen=True, kw_only=True):
    """One output along the grid."""

    output: str
    """The class; for regression the label's name."""
    mean: list[float]
    """Partial dependence (Friedman 2001, equation 53)."""
    lower: list[float]
    """10 % quantile of the rows' own curves (Goldstein et al. 2015), each moved to the common mean height: where it differs
    from the mean, rows react differently."""
    upper: list[float]
    """90 % quantile of the same."""


class Dependence(Record, frozen=True, kw_only=True):
    """How the scores depend on one feature."""

    feature: str
    numbers: list[float] | None
    """The grid of a number: quantiles of its known values."""
    categories: list[str] | None
    """The grid of a category: its commonest values, in order of their mean label."""
    curves: list[Curve]


def depend(schema: FeatureSchema, scorer: Scorer, matrix: Matrix, features: Sequence[str]) -> list[Dependence]:
    """Partial dependence of the scores on each feature, over the rows of `matrix` (float32, (n, features)).

    A feature that is missing in all rows is left out.
    """
    names = outputs(schema.label)
    made = []
    for name in features:
        j = schema.names.index(name)
        grid = _grid(schema.features[j], matrix[:, j])
        if not len(grid):
            continue
        moved = np.repeat(matrix, len(grid), axis=0)
        moved[:, j] = np.tile(grid, len(matrix))
        scores = scorer(moved).astype(np.float64).reshape(len(matrix), len(grid), -1)
        made.append(_dependence(schema.features[j], grid, [_curve(output, scores[:, :, k]) for k, output in enumerate(names)]))
    return made


def outputs(label: Label) -> list[str]:
    """What each column of the scores is called: the positive class, each class, or the label."""
    classes = [str(c) for c in label.classes or ()]
    return [label.name] if label.task == "regression" else classes[1:] if label.task == "binary" else classes


def _curve(output: str, rows: Floats) -> Curve:
    """From the rows' own curves, float64 of shape (n, points)."""
    level = rows - rows.mean(axis=1, keepdims=True) + rows.mean()
    lower, upper = np.quantile(level, _BAND, axis=0)
    return Curve(output=output, mean=rows.mean(axis=0).tolist(), lower=lower.tolist(), upper=upper.tolist())


def _grid(feature: Feature, values: Matrix) -> Matrix:
    known = values[~np.isnan(values)]
    if feature.categories is None:
        return np.unique(np.quantile(known, np.linspace(0.02, 0.98, _POINTS), method="nearest")) if len(known) else known
    codes, counts = np.unique(known, return_counts=True)
    return np.sort(codes[np.argsort(-counts, kind="stable")[:_POINTS]])


def _dependence(feature: Feature, grid: Matrix, curves: list[Curve]) -> Dependence:
    if feature.categories is None:
        return Dependence(feature=feature.name, numbers=[float(v) for v in grid], categories=None, curves=curves)
    names = [*feature.categories, UNKNOWN]
    return Dependence(feature=feature.name, numbers=None, categories=[names[int(code)] for code in grid], curves=curves)
