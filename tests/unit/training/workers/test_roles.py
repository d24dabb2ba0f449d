"""Which row of a large table is for what, and which worker holds which."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.errors import NotEnoughData
from training.data import split
from training.workers import roles
from training.workers.roles import HELD, TRAIN, TUNE


@given(st.lists(st.integers(0, 30), min_size=4, max_size=200), st.sampled_from([0.1, 0.2, 0.35]), st.sampled_from([0.0, 0.3]))
def test_roles_by_time_are_those_of_the_split_in_memory(moments: list[int], share: float, held_share: float) -> None:
    times = np.array(moments, dtype=np.float64)
    try:
        train, last = split.by_time(times, share, rng=np.random.default_rng(0))
    except NotEnoughData:
        with pytest.raises(NotEnoughData, match="nearly all are of one time"):
            roles.by_time(times, share=share, held_share=held_share)
        return
    tune, held = split.interleaved(last, held_share)
    expected = np.empty(len(times), dtype=np.uint8)
    expected[train], expected[tune], expected[held] = TRAIN, TUNE, HELD
    np.testing.assert_array_equal(roles.by_time(times, share=share, held_share=held_share), expected)


def test_positions_are_parted_evenly_and_by_the_seed() -> None:
    keys = roles.keys_of_positions(100_000, seed=7)
    assert np.abs(np.histogram(keys, bins=10, range=(0, 1))[0] - 10_000).max() < 400  # four standard deviations
    parted = roles.by_key(keys, share=0.2, held_share=0.3)
    assert np.bincount(parted).tolist() == [80_000, 14_000, 6_000]
    assert abs(np.corrcoef(keys[1:], keys[:-1])[0, 1]) < 0.015
    assert not np.array_equal(keys, roles.keys_of_positions(100_000, seed=8))
    np.testing.assert_array_equal(roles.keys_of_positions(10, seed=7, first=90), keys[90:100])


def test_a_group_is_never_parted_and_a_row_without_one_stands_alone() -> None:
    names = pa.array([f"person {i % 50}" for i in range(5000)] + [None, ""] * 500)
    keys = roles.keys_of_groups(names, seed=7)
    parted = roles.by_key(keys, share=0.4, held_share=0.5)
    assert all(len(set(parted[i:5000:50].tolist())) == 1 for i in range(50))
    assert len(np.unique(keys[5000:])) == 1000
    assert np.bincount(parted).tolist() == pytest.approx([3600, 1200, 1200], abs=120)


def test_too_few_groups_are_refused() -> None:
    with pytest.raises(NotEnoughData, match="nearly all are of one time, or one group"):
        roles.by_key(np.full(100, 0.5), share=0.2, held_share=0.3)
    with pytest.raises(NotEnoughData, match="groups are too few or too large"):
        roles.by_key(np.repeat([0.2, 0.8], 50), share=0.2, held_share=0.3)


def test_a_sample_is_spread_over_all_rows_of_its_role() -> None:
    parted = np.tile([TRAIN, TUNE], 500).astype(np.uint8)
    assert roles.spread(parted, TUNE, 5).tolist() == [1, 201, 401, 601, 801]
    assert roles.spread(parted, TUNE, 1000).tolist() == list(range(1, 1000, 2))
    assert roles.spread(parted, HELD, 5).tolist() == []


def pieces_in_order_of_time(pieces: int, rows: int) -> list[np.ndarray]:
    return np.split(roles.by_time(np.arange(float(pieces * rows)), share=0.2, held_share=0.3), pieces)


@pytest.mark.parametrize(("pieces", "workers"), [(1, 4), (20, 2), (20, 8), (7, 3), (5, 1)])
def test_workers_get_every_row_once_and_about_as_many_of_each_kind(pieces: int, workers: int) -> None:
    parted = pieces_in_order_of_time(pieces, 1000)
    hands = roles.deal(parted, workers)
    seen = [np.zeros(1000, dtype=int) for _ in range(pieces)]
    counts = np.zeros((workers, 3), dtype=int)
    for worker, hand in enumerate(hands):
        assert hand == sorted(hand)
        for piece, start, stop in hand:
            seen[piece][start:stop] += 1
            counts[worker] += np.bincount(parted[piece][start:stop], minlength=3)
    assert all((once == 1).all() for once in seen)
    fair = counts.sum(axis=0) / workers
    assert (counts[:, TRAIN] > 0.5 * fair[TRAIN]).all()
    assert (counts[:, TRAIN] < 1.5 * fair[TRAIN]).all()
    assert (counts[:, TUNE] > 0.5 * fair[TUNE]).all()
    assert (counts[:, TUNE] < 1.5 * fair[TUNE]).all()
    assert roles.deal(parted, workers) == hands


def test_a_piece_that_fits_a_worker_is_not_cut() -> None:
    assert all((start, stop) == (0, 1000) for hand in roles.deal(pieces_in_order_of_time(40, 1000), 2) for _, start, stop in hand)


def test_more_workers_than_rows_are_refused() -> None:
    with pytest.raises(NotEnoughData, match="8 training and 1 validation rows are too few for 4 workers"):
        roles.deal([np.array([TRAIN] * 8 + [TUNE, HELD], dtype=np.uint8)], 4)
