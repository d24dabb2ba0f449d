"""Contributions beside those of the shap package, whose import takes seconds."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from cluster.schema import Task
from tests.unit.training.explaining.test_attributions import booster_of
from tests.unit.training.tables import rows_of
from training.composing import trees
from training.explaining.attributions import contributions

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # its own colour maps are made in a way that matplotlib will drop
    import shap


@pytest.mark.parametrize("task", ["binary", "multiclass", "regression"])
def test_contributions_equal_those_of_the_shap_package(task: Task) -> None:
    native, matrix = booster_of(task), rows_of(task, 40, seed=1).X
    found = contributions(native, matrix)
    expected = np.asarray(shap.TreeExplainer(trees.load(native)).shap_values(matrix))
    assert found.shape == expected.shape
    assert found.dtype == np.float32
    assert np.abs(found - expected).max() < 1e-4
