"""What rows would cost elsewhere, held against streams in which it is known."""

from __future__ import annotations

import datetime as dt

import msgspec
import numpy as np
import pytest

from cluster.schema import Floats, Matrix
from monitoring import losses
from monitoring.losses import Losses
from monitoring.profile import Profile, build_profile
from monitoring.sketches import Sketcher, Summary
from tests.unit.monitoring.world import DAY, SCHEMA

LABEL = SCHEMA.label
DAYS, ROWS = 20, 100


def rows(rng: np.random.Generator, n: int, *, shift: float = 0.0, missing: float = 0.0) -> tuple[Matrix, Matrix, Floats]:
    """Encoded rows, their scores and their labels: the further `miles`, the surer and the better the answers."""
    X = np.column_stack([rng.normal(shift, 1, n), rng.normal(size=n), rng.integers(0, 4, n)]).astype(np.float32)
    chance = 1 / (1 + np.exp(-2 * X[:, 0]))
    X[rng.random(n) < missing, 0] = np.nan
    scores = np.where(np.isnan(X[:, 0]), 0.5, chance)[:, None].astype(np.float32)
    return X, scores, (rng.random(n) < chance).astype(np.float64)


def reference(rng: np.random.Generator, *, missing: float = 0.0) -> tuple[Profile, Losses]:
    X, scores, y = rows(rng, DAYS * ROWS, missing=missing)
    times = (np.repeat(np.arange(DAYS), ROWS) * DAY + 1.0).astype(np.float64)
    profile = build_profile(SCHEMA, X, scores, times, y, window=dt.timedelta(days=1))
    found = losses.learn(profile, LABEL, X, scores, y)
    assert found is not None
    return profile, msgspec.json.decode(msgspec.json.encode(found), type=Losses)


def summary_of(profile: Profile, encoded: Matrix, scores: Matrix) -> tuple[Sketcher, Summary]:
    sketcher = Sketcher(profile.columns)
    return sketcher, sketcher.summarise(np.column_stack([encoded, scores]))


def brier(scores: Matrix, y: Floats) -> float:
    return float(np.mean((scores[:, 0] - y) ** 2))


def test_where_one_column_alone_has_moved_the_interval_holds_the_true_change() -> None:
    rng, held, width = np.random.default_rng(1), 0, list[float]()
    _, scores, y = rows(rng, 400_000, shift=0.8)
    _, before, truth = rows(rng, 400_000)
    true = brier(scores, y) - brier(before, truth)
    assert true < -0.02
    for _ in range(25):
        profile, learned = reference(rng)
        X, scores, _ = rows(rng, 400, shift=0.8)
        found = losses.weigh(LABEL, learned, *summary_of(profile, X, scores), 0).change
        assert found is not None
        held += found.lower <= true <= found.upper
        width.append(found.upper - found.lower)
    assert held >= 21
    assert np.mean(width) < 0.08


def test_a_window_like_the_reference_costs_what_the_reference_cost() -> None:
    rng = np.random.default_rng(2)
    profile, learned = reference(rng)
    X, scores, _ = rows(rng, 1000)
    for column in range(3):
        found = losses.weigh(LABEL, learned, *summary_of(profile, X, scores), column).change
        assert found is not None
        assert found.lower < 0 < found.upper
        assert abs(found.estimate) < 0.01


def test_values_that_are_missing_now_cost_what_missing_ones_cost_then() -> None:
    rng = np.random.default_rng(3)
    profile, learned = reference(rng, missing=0.05)
    X, scores, _ = rows(rng, 1000, missing=0.4)
    found = losses.weigh(LABEL, learned, *summary_of(profile, X, scores), 0).change
    assert found is not None
    missing = learned.columns[0].means[-2]
    assert missing > learned.mean
    assert found.estimate == pytest.approx(0.35 * (missing - learned.mean) / 0.95, rel=0.25)


def test_rows_where_the_reference_had_hardly_any_may_lose_anything_and_many_of_them_say_nothing() -> None:
    rng = np.random.default_rng(4)
    profile, learned = reference(rng)
    X, scores, _ = rows(rng, 1000)
    X[:100, 0] = 40.0
    some = losses.weigh(LABEL, learned, *summary_of(profile, X, scores), 0)
    assert some.outside == pytest.approx(0.1)
    assert some.change is not None
    assert some.change.upper > 0.1 * (1 - learned.mean)
    assert some.change.lower <= -0.1 * learned.mean
    X[:300, 0] = 40.0
    assert losses.weigh(LABEL, learned, *summary_of(profile, X, scores), 0).change is None


def test_without_labels_nothing_is_learned_and_rows_without_one_do_not_count() -> None:
    rng = np.random.default_rng(5)
    X, scores, y = rows(rng, DAYS * ROWS)
    profile = build_profile(SCHEMA, X, scores, None, y, window=dt.timedelta(days=1))
    assert losses.learn(profile, LABEL, X, scores, np.full(len(y), np.nan)) is None
    y[::2] = np.nan
    found = losses.learn(profile, LABEL, X, scores, y)
    assert found is not None
    assert found.rows == len(y) // 2
    assert [sum(column.rows) for column in found.columns] == [len(y) // 2] * len(profile.columns)
    assert found.mean == pytest.approx(brier(scores[1::2], y[1::2]), rel=1e-6)
    assert found.spread >= 1.0


def test_a_feature_with_the_name_of_a_prediction_keeps_its_own_losses() -> None:
    schema = SCHEMA.model_copy(update={"features": (SCHEMA.features[0].model_copy(update={"name": "score"}), *SCHEMA.features[1:])})
    X, scores, y = rows(np.random.default_rng(3), DAYS * ROWS)
    times = (np.repeat(np.arange(DAYS), ROWS) * DAY + 1.0).astype(np.float64)
    profile = build_profile(schema, X, scores, times, y, window=dt.timedelta(days=1))
    found = losses.learn(profile, LABEL, X, scores, y)
    assert found is not None
    assert [len(one.rows) for one in found.columns] == [column.cells + 2 for column in profile.columns]
