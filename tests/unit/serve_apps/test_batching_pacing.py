import math
import random
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.errors import Overloaded
from serve_apps.pacing import CostCurve, place, plan


class Ask(NamedTuple):
    rows: int
    deadline: float


class Batch(NamedTuple):
    rows: int
    deadline: float
    version: str
    cost: CostCurve


def curve(fixed_s: float = 0.004, per_row_s: float = 0.001, deviation: float = 0.0) -> CostCurve:
    made = CostCurve(fixed_s, per_row_s)
    made.deviation = deviation
    return made


def placed(*waiting: Batch, rows: int = 1, deadline: float = 0.25, version: str = "1", free_at: float | None = 0.0, max_rows: int = 1024):
    return place(waiting, Ask(rows, deadline), version, curve(), now=0.0, free_at=free_at, max_rows=max_rows)


def batch(rows: int, deadline: float = 0.25, version: str = "1") -> Batch:
    return Batch(rows, deadline, version, curve())


# --- the cost curve


def test_a_curve_finds_both_parts_from_batches_of_different_sizes():
    learned, rng = CostCurve(), random.Random(1)
    for _ in range(100):
        rows = rng.randint(1, 200)
        learned.observe(rows, (0.004 + 0.001 * rows) * rng.uniform(0.9, 1.1))
    assert learned.fixed_s == pytest.approx(0.004, rel=0.15)
    assert learned.per_row_s == pytest.approx(0.001, rel=0.05)
    assert learned.deviation == pytest.approx(0.05, abs=0.02)


def test_batches_of_one_size_scale_the_line_and_keep_its_shape():
    learned = curve(0.004, 0.001)
    for _ in range(50):
        learned.observe(4, 0.016)  # twice what was expected
    assert learned(4) == pytest.approx(0.016, rel=0.01)
    assert learned.fixed_s == pytest.approx(0.008, rel=0.01)
    assert learned.per_row_s == pytest.approx(0.002, rel=0.01)


@pytest.mark.parametrize("wrong", [0.001, 1000.0])
def test_a_curve_that_was_a_thousand_times_wrong_is_right_after_ten_batches(wrong: float):
    learned = curve(0.004 * wrong, 0.001 * wrong)
    for rows in (1, 40, 5, 80, 20) * 2:
        learned.observe(rows, 0.004 + 0.001 * rows)
    assert learned(50) == pytest.approx(0.054, rel=0.01)


def test_one_pause_of_the_machine_is_no_new_cost_and_makes_the_next_predictions_cautious():
    learned = curve()
    learned.observe(10, 5.0)
    assert learned(10) == 0.014
    assert learned.cautious(10) == pytest.approx(0.014 * (1 + 3 * 4 / 16))
    learned.observe(10, 0.014)
    learned.observe(10, 5.0)
    assert learned(10) == pytest.approx(0.014)


def test_a_leap_seen_twice_in_a_row_is_a_new_cost():
    learned = curve()
    learned.observe(10, 0.14)
    learned.observe(20, 0.24)
    assert learned(20) == pytest.approx(0.24)


def test_what_varies_is_counted_on_with_three_deviations_more():
    assert curve(deviation=0.1).cautious(10) == pytest.approx(0.014 * 1.3)


@given(st.lists(st.tuples(st.integers(1, 10_000), st.floats(0, 100)), max_size=60))
def test_whatever_is_observed_costs_stay_finite_and_not_negative(observed: list[tuple[int, float]]):
    learned = CostCurve()
    for rows, seconds in observed:
        learned.observe(rows, seconds)
        assert 0 <= learned.fixed_s < math.inf
        assert 0 <= learned.per_row_s < math.inf
        assert learned(1) > 0


# --- who is admitted, and where


def test_an_idle_scorer_refuses_nothing_so_that_a_wrong_curve_can_learn():
    assert placed(rows=10_000, free_at=None) == 0


def test_a_request_joins_the_batch_that_waits():
    assert placed(batch(30)) == 0


def test_a_request_joins_the_last_batch_of_its_own_version_only():
    assert placed(batch(5), batch(5, version="2"), batch(5)) == 2
    assert placed(batch(5), batch(5, version="2"), version="2") == 1
    assert placed(batch(5), batch(5, version="2"), version="3") == 2


def test_a_batch_is_not_joined_beyond_its_largest_size():
    assert placed(batch(30), rows=2, max_rows=32) == 0
    assert placed(batch(31), rows=2, max_rows=32) == 1


def test_a_request_does_not_join_where_it_would_make_an_accepted_one_late():
    assert placed(batch(30, deadline=0.0345)) == 1
    assert placed(batch(30, deadline=0.0355)) == 0


def test_a_request_does_not_join_where_it_would_make_a_batch_behind_late():
    assert placed(batch(10), batch(10, deadline=0.0285, version="2")) == 2
    assert placed(batch(10), batch(10, deadline=0.0295, version="2")) == 0


def test_a_request_does_not_join_a_batch_that_ends_after_its_own_deadline():
    with pytest.raises(Overloaded):
        placed(batch(30), deadline=0.0345)
    assert placed(batch(30), deadline=0.0355) == 0


def test_a_batch_is_opened_only_if_it_would_begin_within_half_of_the_budget():
    assert placed(free_at=0.124) == 0
    with pytest.raises(Overloaded, match=r"1 rows could not be scored within the 0.250 s left; those before them take 0.130 s") as caught:
        placed(free_at=0.13)
    assert caught.value.details == ({"retry_after_s": 0.005},)


def test_a_large_request_is_refused_when_its_own_cost_exceeds_what_is_left():
    assert placed(rows=200, free_at=0.04) == 0
    with pytest.raises(Overloaded):
        placed(rows=200, free_at=0.05)


def test_an_overdue_call_is_taken_to_end_now():
    assert placed(free_at=-1.0) == 0


# --- who is taken


def test_a_batch_that_can_be_finished_in_time_is_taken_whole_with_the_tightest_first():
    asks = [Ask(10, 0.25), Ask(10, 0.1)]
    assert plan(asks, curve(), now=0.0) == (asks[::-1], [])


def test_after_a_pause_the_tightest_are_given_up_until_the_rest_is_in_time():
    asks = [Ask(10, 0.01 * tenth) for tenth in range(1, 11)]  # 100 rows take 0.104 s; the last 70 take 0.074 s
    take, late = plan(asks, curve(), now=0.0)
    assert late == asks[:5]
    assert take == asks[5:]
    assert curve()(50) <= take[0].deadline


def test_the_last_one_is_tried_even_if_the_curve_says_it_will_be_late():
    assert plan([Ask(100, 0.01), Ask(100, 0.02)], curve(), now=0.0) == ([Ask(100, 0.02)], [Ask(100, 0.01)])


def test_of_nobody_nobody_is_taken():
    assert plan([], curve(), now=0.0) == ([], [])


@given(st.lists(st.builds(Ask, st.integers(1, 50), st.floats(0.005, 0.3)), min_size=2, max_size=30))
def test_all_that_are_taken_are_in_time_unless_only_one_is_left(asks: list[Ask]):
    take, late = plan(asks, curve(), now=0.0)
    assert sorted(take + late) == sorted(asks)
    assert len(take) == 1 or curve()(sum(a.rows for a in take)) <= min(a.deadline for a in take)
