from __future__ import annotations

import datetime as dt
import math
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from cluster.arrow import numbers_of, times_of
from cluster.encoder import Encoder
from cluster.errors import DataError, NotEnoughData
from cluster.freeze import freeze
from cluster.schema import (
    Feature,
    FeatureSchema,
    Label,
    canonical,
    decide,
    encode_labels,
    format_duration,
    parse_duration,
    parse_time,
    score_width,
)
from tests.builders import make_schema

FIVE = 1357016400.0
"""2013-01-01T05:00:00Z"""
numbers = st.one_of(st.none(), st.floats(width=32, allow_nan=True, allow_infinity=False))
texts = st.one_of(st.none(), st.sampled_from(["UA", "B6", "9E", "ZZ", "", "ua"]))
integers = st.one_of(st.none(), st.integers(-(2**40), 2**40))


def schema_of(categories: tuple[str, ...]) -> FeatureSchema:
    features = (Feature(name="x", type="number"), Feature(name="c", type="category", categories=categories))
    return FeatureSchema(features=features, label=Label(name="y", classes=(0, 1)))


@given(st.lists(st.tuples(numbers, texts), min_size=1))
def test_columns_and_tables_are_encoded_alike(rows: list[tuple[float | None, str | None]]) -> None:
    x, c = (list(column) for column in zip(*rows, strict=True))
    encoder = Encoder(schema_of(("UA", "B6", "9E")))
    from_columns = encoder.columns({"x": x, "c": c})
    from_table = encoder.table(pa.table({"x": pa.array(x, pa.float64()), "c": pa.array(c, pa.string())}))
    assert from_columns.dtype == from_table.dtype == np.float32
    np.testing.assert_array_equal(from_columns, from_table)


@given(st.lists(integers, min_size=1))
def test_integers_as_categories_are_encoded_alike_whatever_arrow_made_of_them(values: list[int | None]) -> None:
    encoder = Encoder(schema_of(("0", "1", "-7")))
    x = [0.0] * len(values)
    expected = encoder.columns({"x": x, "c": values})
    whole = pa.array(values, pa.int64())
    for column in (whole, whole.cast(pa.float64()), whole.cast(pa.string()), whole.cast(pa.string()).dictionary_encode()):
        np.testing.assert_array_equal(encoder.table(pa.table({"x": x, "c": column})), expected)


@given(st.lists(st.one_of(st.none(), st.booleans()), min_size=1))
def test_booleans_as_categories_are_encoded_alike(values: list[bool | None]) -> None:
    encoder = Encoder(schema_of(("false", "true")))
    x = [0.0] * len(values)
    table = pa.table({"x": x, "c": pa.array(values, pa.bool_())})
    np.testing.assert_array_equal(encoder.columns({"x": x, "c": values}), encoder.table(table))


def test_an_unknown_category_has_the_code_after_the_last_and_a_missing_one_is_nan() -> None:
    matrix = Encoder(make_schema()).columns({"miles": [1, None], "wind": [2.5, math.nan], "carrier": ["ZZ", None]})
    np.testing.assert_array_equal(matrix, np.array([[1, 2.5, 3], [np.nan, np.nan, np.nan]], dtype=np.float32))


@given(st.lists(st.sampled_from(["1", "true", "ZZ", 1, 1.0, 0, 7, True, False, None, math.nan, 1.5]), min_size=1))
def test_a_category_is_told_by_its_text_whatever_came_before_it(values: list[Any]) -> None:
    known = ("1", "true", "1.5")
    found = Encoder(schema_of(known)).columns({"x": [0.0] * len(values), "c": values})[:, 1]
    texts = [canonical(value) for value in values]
    expected = [math.nan if text is None else known.index(text) if text in known else len(known) for text in texts]
    np.testing.assert_array_equal(found, np.array(expected, dtype=np.float32))


def test_an_encoder_wants_a_frozen_schema() -> None:
    with pytest.raises(DataError, match="freeze it over a training table first"):
        Encoder(make_schema(features=(Feature(name="carrier", type="category"),)))


def test_a_table_without_a_column_names_those_it_has() -> None:
    with pytest.raises(DataError, match="the table has no column 'wind'; it has: miles, carrier"):
        Encoder(make_schema()).table(pa.table({"miles": [1.0], "carrier": ["UA"]}))


