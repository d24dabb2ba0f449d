from __future__ import annotations

import numpy as np

from cluster.schema import Feature
from training.members import Crew, inputs

FEATURES = (Feature(name="miles", type="number"), Feature(name="carrier", type="category", categories=("UA", "B6")))
X = np.array([[1, 0], [3, 1], [np.nan, 2], [2, np.nan]], dtype=np.float32)


def test_numbers_are_standardised_and_missing_ones_become_the_mean_and_are_flagged():
    read = inputs.learn(FEATURES, X, Crew())
    spread = np.sqrt(2 / 3)
    expected = [[-1 / spread, 0], [1 / spread, 0], [0, 1], [0, 0]]
    np.testing.assert_allclose(inputs.numeric(read, X), expected, rtol=1e-6)


def test_the_indicator_stays_silent_when_training_had_no_gaps():
    read = inputs.learn(FEATURES, X[:2], Crew())
    assert inputs.numeric(read, X)[2].tolist() == [0, 0]


def test_unknown_and_missing_categories_have_rows_of_their_own():
    read = inputs.learn(FEATURES, X, Crew())
    assert inputs.codes(read, X)[:, 0].tolist() == [0, 1, 2, 3]


def test_a_constant_column_is_scaled_to_zero_even_where_it_differs_later():
    constant = np.full((5, 2), 7.0, dtype=np.float32)
    read = inputs.learn(FEATURES, constant, Crew())
    assert inputs.numeric(read, constant + 100)[:, 0].tolist() == [0] * 5


def test_wild_numbers_are_clipped():
    read = inputs.learn(FEATURES, X, Crew())
    wild = np.array([[1e30, 0], [-1e30, 0]], dtype=np.float32)
    assert inputs.numeric(read, wild)[:, 0].tolist() == [inputs.CLIP, -inputs.CLIP]


def test_arrays_survive_the_trip_through_json():
    array = np.arange(6, dtype=np.float32).reshape(2, 3) / 7
    np.testing.assert_array_equal(inputs.unpack(inputs.pack(array)), array)
