"""Tests and distances of two samples, from their counts or gaps; p-values as -log10, so that none is too small to be held. Pure."""

from __future__ import annotations

from typing import Final

import numpy as np
from scipy import special

from cluster.schema import Floats

_LEAST_SHARE: Final = 1e-4  # of a cell, in the index
_FAR: Final = 3.0  # from here on the first term of Kolmogorov's series is all of it


def kolmogorov_evidence(gap: float, worth: float) -> float:
    """-log10 of the two-sided p-value of a gap between two samples worth `worth` rows, m n / (m + n) (Stephens 1970)."""
    x = (np.sqrt(worth) + 0.12 + 0.11 / np.sqrt(worth)) * gap
    if x > _FAR:  # p-values that no float64 holds keep their order
        return float((2 * x**2 - np.log(2)) / np.log(10))
    return float(-np.log10(special.kolmogorov(x)))


def chi_square_evidence(then: Floats, now: Floats) -> float:
    """-log10 of the p-value of Pearson's test that two rows of counts, none of them empty in both, come from the same shares."""
    if len(then) < 2:
        return 0.0
    table = np.array([then, now])
    expected = table.sum(axis=1, keepdims=True) * table.sum(axis=0) / table.sum()
    off = np.abs(table - expected)
    off -= np.minimum(0.5, off) if len(then) == 2 else 0.0  # Yates, as scipy has it
    half, shape = float((off**2 / expected).sum()) / 2, (len(then) - 1) / 2
    p = float(special.gammaincc(shape, half))
    log = np.log(p) if p > 1e-290 else (shape - 1) * np.log(half) - half - float(special.gammaln(shape))
    return float(-log / np.log(10))


def stability_index(then: Floats, now: Floats) -> float:
    """Population stability index of two rows of shares."""
    p, q = np.maximum(then, _LEAST_SHARE), np.maximum(now, _LEAST_SHARE)
    return float(((q - p) * np.log(q / p)).sum())


def jensen_shannon(then: Floats, now: Floats) -> float:
    """The square root of the Jensen-Shannon divergence in nats."""
    middle = (then + now) / 2
    return float(np.sqrt(max(float((special.rel_entr(then, middle) + special.rel_entr(now, middle)).sum()) / 2, 0.0)))
