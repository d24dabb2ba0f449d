import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.errors import NotEnoughData
from training.data.split import by_time

RNG = np.random.default_rng(0)


def test_the_latest_share_validates_whatever_the_order_of_rows():
    train, valid = by_time(np.array([5.0, 1.0, 4.0, 2.0, 3.0]), 0.4, rng=RNG)
    assert train.tolist() == [1, 3, 4]
    assert valid.tolist() == [2, 0]


def test_rows_of_one_time_stay_on_one_side_of_the_cut():
    train, valid = by_time(np.array([1.0, 2.0, 2.0, 2.0, 2.0, 3.0]), 0.5, rng=RNG)
    assert (train.tolist(), valid.tolist()) == ([0], [1, 2, 3, 4, 5])


@given(st.lists(st.integers(0, 8), min_size=2, max_size=60).filter(lambda v: len(set(v)) > 1), st.floats(0.03, 0.59))
def test_every_row_is_on_exactly_one_side_and_training_is_strictly_earlier(values, share):
    times = np.array(values, dtype=np.float64)
    train, valid = by_time(times, share, rng=RNG)
    assert sorted([*train.tolist(), *valid.tolist()]) == list(range(len(values)))
    assert times[train].max() < times[valid].min()


def test_without_times_the_same_generator_draws_the_same_rows():
    one = by_time(None, 0.25, rng=np.random.default_rng(3), rows=100)
    two = by_time(None, 0.25, rng=np.random.default_rng(3), rows=100)
    assert [side.tolist() for side in one] == [side.tolist() for side in two]
    assert (len(one[0]), len(one[1])) == (75, 25)
    assert sorted([*one[0].tolist(), *one[1].tolist()]) == list(range(100))


def test_rows_of_one_time_only_cannot_be_split():
    with pytest.raises(NotEnoughData, match="the 3 rows cannot be split by time: they are all of one time"):
        by_time(np.ones(3), 0.2, rng=RNG)


@pytest.mark.parametrize("rows", [0, 1, 2])
def test_too_few_rows_cannot_be_split_at_random(rows):
    with pytest.raises(NotEnoughData, match="to train and"):
        by_time(None, 0.2, rng=RNG, rows=rows)


def test_an_empty_table_cannot_be_split_by_time():
    with pytest.raises(NotEnoughData):
        by_time(np.array([]), 0.2, rng=RNG)
