import datetime as dt

import numpy as np
import pyarrow as pa
import pytest

from cluster.errors import DataError, NotEnoughData
from training.data.guesses import fit_sizes, label_facts

DAY = 86400.0


@pytest.mark.parametrize(
    ("values", "task", "positive"),
    [
        ([0, 1, 0, 1, 1], "binary", 1),
        ([0.0, 1.0, 1.0, None], "binary", 1),
        ([True, False, True], "binary", True),
        (["no", "yes", "yes"], "binary", "yes"),
        (["good", "bad", "good"], "binary", "bad"),
        ([3, 7, 7], "binary", 3),
        (["a", "b", "c"], "multiclass", None),
        ([1, 2, 3, 4], "multiclass", None),
        (list(range(21)), "regression", None),
        ([0.5, 1.5], "regression", None),
    ],
)
def test_the_task_follows_from_the_values(values, task, positive):
    facts = label_facts("y", pa.chunked_array([values]))
    assert (facts.task, facts.positive) == (task, positive)
    assert type(facts.positive) is type(positive)


def test_rows_without_a_label_are_counted():
    assert "2 rows without it are not trained on" in label_facts("y", pa.chunked_array([[1, 0, None, None]])).note


@pytest.mark.parametrize("values", [[None, None], [1, 1], ["a", None]])
def test_one_value_is_not_enough(values):
    with pytest.raises(NotEnoughData, match="at least two different values"):
        label_facts("y", pa.chunked_array([values]))


def test_too_many_classes_of_text_and_times_are_refused():
    with pytest.raises(DataError, match="has 101 different values"):
        label_facts("y", pa.chunked_array([[f"v{i}" for i in range(101)]]))
    with pytest.raises(DataError, match="is a time"):
        label_facts("y", pa.chunked_array([[dt.date(2024, 1, 1), dt.date(2024, 1, 2)]]))


@pytest.mark.parametrize(
    ("rows", "days", "expected"),
    [
        (300_000, 365, ("1d", "7d", "90d", "14d", 500, 100)),
        (600, 150, ("7d", "30d", "150d", "60d", 60, 10)),
        (600, 0.5, ("10m", "144m", "90d", "14d", 60, 10)),
        (100_000, 2, ("1h", "10h", "90d", "14d", 500, 100)),
    ],
)
def test_windows_and_gates_fit_the_table(rows, days, expected):
    assert fit_sizes(rows, np.linspace(0, days * DAY, rows)) == expected


def test_without_times_the_defaults_stand_but_for_small_tables():
    assert fit_sizes(600, None) == ("1d", "7d", "90d", "14d", 30, 30)
    assert fit_sizes(10**6, None) == ("1d", "7d", "90d", "14d", 500, 100)


def test_rows_of_one_time_are_sized_as_if_they_had_none():
    assert fit_sizes(600, np.ones(600)) == fit_sizes(600, None)
