from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics as peer

from cluster.errors import DataError, NotEnoughData
from cluster.schema import Label
from training.composing.graphs import apply_link
from training.judging import evaluate

BINARY = Label(name="late", classes=(0, 1))
THREE = Label(name="kind", task="multiclass", classes=("a", "b", "c"))
NUMBER = Label(name="price", task="regression")


@pytest.fixture
def binary():
    rng = np.random.default_rng(0)
    p = rng.random((500, 1)).astype(np.float32)
    return (rng.random(500) < p[:, 0]).astype(np.float64), p


def test_binary_metrics_agree_with_scikit_learn(binary):
    y, p = binary
    found = evaluate.measure(BINARY, y, p)
    assert found["roc_auc"] == pytest.approx(peer.roc_auc_score(y, p[:, 0]))
    assert found["log_loss"] == pytest.approx(peer.log_loss(y, p[:, 0].astype(np.float64)))
    assert found["brier"] == pytest.approx(peer.brier_score_loss(y, p[:, 0]))
    assert found["accuracy"] == pytest.approx(((p[:, 0] >= 0.5) == y).mean())
    assert found["base_rate"] == pytest.approx(y.mean())


def test_multiclass_metrics_agree_with_scikit_learn():
    rng = np.random.default_rng(1)
    p = apply_link(THREE, rng.normal(size=(300, 3)))
    y = rng.integers(0, 3, 300).astype(np.float64)
    found = evaluate.measure(THREE, y, p)
    assert found["log_loss"] == pytest.approx(peer.log_loss(y, p), rel=1e-5)
    assert found["roc_auc_ovr"] == pytest.approx(peer.roc_auc_score(y, p, multi_class="ovr"))
    assert found["accuracy"] == pytest.approx(peer.accuracy_score(y, p.argmax(axis=1)))


def test_regression_metrics_agree_with_scikit_learn():
    rng = np.random.default_rng(2)
    y = rng.normal(size=100)
    p = (y + rng.normal(size=100))[:, None]
    found = evaluate.measure(NUMBER, y, p)
    assert found["rmse"] == pytest.approx(peer.root_mean_squared_error(y, p))
    assert found["mae"] == pytest.approx(peer.mean_absolute_error(y, p))
    assert found["r2"] == pytest.approx(peer.r2_score(y, p))


def test_calibration_error_is_the_known_gap():
    y = np.tile([1.0, 0.0, 0.0, 0.0], 300)
    assert evaluate.metric_value(BINARY, "ece", y, np.full((1200, 1), 0.35)) == pytest.approx(0.10, abs=0.01)


def test_bins_hold_equal_numbers_of_rows_and_rise(binary):
    bins = evaluate.reliability(BINARY, *binary, bins=5)
    assert [b.rows for b in bins] == [100] * 5
    assert [b.mean_score for b in bins] == sorted(b.mean_score for b in bins)
    assert evaluate.reliability(NUMBER, *binary) == []


def test_rows_without_a_label_are_dropped(binary):
    y, p = binary
    padded = evaluate.measure(BINARY, np.append(y, np.nan), np.vstack([p, [[0.1]]]))
    assert padded == evaluate.measure(BINARY, y, p)


def test_no_labels_at_all_is_not_enough():
    with pytest.raises(NotEnoughData, match="none of 2 rows has a label"):
        evaluate.measure(BINARY, np.array([np.nan, np.nan]), np.zeros((2, 1)))


def test_an_unknown_metric_names_those_allowed(binary):
    with pytest.raises(DataError, match="task binary has no metric 'rmse'; allowed: roc_auc, log_loss, brier, ece, accuracy, base_rate"):
        evaluate.metric_value(BINARY, "rmse", *binary)


def test_a_missing_class_is_not_enough_to_rank_but_the_rest_is_measured():
    y, p = np.ones(4), np.full((4, 1), 0.8)
    with pytest.raises(NotEnoughData, match="roc_auc needs rows of all 2 classes"):
        evaluate.metric_value(BINARY, "roc_auc", y, p)
    assert set(evaluate.measure(BINARY, y, p)) == {"log_loss", "brier", "ece", "accuracy", "base_rate"}


def test_every_metric_has_a_direction():
    names = {name for task in ("binary", "multiclass", "regression") for name in evaluate._METRICS[task]}
    assert names - {"base_rate"} == set(evaluate.HIGHER_IS_BETTER)
