import datetime as dt

import msgspec
import numpy as np
import pytest

from cluster.errors import NotEnoughData
from monitoring import profile as profiles
from monitoring.profile import build_profile
from tests.unit.monitoring.world import SCHEMA, Stream, profile_of

STREAM = Stream(np.random.default_rng(1), 40)


def test_a_profile_survives_json():
    built = profile_of(STREAM, 40)
    assert profiles.read(msgspec.json.encode(built)) == built


def test_a_profile_says_what_the_reference_looked_like():
    built = profile_of(STREAM, 40)
    assert built.window_s == 86400
    assert [c.name for c in built.columns] == ["miles", "wind", "carrier", "score"]
    assert built.means[0] == pytest.approx(STREAM.X[:, 0].mean(), abs=1e-3)
    np.testing.assert_allclose(built.shares[2], np.bincount(STREAM.X[:, 2].astype(int), minlength=4) / len(STREAM.X))
    assert {m.key for m in built.metrics} == {
        "feature_drift:miles",
        "feature_drift:wind",
        "feature_drift:carrier",
        "prediction_drift:score",
        "quality:miles.missing",
        "quality:miles.outside",
        "quality:wind.missing",
        "quality:carrier.missing",
        "quality:carrier.unknown",
        "performance:brier",
    }
    assert {m.baseline.blocks for m in built.metrics} == {40}
    assert set(built.performance) == {"roc_auc", "log_loss", "brier", "accuracy"}


def test_days_that_differ_by_themselves_widen_what_is_normal():
    calm = profile_of(Stream(np.random.default_rng(2), 40, wander=0.0), 40)
    lively = profile_of(Stream(np.random.default_rng(2), 40, wander=0.5), 40)
    between = [sum(next(m for m in p.metrics if m.name == "miles").between) for p in (calm, lively)]
    assert between[1] > 20 * between[0]


def test_rows_the_model_was_trained_on_can_be_left_out_of_predictions_and_performance():
    scores, y = STREAM.scores.copy(), STREAM.y.copy()
    trained = STREAM.day < 20
    scores[trained], y[trained] = np.nan, np.nan
    built = build_profile(SCHEMA, STREAM.X, scores, STREAM.times, y, window=dt.timedelta(days=1))
    blocks = {m.key: m.baseline.blocks for m in built.metrics}
    assert blocks["feature_drift:miles"] == 40
    assert blocks["prediction_drift:score"] == blocks["performance:brier"] == 20


def test_a_reference_whose_answers_all_come_from_rows_the_model_knows_says_nothing_of_predictions():
    scores, y = np.full_like(STREAM.scores, np.nan), np.full_like(STREAM.y, np.nan)
    built = build_profile(SCHEMA, STREAM.X, scores, STREAM.times, y, window=dt.timedelta(days=1))
    assert {aspect.key.partition(":")[0] for aspect in built.usual.aspects} == {"feature_drift", "quality"}


def test_without_times_the_reference_is_cut_into_equal_blocks():
    built = build_profile(SCHEMA, STREAM.X, STREAM.scores, None, STREAM.y, window=dt.timedelta(days=1))
    assert built.window_s == 0
    assert {m.baseline.blocks for m in built.metrics} == {40}


def test_a_few_values_get_a_bin_each_and_what_was_never_seen_its_own():
    matrix = STREAM.X.copy()
    matrix[:, 1] = np.arange(len(matrix)) % 3
    built = build_profile(SCHEMA, matrix, STREAM.scores, STREAM.times, STREAM.y, window=dt.timedelta(days=1))
    assert built.columns[1].edges[:3] == [0.0, 1.0, 2.0]
    assert built.shares[1][0] == built.shares[1][-1] == 0.0
    assert np.isclose(built.shares[1][1:4], 1 / 3, atol=1e-3).all()


def test_a_value_that_many_rows_have_gets_a_bin_and_a_score_of_its_own():
    matrix = STREAM.X.copy()
    matrix[: int(0.9 * len(matrix)), 1] = 0.0
    matrix[int(0.9 * len(matrix)) :, 1] = np.linspace(10, 500, len(matrix) - int(0.9 * len(matrix)))
    built = build_profile(SCHEMA, matrix, STREAM.scores, None, STREAM.y, window=dt.timedelta(days=1))
    column = built.columns[1]
    assert column.edges[:2] == [0.0, pytest.approx(0.01)]
    assert built.shares[1][1] == pytest.approx(0.9, abs=0.01)
    assert column.scores[1] - column.scores[0] > 1.0


def test_a_profile_knows_how_many_decimals_were_enough_and_expects_no_more():
    matrix = STREAM.X.copy()
    matrix[:, 1] = np.round(matrix[:, 1], 1)
    built = build_profile(SCHEMA, matrix, STREAM.scores, STREAM.times, STREAM.y, window=dt.timedelta(days=1))
    assert [column.decimals for column in built.columns] == [None, 1, None, None]
    assert "quality:wind.precision" in {metric.key for metric in built.metrics}


def test_a_fault_is_bounded_as_well_where_a_source_failed_on_some_days_of_the_reference():
    matrix = STREAM.X.copy()
    matrix[STREAM.rows(5), 1] = np.nan
    built = build_profile(SCHEMA, matrix, STREAM.scores, STREAM.times, STREAM.y, window=dt.timedelta(days=1))
    bounds = {key: [a.most for a in built.usual.aspects if a.key == key] for key in ("quality:wind.missing", "quality:miles.missing")}
    assert bounds["quality:miles.missing"] == [None]
    none, bound = bounds["quality:wind.missing"]
    assert none is None
    assert bound is not None
    assert 0.1 < bound < 0.6


def test_an_empty_column_and_a_constant_one_do_no_harm():
    matrix = STREAM.X.copy()
    matrix[:, 0], matrix[:, 1] = np.nan, 5.0
    built = build_profile(SCHEMA, matrix, STREAM.scores, STREAM.times, STREAM.y, window=dt.timedelta(days=1))
    assert built.means[0] is None
    assert "feature_drift:miles" not in {m.key for m in built.metrics}
    assert all(np.isfinite([m.baseline.center, m.baseline.scale]).all() for m in built.metrics)


def test_a_reference_that_is_too_short_is_refused_with_what_is_needed():
    with pytest.raises(NotEnoughData, match=r"has 100 rows; .* at least 8 blocks of 30 rows"):
        build_profile(SCHEMA, STREAM.X[:100], STREAM.scores[:100], STREAM.times[:100], STREAM.y[:100], window=dt.timedelta(days=1))
