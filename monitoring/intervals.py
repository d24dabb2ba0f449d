"""Intervals of shares and means, and of their differences and ratios. Pure, vectorised.

All assume that rows are independent. Rows that share a day or a person are not: then these intervals are too narrow.
`z` is the normal quantile of the wanted two-sided confidence, see `quantile`.
"""

from __future__ import annotations

import numpy as np
from scipy import stats

from cluster.schema import Floats


def quantile(confidence: float) -> float:
    """The normal quantile of a two-sided interval.

    >>> round(quantile(0.95), 4)
    1.96
    """
    return float(stats.norm.ppf((1 + confidence) / 2))


def wilson(hits: Floats, rows: Floats, *, z: float) -> tuple[Floats, Floats]:
    """Score interval of a share (Wilson 1927, JASA 22:209-212); `rows` must be above 0.

    Assumes a binomial count. Its mean coverage is close to nominal also for small counts and shares near 0 and 1 (Brown, Cai & DasGupta 2001).

    >>> [round(float(bound), 4) for bound in wilson(np.array(0.0), np.array(10.0), z=1.96)]
    [0.0, 0.2775]
    """
    share = hits / rows
    centre = (share + z**2 / (2 * rows)) / (1 + z**2 / rows)
    half = z / (1 + z**2 / rows) * np.sqrt(share * (1 - share) / rows + z**2 / (4 * rows**2))
    return np.clip(np.minimum(centre - half, share), 0, 1), np.clip(np.maximum(centre + half, share), 0, 1)


def difference(hits: Floats, rows: Floats, other_hits: Floats, other_rows: Floats, *, z: float) -> tuple[Floats, Floats]:
    """Bounds of one share minus another, independent of it (Newcombe 1998, Statistics in Medicine 17:873-890, method 10)."""
    p, q = hits / rows, other_hits / other_rows
    (low, high), (other_low, other_high) = wilson(hits, rows, z=z), wilson(other_hits, other_rows, z=z)
    gap = p - q
    return gap - np.hypot(p - low, other_high - q), gap + np.hypot(high - p, q - other_low)


def ratio(hits: Floats, rows: Floats, other_hits: Floats, other_rows: Floats, *, z: float) -> tuple[Floats, Floats]:
    """Bounds of one share over another, independent of it and above 0 (Donner & Zou 2012, Statistical Methods in Medical Research 21:347-359).

    MOVER-R on Wilson limits. The lower bound is written so that nothing cancels: b / (a + root) for (a - root) / c.
    """
    p, q = hits / rows, other_hits / other_rows
    (low, high), (other_low, other_high) = wilson(hits, rows, z=z), wilson(other_hits, other_rows, z=z)
    product = p * q
    below, above = low * (2 * p - low), high * (2 * p - high)
    under, over = other_low * (2 * q - other_low), other_high * (2 * q - other_high)
    root = np.sqrt(np.maximum(product**2 - below * over, 0))
    reach = np.sqrt(np.maximum(product**2 - above * under, 0))
    lower = np.divide(below, product + root, out=np.zeros_like(below), where=product + root > 0)
    return lower, (product + reach) / under


def mean_half_width(variance: Floats, rows: Floats, *, confidence: float) -> Floats:
    """Half the width of Student's interval of a mean; assumes a nearly normal mean. `variance` is the sample's, `rows` above 1."""
    return np.asarray(stats.t.ppf((1 + confidence) / 2, rows - 1) * np.sqrt(variance / rows))


def means_half_width(variance: Floats, rows: Floats, other_variance: Floats, other_rows: Floats, *, confidence: float) -> Floats:
    """Half the width of Welch's interval of the difference of two independent means (Welch 1947, Biometrika 34:28-35)."""
    a, b = variance / rows, other_variance / other_rows
    spread = a**2 / (rows - 1) + b**2 / (other_rows - 1)
    freedom = np.divide((a + b) ** 2, spread, out=np.full_like(spread, np.inf), where=spread > 0)
    return np.asarray(stats.t.ppf((1 + confidence) / 2, freedom) * np.sqrt(a + b))