def test_text_in_a_number_column_is_refused() -> None:
    with pytest.raises(DataError, match="column 'miles' is declared a number and holds string"):
        numbers_of(pa.chunked_array([["a"]]), "miles")


def test_booleans_are_numbers_where_a_number_is_declared() -> None:
    np.testing.assert_array_equal(numbers_of(pa.chunked_array([[True, None, False]]), "x"), [1, np.nan, 0])


def test_integers_too_large_for_a_double_are_rounded() -> None:
    assert numbers_of(pa.chunked_array([[2**63 - 1, None, -(2**53) - 1]]), "x").tolist()[::2] == [2.0**63, -(2.0**53)]


def test_canonical_text_of_a_whole_float_is_that_of_its_integer() -> None:
    assert [canonical(v) for v in (7.0, 7, 7.5, False, "7", None, math.nan)] == ["7", "7", "7.5", "false", "7", None, None]


# Freezing


def open_schema(**label: Any) -> FeatureSchema:
    return FeatureSchema(features=(Feature(name="c", type="category"),), label=Label(name="y", **label))


def test_categories_are_ordered_by_their_mean_label() -> None:
    table = pa.table({"c": ["a"] * 4 + ["b"] * 4 + ["d"] * 4, "y": [1, 1, 1, 0, 0, 0, 0, 0, 1, 1, 0, 0]})
    assert freeze(open_schema(), table, min_count=2).features[0].categories == ("b", "d", "a")


def test_rows_without_a_label_do_not_disturb_the_order_of_categories() -> None:
    table = pa.table({"c": ["a"] * 4 + ["b"] * 4 + ["d"] * 3, "y": [1, 1, None, 1, 0, 0, 0, None, None, None, None]})
    assert freeze(open_schema(), table, min_count=2).features[0].categories == ("b", "d", "a")


def test_equal_mean_labels_are_ordered_by_name() -> None:
    table = pa.table({"c": ["b", "b", "a", "a"], "y": [0, 1, 0, 1]})
    assert freeze(open_schema(), table, min_count=1).features[0].categories == ("a", "b")


def test_rare_categories_are_left_out_and_scored_as_unknown() -> None:
    table = pa.table({"c": ["a"] * 60 + ["b"] * 60 + ["rare"], "y": [0, 1] * 60 + [1]})
    frozen = freeze(open_schema(), table, min_count=20)
    assert frozen.features[0].categories == ("a", "b")
    assert Encoder(frozen).columns({"c": ["rare", "b"]}).tolist() == [[2.0], [1.0]]


def test_categories_that_the_yaml_lists_are_kept_as_they_are() -> None:
    table = pa.table({"miles": [1.0, 2.0], "wind": [1.0, 2.0], "carrier": ["XX", "XX"], "late": [0, 1]})
    assert freeze(make_schema(), table) == make_schema()


def test_freezing_learns_the_classes_and_a_frozen_schema_is_frozen() -> None:
    table = pa.table({"c": ["a", "a", "b"], "y": ["no", "no", "yes"]})
    frozen = freeze(open_schema(), table, min_count=1)
    assert (frozen.label.classes, frozen.label.positive) == (("no", "yes"), "yes")
    assert frozen.is_frozen
    assert FeatureSchema.model_validate_json(frozen.model_dump_json()) == frozen


@pytest.mark.parametrize(
    ("values", "positive", "classes"),
    [
        ([1, 1, 0], None, (0, 1)),
        ([True, True, False], None, (False, True)),
        ([1.0, math.nan, 0.0, None], None, (0, 1)),
        (["late", "late", "on time"], None, ("late", "on time")),
        (["late", "late", "on time"], "late", ("on time", "late")),
        ([1, 2, 2], "1", (2, 1)),
    ],
)
def test_the_positive_class_is_the_named_one_or_1_or_true_or_the_rarer(values: list[Any], positive: Any, classes: tuple[Any, ...]) -> None:
    label = freeze(open_schema(positive=positive), pa.table({"c": ["a"] * len(values), "y": values}), min_count=1).label
    assert label.classes == classes
    assert label.positive == classes[1]
    assert [type(c) for c in label.classes or ()] == [type(c) for c in classes]


