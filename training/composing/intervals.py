"""Prediction intervals for regression by split conformal prediction, wider where the model errs more.

Mondrian categories over the predicted value (Vovk, Lindsay, Nouretdinov & Gammerman 2003; Boström, Johansson & Löfström 2021),
computed by crepes: within each bin of predictions the half-width is the finite-sample quantile of held-out absolute
residuals. So at least `confidence` of rows like the held-out ones fall inside, in each bin and overall. Assumes that held-out rows
and those to come are exchangeable; drift breaks that, and coverage on labelled rows must be watched.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np

from cluster.intervals import Intervals
from cluster.schema import Floats, Matrix

MOST_BINS: Final = 10
_LEAST_BIN_ROWS: Final = 100
"""Of fewer rows a quantile near 1 would be their largest residual."""


def learn(y: Floats, scores: Matrix, *, confidence: float) -> Intervals | None:
    """Half-widths by bin of the predicted value; None when there are too few rows for the confidence.

    Parameters
    ----------
    y
        Held-out labels, float64 (n,), every one known.
    scores
        What would be answered for these rows, float32 (n, 1).
    confidence
        Share of rows that should fall inside, between 0 and 1.
    """
    from crepes import ConformalRegressor

    if (1 - confidence) * (len(y) + 1) < 1:
        return None
    predicted = scores[:, 0].astype(np.float64)
    bins = max(1, min(MOST_BINS, len(y) // max(_LEAST_BIN_ROWS, math.ceil(2 / (1 - confidence)))))
    edges = np.unique(np.quantile(predicted, np.linspace(0, 1, bins + 1)[1:-1]))
    category = np.searchsorted(edges, predicted, side="right")
    conformal = ConformalRegressor()
    conformal.fit(y - predicted, bins=category)
    found = conformal.predict_int(np.zeros(len(edges) + 1), bins=np.arange(len(edges) + 1), confidence=confidence)
    widths = [float(w) for w in found[:, 1]]
    inside = np.abs(y - predicted) <= np.array(widths)[category]
    return Intervals(
        confidence=confidence,
        method="split conformal, Mondrian by predicted value",
        edges=[float(e) for e in edges],
        half_widths=widths,
        rows=len(y),
        coverage=float(inside.mean()),
    )
