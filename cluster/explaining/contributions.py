"""Exact Shapley contributions of boosted trees (TreeSHAP), as XGBoost computes them. Pure, but for reading a booster.

XGBoost is imported by those who ask: it costs two seconds and 140 MB.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from cluster.errors import BundleError
from cluster.schema import Matrix

if TYPE_CHECKING:
    import xgboost


class Contributions(NamedTuple):
    """What features add to the margin: the log odds, one figure a class before the softmax, or the number."""

    base: Matrix
    """The margin expected over the rows the trees were fitted on, float32 of shape (n, width)."""
    values: Matrix
    """float32 of shape (n, features, width); with the base they add up to the row's margin."""


def read_booster(path: Path) -> xgboost.Booster:
    """A booster from a UBJ file; it uses one thread.

    Raises
    ------
    BundleError
        When XGBoost cannot read it.
    """
    import xgboost

    booster = xgboost.Booster({"nthread": 1})
    try:
        booster.load_model(str(path))
    except xgboost.core.XGBoostError as error:
        raise BundleError(f"'{path}' is not a model that XGBoost can read: {error}") from error
    return booster


def contributions(booster: xgboost.Booster, matrix: Matrix, *, threads: int = 1) -> Contributions:
    """Exact Shapley contributions of every feature of every row to the margin.

    TreeSHAP of Lundberg, Erion & Lee 2018 (arXiv 1802.03888) in its path-dependent form: what a feature's absence means is
    read off the training rows in the trees' nodes, so correlated features share what each has.

    Parameters
    ----------
    matrix
        Encoded rows, float32 of shape (n, features).
    """
    import xgboost

    booster.set_param({"nthread": threads})
    found = np.asarray(booster.predict(xgboost.DMatrix(matrix, nthread=threads), pred_contribs=True), dtype=np.float32)
    if found.ndim == 2:
        found = found[:, None, :]
    return Contributions(found[:, :, -1], np.ascontiguousarray(found[:, :, :-1].transpose(0, 2, 1)))
