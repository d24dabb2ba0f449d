import datetime as dt
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.data.columns import comma_number, is_time, judge, target_of, widen
from training.data.frame import LARGEST

N = 400
RNG = np.random.default_rng(5)
Y = RNG.integers(0, 2, N)
SHUFFLED = RNG.permutation(N)


def verdict(values: Any, *, name: str = "c", label: Any = Y, regression: bool = False) -> str:
    table = pa.table({name: values, "label": label})
    target = target_of(table["label"], regression=regression)
    (judged,) = judge(table, target, skip=frozenset({"label"}))
    return judged.feature.type if judged.feature else judged.note


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (RNG.normal(size=N), "number"),
        (RNG.integers(0, 5, N), "number"),
        (RNG.choice(["a", "b"], N), "category"),
        (RNG.random(N) > 0.5, "category"),
        (pa.array(RNG.choice(["a", "b"], N)).dictionary_encode(), "category"),
        (pa.array(RNG.integers(0, 900, N)).cast(pa.decimal128(19, 0)), "number"),
        ([None] * N, "missing in all 400 rows: fill it to use it"),
        (np.full(N, np.nan), "missing in all 400 rows: fill it to use it"),
        (["k"] * N, "constant: every row holds the same"),
        ([2.5] * N, "constant: every row holds 2.5"),
        (SHUFFLED, "an identifier: every row has its own number"),
        ([f"u{i}" for i in range(N)], "400 values, most of them rare: an identifier or free text"),
        ([f"{i}.5" for i in range(N)], "400 values, most of them rare: numbers stored as text: convert it"),
        ([f"{i},5" for i in range(N)], "numbers with a decimal comma, such as '0,5', read as text: write them with a point"),
        (
            ["12", None, "1.234,5", "-7"] * (N // 4),
            "numbers with a decimal comma, such as '1.234,5', read as text: write them with a point",
        ),
        (["a", "1,5"] * (N // 2), "category"),
        ([-1e300, 1.0] * (N // 2), "holds infinite numbers, or ones too large for 32 bits"),
        (RNG.integers(-(2**63), 2**63 - 1, N), "number"),
        ([1.0, np.inf] * (N // 2), "holds infinite numbers, or ones too large for 32 bits"),
        ([b"x"] * N, "its type, binary, is neither number, text nor boolean"),
    ],
)
def test_each_kind_of_column_is_used_or_left_out_for_its_reason(values, expected):
    assert verdict(values) == expected


@pytest.mark.parametrize("name", ["id", "customer_id", "orderID", "UUID", "Unnamed: 0"])
def test_a_column_named_as_an_identifier_whose_numbers_are_all_different_is_one(name):
    assert "identifier" in verdict(SHUFFLED * 7, name=name)


@pytest.mark.parametrize("name", ["paid", "humid", "amount"])
def test_different_numbers_alone_do_not_make_an_identifier(name):
    assert verdict(SHUFFLED * 7, name=name) == "number"


@pytest.mark.parametrize(
    ("values", "name"),
    [
        ([dt.date(2024, 1, 1)] * 3, "c"),
        (["2024-01-01T10:00:00Z", None, "2024-03-01"], "c"),
        (["03/25/2013"] * 3, "c"),
        ([1_700_000_000, 1_700_000_100], "created_at"),
        ([1_700_000_000_000], "timestamp"),
    ],
)
def test_times_are_known_by_type_by_text_and_by_name(values, name):
    assert is_time(name, pa.chunked_array([values]))


@pytest.mark.parametrize(("values", "name"), [([1_700_000_000], "revenue"), (["A-1-2"], "c"), ([12, 30], "time")])
def test_what_only_resembles_a_time_is_none(values, name):
    assert not is_time(name, pa.chunked_array([values]))


@pytest.mark.parametrize(
    ("values", "why"),
    [
        (Y, "goes with one value of the label only"),
        (np.where(Y == 1, "late", "on time"), "goes with one value of the label only"),
        (Y * 10 + RNG.integers(0, 5, N), "goes with one value of the label only"),
        (Y + RNG.random(N) * 0.9, "thresholds on it separate"),
        (np.where(Y == 1, RNG.random(N), np.nan), "filled in for one class"),
    ],
)
def test_a_column_that_gives_the_label_away_is_left_out(values, why):
    assert verdict(values).startswith("leak?")
    assert why in verdict(values)


def test_a_column_that_nearly_gives_the_label_away_is_kept():
    values = Y.copy()
    values[0] = 1 - values[0]
    assert verdict(values) == "number"


def test_few_rows_of_a_class_prove_nothing():
    rare = np.zeros(N, dtype=int)
    rare[:3] = 1
    assert verdict(rare.copy(), label=rare) == "number"


def test_rows_without_a_label_do_not_hide_a_leak():
    label = pa.array([None if i < 50 else int(y) for i, y in enumerate(Y)])
    values = np.where(np.arange(N) < 50, RNG.integers(0, 2, N), Y)
    assert verdict(values, label=label).startswith("leak?")


def test_a_rising_function_of_a_number_to_predict_is_a_leak_and_a_noisy_one_is_not():
    y = RNG.normal(size=N)
    assert verdict(-np.exp(y), label=y, regression=True) == "leak? it rises and falls exactly with the label"
    assert verdict(y + RNG.normal(size=N) * 0.1, label=y, regression=True) == "number"


def test_a_range_ends_where_the_numbers_that_a_model_reads_do():
    table = pa.table({"c": RNG.uniform(-3e38, 3e38, N), "label": Y})
    (judged,) = judge(table, target_of(table["label"], regression=False), skip=frozenset({"label"}))
    assert judged.feature is not None
    assert judged.feature.range == (-LARGEST, LARGEST)


@given(st.floats(-1e12, 1e12), st.floats(0, 1e12))
def test_a_widened_range_holds_what_was_seen(low, width):
    wide = widen(low, low + width, whole=False)
    assert wide[0] <= low
    assert low + width <= wide[1]


def test_a_comma_before_three_digits_may_part_thousands_and_is_not_called_decimal():
    assert comma_number(pa.chunked_array([["1,234", "12,500"]])) is None
    assert comma_number(pa.chunked_array([["1,234", "12,5"]])) == "12,5"
