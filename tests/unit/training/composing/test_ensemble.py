from __future__ import annotations

import numpy as np
import pytest

from cluster.errors import NotEnoughData
from cluster.schema import Floats, Label, Matrix
from training.composing import ensemble
from training.composing.calibration import loss
from training.composing.graphs import apply_link

BINARY = Label(name="late", classes=(0, 1))
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
def test_the_blend_is_never_worse_than_its_best_member_on_the_rows_it_was_learned_from(seed):
    y, scores = binary_world(n=120, seed=seed)
    blend = ensemble.learn(BINARY, y, scores)
    assert blend.loss <= min(blend.member_losses.values()) + 1e-3  # a member of hardly any weight is left out
    assert blend.loss == pytest.approx(loss(BINARY, y, ensemble.mix(blend.weights, scores)))
    assert blend.member_losses == pytest.approx({name: loss(BINARY, y, p) for name, p in scores.items()})


def test_a_member_that_is_right_early_and_wrong_late_gets_little_weight():
    y, scores = binary_world(n=400)
    truth = np.where(y == 1, 0.95, 0.05)[:, None].astype(np.float32)
    good_early = np.where((np.arange(400) < 200)[:, None], truth, 1 - truth)
    assert ensemble.learn(BINARY, y, {"old": good_early, "a": scores["a"]}).weights["old"] < 0.1


def test_it_falls_back_to_the_best_member_when_learned_weights_do_not_hold_on_other_rows():
    """Twelve rows: a member of luck looks useful wherever weights are learned, and is not where they are tried."""
    found = [
        ensemble.learn(BINARY, *binary_world(n=12, seed=seed)) for seed in range(40) if len(np.unique(binary_world(n=12, seed=seed)[0])) > 1
    ]
    fallen = [blend for blend in found if blend.fell_back]
    assert 5 < len(fallen) < len(found)
    for blend in fallen:
        assert max(blend.weights.values()) == 1


def test_a_member_of_no_weight_need_not_be_scored():
    assert ensemble.mix({"a": 1.0, "b": 0.0}, {"a": np.array([[0.25]], np.float32)}).tolist() == [[0.25]]


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
