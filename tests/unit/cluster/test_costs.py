from __future__ import annotations

import msgspec
import pytest

from cluster.costs import Costs, Curve
from tests.builders import make_costs

SIZES = [1, 8, 64, 512, 4096]


def linear(fixed: float, per_row: float, sizes: list[int] = SIZES) -> Curve:
    return Curve(rows=sizes, seconds=[fixed + per_row * rows for rows in sizes])


def test_costs_lie_on_straight_lines_between_what_was_measured_and_beyond() -> None:
    curve = Curve(rows=[1, 11, 21], seconds=[1.0, 2.0, 5.0])
    assert [curve.at(rows) for rows in (0, 1, 6, 11, 16, 21, 31)] == [0.0, 1.0, 1.5, 2.0, 3.5, 5.0, 8.0]


def test_native_trees_are_used_from_where_they_cost_nine_tenths() -> None:
    costs = make_costs(ensemble=linear(0, 10e-6), native=linear(300e-6, 6e-6))
    assert costs.native_from == 100  # 0.9 · 10 µs · n = 300 µs + 6 µs · n
    assert costs.seconds("ensemble", 99) == pytest.approx(990e-6)
    assert costs.seconds("ensemble", 100) == pytest.approx(900e-6)


@pytest.mark.parametrize(
    ("native", "expected"),
    [
        (None, None),
        (linear(300e-6, 9.5e-6), None),
        (linear(1e-6, 1e-6), 1),
        (Curve(rows=SIZES, seconds=[1e-6, 1.0, 1.0, 1.0, 1.0]), None),
    ],
    ids=["none", "never a tenth cheaper", "always", "only for one row"],
)
def test_native_trees_are_used_never_or_always_where_that_pays(native: Curve | None, expected: int | None) -> None:
    assert make_costs(ensemble=linear(0, 10e-6), native=native).native_from == expected


def test_sizes_that_only_one_backend_was_measured_at_decide_nothing() -> None:
    costs = make_costs(ensemble=linear(0, 10e-6, [1, 8]), native=Curve(rows=[1, 8, 64], seconds=[3e-4, 3e-4, 3e-4]))
    assert costs.native_from is None


def test_a_straight_line_is_found_again() -> None:
    line = make_costs().line("ensemble")
    assert line == pytest.approx((50e-6, 10e-6))


def test_a_line_is_near_in_proportion_and_so_true_of_few_rows() -> None:
    costs = make_costs(student=Curve(rows=SIZES, seconds=[14e-6, 19e-6, 54e-6, 838e-6, 7e-3]))  # measured: a student of 60 trees
    line = costs.line("student")
    assert 8e-6 < line.fixed_s + line.per_row_s < 20e-6
    assert min(line) > 0


def test_no_line_is_below_zero() -> None:
    assert make_costs(student=Curve(rows=[1, 2, 3], seconds=[1e-6, 1e-4, 1e-3])).line("student").fixed_s == 0.0


def test_costs_come_back_from_json() -> None:
    costs = make_costs(native=linear(300e-6, 6e-6))
    assert msgspec.json.decode(msgspec.json.encode(costs), type=Costs) == costs


@pytest.mark.parametrize(
    ("rows", "seconds", "message"),
    [
        ([1], [1.0], "1 sizes and 1 costs make no curve"),
        ([1, 2], [1.0], "2 sizes and 1 costs make no curve"),
        ([2, 1], [1.0, 2.0], "sizes must be positive and ascending"),
        ([0, 1], [1.0, 2.0], "sizes must be positive and ascending"),
        ([1, 2], [0.0, 2.0], "costs positive"),
    ],
)
def test_what_is_no_curve_is_refused(rows: list[int], seconds: list[float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Curve(rows=rows, seconds=seconds)
