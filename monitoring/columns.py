"""How a profile bins, scores and rounds its columns, as the reference's values lie. Pure."""

from __future__ import annotations

from typing import Final, Literal

import numpy as np
import numpy.typing as npt
from scipy.special import ndtri

from cluster.schema import Feature, Label, Matrix
from monitoring.decimals import decimals_of
from monitoring.sketches import MOST_SCORE, Column

_BINS: Final = 16
_JUST: Final = 1e-3  # of the way to the next value


def feature_column(feature: Feature, values: Matrix) -> Column:
    """Of a frozen feature and its values on the reference, float32 (n,)."""
    if feature.categories is not None:
        return Column(name=feature.name, type="category", categories=list(feature.categories))
    return _number(feature.name, "feature", values, feature.range)


def score_columns(label: Label, outputs: Matrix) -> list[Column]:
    """Of `monitoring.sketches.prediction_columns` on the reference."""
    if label.task != "multiclass":
        return [_number("score", "prediction", outputs[:, 0], None)]
    classes = [str(c) for c in label.classes or ()]
    return [
        _number("top_score", "prediction", outputs[:, 0], None),
        Column(name="predicted_class", role="prediction", type="category", categories=classes),
    ]


def _number(name: str, role: Literal["feature", "prediction"], values: Matrix, span: tuple[float, float] | None) -> Column:
    present = values[~np.isnan(values)]
    if not len(present):
        return Column(name=name, role=role, type="number", edges=[0.0], range=span)
    edges = _edges(present)
    return Column(
        name=name,
        role=role,
        type="number",
        edges=[float(edge) for edge in edges],
        scores=_scores(present, edges) if len(edges) > 1 else [],
        range=span,
        decimals=decimals_of(present) if role == "feature" else None,
        center=float(present.mean(dtype=np.float64)),
        scale=float(present.std(dtype=np.float64)) or 1.0,
    )


def _scores(present: Matrix, edges: Matrix) -> list[float]:
    """The normal score of each edge: the quantile of the share of rows below it and half of those on it (van der Waerden 1952)."""
    below = np.searchsorted(np.sort(present), edges, side="left") + np.searchsorted(np.sort(present), edges, side="right")
    scores = ndtri(np.clip(below / 2 / len(present), 1e-9, 1 - 1e-9))
    return [float(score) for score in np.clip(scores, -MOST_SCORE, MOST_SCORE)]


def _edges(present: Matrix) -> Matrix:
    """Equal-share bins, or one a value where there are few values; the outermost edges are the reference's extremes."""
    low, top = present.min(), np.nextafter(present.max(), np.float32(np.inf))
    values, counts = np.unique(present, return_counts=True)
    if len(values) <= 2 * _BINS:
        return np.append(values, top).astype(np.float32)
    inner = np.quantile(present, np.arange(1, _BINS) / _BINS, method="lower")
    return np.unique(np.concatenate([[low], inner, _around_heaps(values, counts), [top]]).astype(np.float32))


def _around_heaps(values: Matrix, counts: npt.NDArray[np.intp]) -> Matrix:
    """A bin of its own for each value that fills one, such as a 0 that stands for nothing: from the value to just above it."""
    heaps = np.flatnonzero(counts[:-1] >= counts.sum() / _BINS)
    above = values[heaps] + np.float32(_JUST) * (values[heaps + 1] - values[heaps])
    return np.concatenate([values[heaps], np.maximum(above, np.nextafter(values[heaps], np.float32(np.inf)))])
