from __future__ import annotations

import numpy as np
import pytest

from cluster.errors import NotEnoughData
from cluster.schema import Floats, Label, Matrix
from training import ensemble
from training.ensemble import Calibration
from training.graphs import apply_link

BINARY = Label(name="late", classes=(0, 1))
THREE = Label(name="kind", task="multiclass", classes=("a", "b", "c"))
NUMBER = Label(name="price", task="regression")


def binary_world(n: int = 4000, seed: int = 0) -> tuple[Floats, dict[str, Matrix]]:
    """Two signals, each seen by one member, and a member that sees nothing."""
    rng = np.random.default_rng(seed)
    a, b = rng.normal(size=(2, n))
    y = (rng.random(n) < 1 / (1 + np.exp(-a - b))).astype(np.float64)
    scores = {"a": apply_link(BINARY, a[:, None]), "b": apply_link(BINARY, b[:, None])}
    return y, scores | {"noise": rng.random((n, 1)).astype(np.float32)}


def test_weights_are_on_the_simplex_and_noise_gets_none():
    y, scores = binary_world()
    blend = ensemble.learn(BINARY, y, scores)
    assert sum(blend.weights.values()) == pytest.approx(1)
    assert min(blend.weights.values()) >= 0
    assert blend.weights["noise"] == 0
    assert blend.weights["a"] == pytest.approx(0.5, abs=0.1)


@pytest.mark.parametrize("seed", range(8))
def test_the_ensemble_is_never_worse_than_its_best_member_on_the_slice(seed):
    y, scores = binary_world(n=120, seed=seed)
    blend = ensemble.learn(BINARY, y, scores)
    later = slice(60, 120)
    alone = [ensemble.loss(BINARY, y[later], p[later]) for p in scores.values()]
    assert blend.loss <= min(alone) + 1e-12
    assert blend.loss == pytest.approx(ensemble.loss(BINARY, y[later], ensemble.apply(BINARY, blend, scores)[later]), abs=1e-6)


def test_it_falls_back_to_the_best_member_when_the_later_rows_contradict_the_weights():
    y, scores = binary_world(n=400)
    truth = np.where(y == 1, 0.95, 0.05)[:, None].astype(np.float32)
    good_early = np.where((np.arange(400) < 200)[:, None], truth, 1 - truth)
    blend = ensemble.learn(BINARY, y, {"old": good_early, "a": scores["a"]})
    assert blend.fell_back
    assert blend.weights == {"old": 0.0, "a": 1.0}
    assert blend.learned_weights["old"] > 0.9


def test_calibration_recovers_the_slope_and_shift_that_were_applied():
    rng = np.random.default_rng(1)
    z = rng.normal(size=40_000)
    y = (rng.random(z.size) < 1 / (1 + np.exp(-z))).astype(np.float64)
    found = ensemble.calibrate(BINARY, y, apply_link(BINARY, (2 * z + 1)[:, None]))
    assert found.slope == pytest.approx(0.5, abs=0.02)
    assert found.intercept == pytest.approx(-0.5, abs=0.03)


def test_the_temperature_of_many_classes_is_recovered():
    rng = np.random.default_rng(2)
    z = rng.normal(size=(20_000, 3))
    p = apply_link(THREE, z).astype(np.float64)
    y = (rng.random(len(z))[:, None] > p.cumsum(axis=1)).sum(axis=1).clip(0, 2).astype(np.float64)
    assert ensemble.calibrate(THREE, y, apply_link(THREE, 3 * z)).slope == pytest.approx(1 / 3, abs=0.02)


def test_regression_weights_minimise_the_squared_error_and_nothing_is_calibrated():
    rng = np.random.default_rng(3)
    y = 1e4 + 100 * rng.normal(size=2000)
    scores = {name: (y + noise * rng.normal(size=2000))[:, None].astype(np.float32) for name, noise in (("sharp", 10), ("dull", 20))}
    blend = ensemble.learn(NUMBER, y, scores)
    assert blend.weights["sharp"] == pytest.approx(0.8, abs=0.03)  # inverse variances: 1/100 to 1/400
    assert blend.calibration.is_identity


def test_rows_without_a_label_do_not_count():
    y, scores = binary_world(n=500)
    gaps = np.concatenate([y, [np.nan] * 50])
    padded = {name: np.vstack([p, np.full((50, 1), np.nan, np.float32)]) for name, p in scores.items()}
    assert ensemble.learn(BINARY, gaps, padded) == ensemble.learn(BINARY, y, scores)


def test_one_class_only_is_not_enough():
    with pytest.raises(NotEnoughData, match=r"raise training\.validation_share"):
        ensemble.learn(BINARY, np.zeros(10), {"a": np.full((10, 1), 0.5, np.float32)})


def test_a_half_without_a_class_is_replaced_by_all_rows():
    y = np.array([0.0] * 8 + [1.0] * 2)
    assert ensemble.halves(BINARY, y) == (slice(0, 10), slice(0, 10))


def test_a_certain_score_stays_finite_when_calibrated():
    adjusted = ensemble.adjust(BINARY, Calibration(slope=2.0, intercept=0.5), np.array([[0.0], [1.0]]))
    assert np.isfinite(adjusted).all()
    assert adjusted[0, 0] < 1e-9
