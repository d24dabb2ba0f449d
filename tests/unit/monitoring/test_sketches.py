import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitoring.sketches import ABOVE, BELOW, FINER, MISSING, UNKNOWN, Column, Sketcher, Summary, merge, prediction_columns

COLUMNS = [
    Column(
        name="miles", type="number", edges=[-1.0, 0.0, 2.5, 7.0], scores=[-2.0, 0.0, 0.5, 3.0], range=(-2.0, 6.0), center=1.0, scale=3.0
    ),
    Column(name="carrier", type="category", categories=["UA", "B6", "DL"], scores=[-1.0, 0.25, 2.0]),
]
SKETCHER = Sketcher(COLUMNS)
ROWS = st.lists(
    st.tuples(
        st.one_of(st.just(float("nan")), st.floats(-(2.0**100), 2.0**100, width=32)),
        st.one_of(st.just(float("nan")), st.integers(0, 3).map(float)),
    ),
    max_size=30,
).map(lambda rows: np.array(rows, dtype=np.float32).reshape(-1, 2))


def same(a: Summary, b: Summary) -> bool:
    return a.rows == b.rows and all(
        np.array_equal(x, y) for x, y in ((a.cells, b.cells), (a.quality, b.quality), (a.sums, b.sums), (a.moments, b.moments))
    )


@given(ROWS, ROWS, ROWS)
def test_merging_in_any_order_gives_the_summary_of_all_rows(a, b, c):
    x, y, z = (SKETCHER.summarise(rows) for rows in (a, b, c))
    whole = SKETCHER.summarise(np.concatenate([a, b, c]))
    assert same((x + y) + z, whole)
    assert same(x + (y + z), whole)
    assert same(merge([z, x, y]), whole)
    assert same(x + SKETCHER.empty(), x)


@given(ROWS)
def test_counts_equal_a_count_by_hand(rows):
    summary = SKETCHER.summarise(rows)
    number, code = rows[:, 0], rows[:, 1]
    assert summary.rows == len(rows)
    assert summary.quality[0, MISSING] == sum(np.isnan(v) for v in number)
    assert summary.quality[0, BELOW] == sum(v < -2 for v in number)
    assert summary.quality[0, ABOVE] == sum(v > 6 for v in number)
    assert summary.quality[1, MISSING] == sum(np.isnan(v) for v in code)
    assert summary.quality[1, UNKNOWN] == sum(v == 3 for v in code)
    assert SKETCHER.cells_of(summary, 1).tolist() == [sum(v == k for v in code) for k in range(3)]
    by_hand, _ = np.histogram(number[~np.isnan(number)], bins=[-np.inf, -1.0, 0.0, 2.5, 7.0, np.inf])
    assert SKETCHER.cells_of(summary, 0).tolist() == by_hand.tolist()


@given(ROWS)
def test_moments_equal_sums_of_products_by_hand(rows):
    """Scores as the columns' lines say: straight between edges, the outermost beyond them, 0 where a value is missing or unknown."""
    miles = np.interp(rows[:, 0].astype(np.float64), COLUMNS[0].edges, COLUMNS[0].scores)
    miles = np.where(rows[:, 0] < -1.0, -3.0, np.where(rows[:, 0] >= 7.0, 3.0, np.nan_to_num(miles)))
    carriers = np.array([-1.0, 0.25, 2.0, 0.0])[np.nan_to_num(rows[:, 1], nan=3).astype(int)]
    scores = np.rint(32 * np.stack([np.full(len(rows), 1 / 32), miles, carriers]))
    np.testing.assert_array_equal(SKETCHER.summarise(rows).moments, scores @ scores.T)


@pytest.mark.parametrize("edges", [[-1.0, 0.0, 0.5], [x / 8 for x in range(100)]], ids=["few", "many"])
def test_a_value_is_in_the_cell_that_a_search_finds(edges):
    at = np.array([*edges, 1e30, -1e30, -0.0], dtype=np.float32)
    values = np.tile(np.concatenate([at, np.nextafter(at, np.float32(9)), np.nextafter(at, np.float32(-9))]), 100)
    sketcher = Sketcher([Column(name="miles", type="number", edges=edges)])
    expected = np.bincount(np.searchsorted(np.array(edges), values, side="right"), minlength=len(edges) + 1)
    assert sketcher.cells_of(sketcher.summarise(values[:, None]), 0).tolist() == expected.tolist()


def test_an_infinite_number_lies_beyond_the_outermost_edge_and_counts_as_such():
    summary = SKETCHER.summarise(np.array([[np.inf, 0], [-np.inf, 0], [np.inf, 0]], dtype=np.float32))
    assert SKETCHER.cells_of(summary, 0).tolist() == [1, 0, 0, 0, 2]
    assert summary.quality[0].tolist() == [0, 0, 1, 2, 0]
    assert summary.moments[0, 1] == 32 * 3 * (2 - 1)


def test_rows_are_the_same_in_chunks_as_one_by_one():
    rows = np.random.default_rng(1).normal(size=(70_001, 2)).astype(np.float32)
    rows[:, 1] = np.arange(len(rows)) % 4
    few = [SKETCHER.summarise(rows[at : at + 10_000]) for at in range(0, len(rows), 10_000)]
    assert same(SKETCHER.summarise(rows), merge(few))


def test_the_mean_of_a_number_is_known_in_its_own_unit():
    rows = np.array([[1.0, 0], [4.0, 0], [np.nan, 0]], dtype=np.float32)
    assert SKETCHER.means_of(SKETCHER.summarise(rows))[0] == pytest.approx(2.5, abs=1e-4)
    assert np.isnan(SKETCHER.means_of(SKETCHER.empty())[0])


def test_multiclass_predictions_are_watched_by_highest_score_and_its_class():
    scores = np.array([[0.1, 0.7, 0.2], [0.5, 0.3, 0.2]], dtype=np.float32)
    np.testing.assert_allclose(prediction_columns("multiclass", scores), [[0.7, 1], [0.5, 0]])
    np.testing.assert_array_equal(prediction_columns("binary", scores[:, :1]), scores[:, :1])


def test_values_of_more_decimals_than_the_reference_needed_are_counted_where_that_is_known():
    columns = [Column(name=str(d), type="number", edges=[0.0, 9.0], decimals=d) for d in (None, 0, 1)]
    matrix = np.array([[1.25] * 3, [1.5] * 3, [np.nan] * 3, [2.0] * 3], dtype=np.float32)
    assert Sketcher(columns).summarise(matrix).quality[:, FINER].tolist() == [0, 2, 1]
