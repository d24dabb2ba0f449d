from __future__ import annotations

import numpy as np
import pytest

from cluster.schema import Feature, Floats, Matrix
from training.members import Crew, Rows, inputs

FEATURES = (Feature(name="miles", type="number"), Feature(name="carrier", type="category", categories=("UA", "B6")))
X = np.array([[1, 0], [3, 1], [np.nan, 2], [2, np.nan]], dtype=np.float32)


def learn(matrix: Matrix, weight: Floats | None = None) -> inputs.Inputs:
    return inputs.learn(FEATURES, Rows(matrix, np.zeros(len(matrix)), weight), Crew())


def test_numbers_are_standardised_and_missing_ones_become_the_mean_and_are_flagged():
    read = learn(X)
    spread = np.sqrt(2 / 3)
    expected = [[-1 / spread, 0], [1 / spread, 0], [0, 1], [0, 0]]
    np.testing.assert_allclose(inputs.numeric(read, X), expected, rtol=1e-6)


def test_the_indicator_stays_silent_when_training_had_no_gaps():
    read = learn(X[:2])
    assert inputs.numeric(read, X)[2].tolist() == [0, 0]


def test_unknown_and_missing_categories_have_rows_of_their_own():
    read = learn(X)
    assert inputs.codes(read, X)[:, 0].tolist() == [0, 1, 2, 3]


def test_a_constant_column_is_scaled_to_zero_even_where_it_differs_later():
    constant = np.full((5, 2), 7.0, dtype=np.float32)
    read = learn(constant)
    assert inputs.numeric(read, constant + 100)[:, 0].tolist() == [0] * 5


def test_wild_numbers_are_clipped():
    read = learn(X)
    wild = np.array([[1e30, 0], [-1e30, 0]], dtype=np.float32)
    assert inputs.numeric(read, wild)[:, 0].tolist() == [inputs.CLIP, -inputs.CLIP]


def test_arrays_survive_the_trip_through_json():
    array = np.arange(6, dtype=np.float32).reshape(2, 3) / 7
    np.testing.assert_array_equal(inputs.unpack(inputs.pack(array)), array)


def test_a_row_of_weight_two_moves_mean_and_spread_as_the_row_twice():
    weighted, twice = learn(X, np.array([2.0, 1, 1, 1])), learn(X[[0, 0, 1, 2, 3]])
    np.testing.assert_allclose(weighted.mean, twice.mean)
    np.testing.assert_allclose(weighted.scale, twice.scale)


def test_means_and_spreads_do_not_depend_on_how_many_rows_are_read_at_a_time(monkeypatch: pytest.MonkeyPatch):
    at_once = learn(X)
    monkeypatch.setattr(inputs, "CHUNK", 2)
    np.testing.assert_allclose(learn(X).mean, at_once.mean)
    np.testing.assert_allclose(learn(X).scale, at_once.scale)
