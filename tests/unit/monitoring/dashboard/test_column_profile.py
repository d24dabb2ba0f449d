"""The profile that is exported."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.errors import DataError
from monitoring.dashboard import column_profile
from monitoring.dashboard.column_profile import ACCURACY, MOST_ITEMS, items, numbers, quantile
from tests.unit.monitoring.world import SCHEMA

VALUES = st.lists(st.one_of(st.floats(-1e6, 1e6, allow_subnormal=False), st.just(0.0), st.just(float("nan"))), max_size=60)


def table(rows: list[tuple[float, float | None, str | None, int | None]]) -> pa.Table:
    miles, wind, carrier, late = (list(part) for part in zip(*rows, strict=True))
    columns = {"event_time": np.arange(len(rows), dtype=float), "miles": miles, "wind": wind, "carrier": carrier, "late": late}
    types = {"miles": pa.float64(), "wind": pa.float64(), "carrier": pa.string(), "late": pa.int64(), "event_time": pa.float64()}
    return pa.table({name: pa.array(values, types[name]) for name, values in columns.items()})


def test_a_profile_counts_what_is_there():
    made = column_profile.of(table([(1.0, None, "UA", 1), (3.0, 2.0, "UA", None), (-2.0, 0.0, None, 0)]), SCHEMA, model="trips")
    assert (made.rows, made.first, made.last) == (3, 0.0, 2.0)
    miles, wind = made.numbers["miles"], made.numbers["wind"]
    assert (miles.count, miles.missing, miles.least, miles.most) == (3, 0, -2.0, 3.0)
    assert miles.mean == pytest.approx(2 / 3)
    assert (wind.count, wind.missing, wind.zeros) == (2, 1, 1)
    assert (made.categories["carrier"].items, made.categories["carrier"].missing) == ({"UA": 2}, 1)
    assert made.categories["late"].items == {"0": 1, "1": 1}


@given(VALUES, VALUES)
def test_merging_two_gives_the_profile_of_both(first, second):
    together = numbers(np.array(first + second, dtype=float))
    merged = column_profile._add_numbers(numbers(np.array(first, dtype=float)), numbers(np.array(second, dtype=float)))
    assert (merged.positive, merged.negative, merged.zeros) == (together.positive, together.negative, together.zeros)
    assert (merged.count, merged.missing, merged.least, merged.most) == (together.count, together.missing, together.least, together.most)
    assert merged.mean == pytest.approx(together.mean, rel=1e-9, abs=1e-6)
    assert merged.squares == pytest.approx(together.squares, rel=1e-6, abs=1e-3)


@given(st.lists(st.floats(-1e6, 1e6, allow_subnormal=False), min_size=1, max_size=80), st.floats(0, 1))
def test_a_quantile_is_off_by_at_most_one_per_cent(values, share):
    exact = float(np.quantile(values, share, method="lower"))
    assert quantile(numbers(np.array(values)), share) == pytest.approx(exact, rel=1.01 * ACCURACY, abs=1e-300)


@given(st.lists(st.integers(0, 3 * MOST_ITEMS), max_size=400), st.lists(st.integers(0, 3 * MOST_ITEMS), max_size=400))
def test_a_frequent_item_is_counted_too_low_by_at_most_what_is_said(first, second):
    truth = Counter(map(str, first + second))
    merged = column_profile._add_items(items(Counter(map(str, first))), items(Counter(map(str, second))))
    assert len(merged.items) <= MOST_ITEMS
    for value, count in truth.items():
        assert merged.items.get(value, 0) <= count <= merged.items.get(value, 0) + merged.undercount


def test_it_survives_json_and_says_quantiles_there():
    made = column_profile.of(table([(float(i), 1.0, "UA", 1) for i in range(1, 101)]), SCHEMA, model="trips")
    content = column_profile.encode(made)
    assert column_profile.decode(content) == made
    assert b'"quantiles"' in content
    twice = column_profile.merge(made, column_profile.decode(content))
    assert (twice.rows, twice.categories["carrier"].items) == (200, {"UA": 200})


@pytest.mark.parametrize(
    "content",
    [b"{}", b"[]", b"no JSON", b'{"format":"other/1","model":"m","rows":0,"first":null,"last":null,"numbers":{},"categories":{}}'],
)
def test_another_format_is_refused(content):
    with pytest.raises(DataError, match="homeostat-profile/1"):
        column_profile.decode(content)


def test_profiles_of_other_columns_are_not_merged():
    made = column_profile.of(table([(1.0, 1.0, "UA", 1)]), SCHEMA, model="trips")
    with pytest.raises(DataError, match="different columns"):
        column_profile.merge(made, column_profile.RowsProfile(model="trips", rows=0, first=None, last=None, numbers={}, categories={}))
