"""How much answers move when nearly nothing does: from one bundle to the next, and when a row is changed a little. Pure.

Works on a sample of a window's rows and on whatever scores them; knows no bundle. `training.judging.stability` asks more of a model,
once, before it is sealed; this is what can be asked of live rows after every window.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from cluster.margin import disagree
from cluster.schema import Feature, FeatureSchema, Label, Matrix, Scalar
from monitoring.agreement import Audits
from monitoring.conditions import show
from monitoring.edge_cases import Scorer
from monitoring.sketches import Column

NOISE: Final = 0.1
"""Standard deviations that a number is moved by, up or down."""


class Sensitivity(NamedTuple):
    """What small changes of single features do to scores."""

    rows: int
    change: float
    """Mean over rows of the largest change that a small change of any one number makes to a row's scores; 0 without numbers."""
    decided_otherwise: Audits
    """Rows that such a change of a number decides otherwise; for regression none."""
    worst: str
    """The feature that, changed alone (a number a little, a category to another), changes scores most."""
    worst_change: float
    """By how much, mean over rows."""


def sensitivity(schema: FeatureSchema, columns: list[Column], rows: Matrix, scorer: Scorer, *, rng: np.random.Generator) -> Sensitivity:
    """Change one feature at a time, and nothing else.

    A number moves by a tenth of the reference's standard deviation, up or down by chance, and stays within its range; a category becomes
    another known one, by chance. What is missing stays missing.

    Parameters
    ----------
    schema
        Frozen.
    columns
        The profile's, features first: the standard deviations.
    rows
        Encoded, float32 of shape (n, features), n above 0.
    """
    scores = scorer(rows)
    moved, flipped = np.zeros(len(rows)), np.zeros(len(rows), dtype=np.bool_)
    worst, worst_change = schema.names[0], -1.0
    for j, feature in enumerate(schema.features):
        after = scorer(_nudged(feature, columns[j].scale, rows, j, rng))
        change = np.abs(after.astype(np.float64) - scores).max(axis=1)
        if feature.type == "number":
            moved = np.maximum(moved, change)
            flipped |= _decided_otherwise(schema.label, scores, after)
        if float(change.mean()) > worst_change:
            worst, worst_change = feature.name, float(change.mean())
    return Sensitivity(len(rows), float(moved.mean()), Audits(rows=len(rows), differ=int(flipped.sum())), worst, worst_change)


def flips(label: Label, one: Matrix, other: Matrix, *, tolerance: float = 0.0) -> Audits:
    """On how many rows two bundles decide differently; for regression, are further apart than `tolerance`."""
    return Audits(rows=len(one), differ=int(disagree(label, one, other, tolerance=tolerance).sum()))


def columns_of(schema: FeatureSchema, rows: Matrix) -> dict[str, list[Scalar]]:
    """Encoded rows as columns that another bundle can encode. An unknown category is unknown to the other as well."""
    shown = [show(schema, row) for row in rows]
    return {name: [row[name] for row in shown] for name in schema.names}


def _nudged(feature: Feature, scale: float, rows: Matrix, j: int, rng: np.random.Generator) -> Matrix:
    result = rows.copy()
    values = rows[:, j]
    if feature.categories is None:
        moved = values + np.where(rng.random(len(values)) < 0.5, -1, 1) * NOISE * scale
        low, high = feature.range or (-np.inf, np.inf)
        result[:, j] = np.clip(moved, np.minimum(values, low), np.maximum(values, high))
    elif len(feature.categories) > 1:
        known = ~np.isnan(values)
        result[known, j] = _another(values[known], len(feature.categories), rng)
    return result


def _another(codes: npt.NDArray[np.float32], count: int, rng: np.random.Generator) -> npt.NDArray[np.float32]:
    ahead = rng.integers(1, count, len(codes))
    return np.where(codes >= count, ahead - 1, (codes + ahead) % count).astype(np.float32)


def _decided_otherwise(label: Label, before: Matrix, after: Matrix) -> npt.NDArray[np.bool_]:
    return np.zeros(len(before), dtype=np.bool_) if label.task == "regression" else disagree(label, before, after)