@pytest.mark.parametrize(
    ("label", "values", "error", "message"),
    [
        ({}, [1, 1, None], NotEnoughData, "label 'y' has 1 class"),
        ({}, [1, 2, 3], DataError, "has 3 classes and its task is binary; set schema.label.task to multiclass"),
        ({}, [1.5, 2, 3], DataError, "holds fractions; set schema.label.task to regression"),
        ({"positive": "maybe"}, ["no", "yes", "no"], DataError, "schema.label.positive is 'maybe'"),
        ({"classes": (0, 1)}, [0, 1, 2], DataError, "label 2 is none of the classes of 'y': 0, 1"),
    ],
)
def test_a_label_that_does_not_fit_is_refused(label: dict[str, Any], values: list[Any], error: type[DataError], message: str) -> None:
    with pytest.raises(error, match=message):
        freeze(open_schema(**label), pa.table({"c": ["a"] * 3, "y": values}), min_count=1)


def test_a_column_of_identifiers_is_refused() -> None:
    table = pa.table({"c": [f"id{i}" for i in range(2000)], "y": [0, 1] * 1000})
    with pytest.raises(DataError, match="feature 'c' has no value that occurs 20 times"):
        freeze(open_schema(), table)


def test_too_many_frequent_categories_are_refused() -> None:
    table = pa.table({"c": ["a", "b", "d"], "y": [0, 1, 0]})
    with pytest.raises(DataError, match="has 3 frequent categories, more than 2"):
        freeze(open_schema(), table, min_count=1, max_categories=2)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Feature(name="c", type="category", range=(0, 1)), "cannot have a range"),
        (lambda: Feature(name="x", type="number", categories=("a",)), "cannot have categories"),
        (lambda: Feature(name="x", type="number", range=(2, 1)), "upside down"),
        (lambda: Feature(name="c", type="category", categories=("a", "a")), "lists a category twice"),
        (lambda: make_schema(features=(Feature(name="x", type="number"),) * 2), "features listed twice: x"),
        (lambda: make_schema(label=Label(name="miles")), "would give the answer away"),
        (lambda: make_schema(time="wind"), "the time column 'wind' is also listed as a feature"),
        (lambda: make_schema(protected=("at",)), "'at' is the time or the label and cannot be protected"),
        (lambda: make_schema(protected=("sex", "sex")), "a protected column is listed twice"),
        (lambda: Label(name="y", classes=(0, 1, 2)), "needs two different classes"),
        (lambda: Label(name="y", task="multiclass", classes=("a", "a")), "at least two different classes"),
        (lambda: Label(name="y", classes=(0, 1), positive=0), "positive is 0, yet classes name 1 last"),
    ],
)
def test_a_schema_that_contradicts_itself_is_refused(build: Any, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        build()


# Times


@pytest.mark.parametrize(
    "column",
    [
        pa.array([int(FIVE)], pa.timestamp("s")),
        pa.array([dt.datetime(2013, 1, 1, 5, tzinfo=dt.UTC)]),
        pa.array([dt.datetime(2013, 1, 1, 5, tzinfo=dt.UTC)], pa.timestamp("s", tz="America/New_York")),
        pa.array([int(FIVE * 1e9)], pa.timestamp("ns")),
        pa.array([int(FIVE)]),
        pa.array([FIVE]),
        pa.array(["2013-01-01T05:00:00"]),
        pa.array(["2013-01-01 05:00:00"]),
        pa.array(["2013-01-01T05:00:00Z"]),
        pa.array(["2013-01-01T00:00:00-05:00"]),
        pa.array(["2013-01-01T05:00:00"], pa.large_string()),
    ],
    ids=lambda column: str(column.type) + str(column[0]),
)
def test_a_time_column_is_read_in_every_usual_form(column: pa.Array) -> None:
    assert times_of(pa.table({"at": column}), "at").tolist() == [FIVE]


def test_dates_are_midnights() -> None:
    assert times_of(pa.table({"at": pa.array([dt.date(2013, 1, 1)])}), "at").tolist() == [FIVE - 5 * 3600]


def test_nanoseconds_that_are_no_whole_microseconds_are_read() -> None:
    column = pa.array([int(FIVE * 1e9) + 1234], pa.timestamp("ns"))
    assert times_of(pa.table({"at": column}), "at").tolist() == [pytest.approx(FIVE + 1e-6, abs=1e-6)]


@pytest.mark.parametrize(
    ("column", "message"),
    [
        (pa.array(["soon"]), "cannot be read as a time"),
        (pa.array([1.0, None]), "is the time and has 1 empty values"),
        (pa.array([b"x"]), "is not a time"),
    ],
)
def test_a_column_that_is_no_time_is_refused(column: pa.Array, message: str) -> None:
    with pytest.raises(DataError, match=message):
        times_of(pa.table({"at": column}), "at")


@pytest.mark.parametrize(
    "value", ["2013-01-01T05:00:00", "2013-01-01 05:00", "2013-01-01T00:00:00-05:00", "20130101T050000Z", FIVE, int(FIVE)]
)
def test_a_rows_time_is_read_in_every_usual_form(value: str | float) -> None:
    assert parse_time(value) == FIVE


@pytest.mark.parametrize(
    "value", ["soon", "", True, None, math.inf, math.nan, 1e12, 10**400, -(10**400), -1e11, "0001-01-01T00:00:00+01:00"]
)
def test_what_is_no_time_is_refused(value: Any) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 # the standard library's own words for some of them
        parse_time(value)


# Labels


def test_labels_are_the_index_of_their_class() -> None:
    label = Label(name="y", classes=("on time", "late"))
    np.testing.assert_array_equal(encode_labels(label, ["late", None, "on time"]), [1, np.nan, 0])


def test_booleans_and_whole_floats_fit_classes_0_and_1() -> None:
    label = Label(name="y", classes=(0, 1))
    np.testing.assert_array_equal(encode_labels(label, [True, False, 1.0, "0", 1]), [1, 0, 1, 0, 1])


def test_boolean_classes_take_booleans() -> None:
    assert encode_labels(Label(name="y", classes=(False, True)), pa.chunked_array([[True, False]])).tolist() == [1, 0]


def test_regression_labels_are_the_numbers_themselves() -> None:
    label = Label(name="y", task="regression")
    np.testing.assert_array_equal(encode_labels(label, [1.5, None, -2]), [1.5, np.nan, -2])


@pytest.mark.parametrize("value", [math.inf, "3", True, 10**400])
def test_a_regression_label_must_be_a_finite_number(value: Any) -> None:
    with pytest.raises(DataError, match="must be a finite number"):
        encode_labels(Label(name="y", task="regression"), [value])


def test_labels_of_an_open_schema_are_refused() -> None:
    with pytest.raises(DataError, match="freeze the schema first"):
        encode_labels(Label(name="y"), [1])


def test_a_binary_decision_is_positive_from_the_threshold_on() -> None:
    label = Label(name="y", classes=("no", "yes"), threshold=0.25)
    assert decide(label, np.array([[0.25], [0.2]], dtype=np.float32)) == ["yes", "no"]


def test_a_multiclass_decision_is_the_likeliest_class() -> None:
    label = Label(name="y", task="multiclass", classes=("a", "b", "c"))
    assert decide(label, np.array([[0.2, 0.5, 0.3], [0.6, 0.1, 0.3]])) == ["b", "a"]
    assert score_width(label) == 3


def test_a_regression_decision_is_the_number() -> None:
    label = Label(name="y", task="regression")
    assert decide(label, np.array([[1.5], [-2.0]], dtype=np.float32)) == [1.5, -2.0]
    assert score_width(label) == 1


# Durations


@given(st.timedeltas(min_value=dt.timedelta(0), max_value=dt.timedelta(days=40_000)))
def test_durations_survive_being_written_and_read(value: dt.timedelta) -> None:
    assert parse_duration(format_duration(value)) == value


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("30m", 1800), ("6h", 21600), ("1.5d", 129600), (" 2w ", 1209600), ("0s", 0)])
def test_durations_are_read_with_their_unit(text: str, seconds: float) -> None:
    assert parse_duration(text) == dt.timedelta(seconds=seconds)


def test_durations_are_written_in_the_largest_unit_that_divides_them() -> None:
    days = [dt.timedelta(days=14), dt.timedelta(hours=36), dt.timedelta(seconds=90), dt.timedelta(0)]
    assert [format_duration(value) for value in days] == ["2w", "36h", "90s", "0s"]
