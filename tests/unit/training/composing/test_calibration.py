from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.isotonic import IsotonicRegression

from cluster.schema import Floats, Label, Matrix
from training.composing import calibration
from training.composing.calibration import Calibration, Kind, platt
from training.composing.graphs import apply_link

BINARY = Label(name="late", classes=(0, 1))
THREE = Label(name="kind", task="multiclass", classes=("a", "b", "c"))
NUMBER = Label(name="price", task="regression")


def world(n: int, *, slope: float = 1.0, shift: float = 0.0, seed: int = 1) -> tuple[Floats, Matrix]:
    """Labels of a known law, and scores that say it wrongly."""
    rng = np.random.default_rng(seed)
    z = rng.normal(size=n)
    y = (rng.random(n) < 1 / (1 + np.exp(-z))).astype(np.float64)
    return y, apply_link(BINARY, (slope * z + shift)[:, None])


def test_platt_recovers_the_slope_and_shift_that_were_applied():
    found = calibration.fit("platt", BINARY, *world(40_000, slope=2, shift=1))
    assert found.a == pytest.approx(0.5, abs=0.02)
    assert found.b == found.a
    assert found.c == pytest.approx(-0.5, abs=0.03)


def test_beta_recovers_a_law_that_platt_cannot_say():
    rng = np.random.default_rng(2)
    given = rng.uniform(0.02, 0.98, 60_000)
    y = (rng.random(given.size) < calibration.adjust(BINARY, Calibration(kind="beta", a=0.4, b=1.6, c=0.2), given[:, None])[:, 0]).astype(
        float
    )
    found = calibration.fit("beta", BINARY, y, given[:, None])
    assert (found.a, found.b, found.c) == pytest.approx((0.4, 1.6, 0.2), abs=0.1)
    assert calibration.choose(BINARY, y, given[:, None], kinds=("none", "platt", "beta")).calibration.kind == "beta"


def test_the_temperature_of_many_classes_is_recovered():
    rng = np.random.default_rng(2)
    z = rng.normal(size=(20_000, 3))
    p = apply_link(THREE, z).astype(np.float64)
    y = (rng.random(len(z))[:, None] > p.cumsum(axis=1)).sum(axis=1).clip(0, 2).astype(np.float64)
    assert calibration.fit("temperature", THREE, y, apply_link(THREE, 3 * z)).a == pytest.approx(1 / 3, abs=0.02)
    shifted = apply_link(THREE, z + np.array([0.0, 1.0, -1.0]))
    chosen = calibration.choose(THREE, y, shifted)
    assert chosen.calibration.kind == "vector"
    assert np.diff(chosen.calibration.shifts) == pytest.approx([-1, 2], abs=0.1)


def test_scores_that_are_right_are_left_alone_or_hardly_moved():
    y, p = world(20_000)
    chosen = calibration.choose(BINARY, y, p)
    moved = np.abs(calibration.adjust(BINARY, chosen.calibration, p) - p)
    assert moved.mean() < 0.01
    assert set(chosen.losses) == {"none", "platt", "beta", "isotonic"}


def test_a_stepwise_law_is_given_to_isotonic():
    rng = np.random.default_rng(3)
    given = rng.random(8000)
    truth = np.select([given < 0.3, given < 0.6, given < 0.61], [0.1, 0.5, 0.52], 0.55)
    y = (rng.random(8000) < truth).astype(np.float64)
    assert calibration.choose(BINARY, y, given[:, None]).calibration.kind == "isotonic"


def test_isotonic_follows_scikit_learns_and_never_ties_two_scores():
    y, p = world(3000, slope=3, shift=-1)
    ours = calibration.adjust(BINARY, calibration.fit("isotonic", BINARY, y, p), p)[:, 0]
    theirs = IsotonicRegression(out_of_bounds="clip").fit(p[:, 0], y).predict(p[:, 0])
    assert np.abs(ours - theirs).mean() < 0.02
    inside = np.sort(p[:, 0])[50:-50].astype(np.float64)
    values = calibration.adjust(BINARY, calibration.fit("isotonic", BINARY, y, p), inside[:, None])[:, 0]
    assert (np.diff(values)[np.diff(inside) > 1e-6] > 0).mean() > 0.99
    assert values.min() > 0
    assert values.max() < 1


def test_few_rows_are_not_asked_to_carry_many_parameters():
    y, p = world(150)
    assert set(calibration.choose(BINARY, y, p).losses) == {"none", "platt"}


def test_numbers_are_not_calibrated():
    chosen = calibration.choose(NUMBER, np.zeros(5), np.zeros((5, 1)))
    assert chosen.calibration.is_identity
    assert chosen.losses == {}


@given(st.sampled_from(["platt", "beta", "isotonic"]), st.integers(0, 30))
def test_every_kind_keeps_the_order_of_scores(kind: Kind, seed: int):
    y, p = world(400, slope=1.5, seed=seed)
    grid = np.linspace(0, 1, 101)[:, None]
    assert (np.diff(calibration.adjust(BINARY, calibration.fit(kind, BINARY, y, p), grid)[:, 0]) >= 0).all()


def test_a_certain_score_stays_finite():
    adjusted = calibration.adjust(BINARY, platt(2.0, 0.5), np.array([[0.0], [1.0]]))
    assert np.isfinite(adjusted).all()
    assert adjusted[0, 0] < 1e-9
