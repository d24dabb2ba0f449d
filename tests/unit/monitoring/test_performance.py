import numpy as np
import pytest
from sklearn import metrics

from cluster.schema import Label
from monitoring import performance

RNG = np.random.default_rng(5)


def test_binary_metrics_equal_those_of_scikit_learn():
    label = Label(name="late", classes=(0, 1))
    scores = RNG.uniform(0.01, 0.99, (500, 1)).round(2).astype(np.float32)  # rounded: many ties
    y = (RNG.random(500) < scores[:, 0]).astype(np.float64)
    found = performance.measure(label, scores, y)
    p = scores[:, 0].astype(np.float64)
    assert found["roc_auc"] == pytest.approx(metrics.roc_auc_score(y, p))
    assert found["log_loss"] == pytest.approx(metrics.log_loss(y, p))
    assert found["brier"] == pytest.approx(metrics.brier_score_loss(y, p))
    assert found["accuracy"] == pytest.approx(metrics.accuracy_score(y, p >= 0.5))


def test_multiclass_metrics_equal_those_of_scikit_learn():
    label = Label(name="letter", task="multiclass", classes=("a", "b", "c"))
    scores = RNG.dirichlet([1, 2, 3], 300).astype(np.float32)
    y = RNG.integers(0, 3, 300).astype(np.float64)
    exact = scores.astype(np.float64)
    found = performance.measure(label, scores, y)
    assert found["log_loss"] == pytest.approx(metrics.log_loss(y, exact / exact.sum(axis=1, keepdims=True), labels=[0, 1, 2]), rel=1e-5)
    assert found["brier"] == pytest.approx(np.mean(((scores - np.eye(3)[y.astype(int)]) ** 2).sum(axis=1)), rel=1e-6)
    assert "roc_auc" not in found


def test_regression_is_told_by_its_root_mean_square_error_and_tested_on_a_log_scale():
    label = Label(name="price", task="regression")
    scores, y = np.array([[1.0], [4.0]], dtype=np.float32), np.array([2.0, 1.0])
    assert performance.measure(label, scores, y) == {"rmse": pytest.approx(np.sqrt(5.0))}
    assert performance.figure(label, performance.loss(label, scores, y)) == pytest.approx(np.log(5.0))


def test_one_class_only_has_no_ranking():
    label = Label(name="late", classes=(0, 1))
    assert "roc_auc" not in performance.measure(label, np.array([[0.2], [0.3]], dtype=np.float32), np.zeros(2))
