from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from cluster.errors import DataError
from cluster.history import EXTRA, read_history
from cluster.journal import Writer
from cluster.records import LabelEntry, Labels, Prediction
from cluster.schema import OWN_COLUMNS, Feature, FeatureSchema, Label
from tests.builders import make_schema
from training.data.frame import TIME, between, from_history, from_table, join

COLUMNS = ["miles", "wind", "carrier", "sex", "late", TIME]


def table(**changes: Any) -> pa.Table:
    columns = {
        "miles": [100, 200, None],
        "wind": [1.5, float("nan"), 2.0],
        "carrier": ["B6", None, "UA"],
        "sex": ["f", "m", "f"],
        "at": ["2013-01-01T00:00:00", "2013-01-02T00:00:00", "2013-01-03T00:00:00"],
        "late": [1, 0, None],
        "unused": [1, 2, 3],
    }
    return pa.table(columns | changes)


def served(root: Path, *labels: Any, **changes: Any) -> pa.Table:
    """A history of one row a label, at 0 s, 1 s, … after 2013-01-02."""
    n = len(labels)
    writer = Writer(str(root), clock_ns=lambda: 1)
    columns: dict[str, Any] = {"miles": [9.0] * n, "wind": [None] * n, "carrier": ["ZZ"] * n, "sex": ["m"] * n}
    times = [1357084800.0 + i for i in range(n)]
    request = writer.append(Prediction(bundle="1", event_times=times, columns=columns | changes, scores=bytes(4 * n), by_ensemble=bytes(n)))
    told = [LabelEntry(request_id=request, row=i, label=label) for i, label in enumerate(labels) if label is not None]
    writer.append(Labels(entries=told))
    return read_history(str(root), make_schema())


def test_a_source_table_becomes_numbers_strings_classes_and_seconds_without_unlabelled_rows() -> None:
    frame = from_table(table(), make_schema())
    assert frame.column_names == COLUMNS
    assert frame.to_pylist() == [
        {"miles": 100.0, "wind": 1.5, "carrier": "B6", "sex": "f", "late": 1, TIME: 1356998400.0},
        {"miles": 200.0, "wind": None, "carrier": None, "sex": "m", "late": 0, TIME: 1357084800.0},
    ]


def test_the_names_of_our_times_are_those_that_settings_refuse() -> None:
    assert OWN_COLUMNS[0] == TIME
    assert OWN_COLUMNS[1] in EXTRA


def test_a_number_that_is_missing_in_every_row_is_named() -> None:
    with pytest.raises(
        DataError, match=r"column 'wind' is declared a number and is missing in all 3 rows; fill it, or take it out of schema"
    ):
        from_table(table(wind=pa.nulls(3)), make_schema())


def test_a_table_without_time_has_no_time_in_its_frame() -> None:
    assert from_table(table(), make_schema(time=None)).column_names == COLUMNS[:-1]


def test_an_absent_column_is_named() -> None:
    with pytest.raises(DataError, match="no column 'carrier'"):
        from_table(table().drop_columns("carrier"), make_schema())


def test_labels_of_a_regression_are_numbers_and_nan_is_no_label() -> None:
    frame = from_table(table(late=[1, float("nan"), 2.5]), make_schema(label=Label(name="late", task="regression")))
    assert frame.column("late").to_pylist() == [1.0, 2.5]


def test_a_history_becomes_the_same_columns_and_types_as_the_source(tmp_path: Path) -> None:
    history = from_history(served(tmp_path, 1, None, 0), make_schema())
    source = from_table(table(), make_schema())
    assert history.schema.equals(source.schema)
    assert history.column(TIME).to_pylist() == [1357084800.0, 1357084802.0]


def test_rows_of_both_origins_are_put_in_order_of_time(tmp_path: Path) -> None:
    late = from_table(table(at=["2014-01-01T00:00:00", "2012-01-01T00:00:00", "2012-01-01T00:00:00"]), make_schema())
    joined = join(late, from_history(served(tmp_path, 1, 0), make_schema()))
    assert joined.column("miles").to_pylist() == [200.0, 9.0, 9.0, 100.0]


def test_the_wider_frame_gives_up_columns_that_the_other_lacks(tmp_path: Path) -> None:
    joined = join(from_table(table(), make_schema(time=None)), from_history(served(tmp_path, 1), make_schema()))
    assert joined.column_names == COLUMNS[:-1]
    assert joined.num_rows == 3


@pytest.mark.parametrize(
    ("source", "sent", "expected"),
    [
        ([1, 0, None], (True, False), [1, 0, 1, 0]),
        ([True, False, None], (1, 0), [1, 0, 1, 0]),
        ([True, False, None], (True, False), [True, False, True, False]),
        (["1", "x", None], ("1", "2"), ["1", "x", "1", "2"]),
        (["true", "maybe", None], (True, False), ["true", "maybe", "true", "false"]),
        ([1.0, 0.0, None], (1, 0), [1, 0, 1, 0]),
        (["yes", "no", None], ("no", "yes"), ["yes", "no", "no", "yes"]),
    ],
)
def test_labels_of_both_origins_become_one_type(tmp_path: Path, source: list[Any], sent: tuple[Any, ...], expected: list[Any]) -> None:
    early = from_table(table(late=source, at=["2012-01-01T00:00:00"] * 3), make_schema())
    joined = join(early, from_history(served(tmp_path, *sent), make_schema()))
    assert joined.column("late").to_pylist() == expected


def test_an_empty_history_adds_nothing(tmp_path: Path) -> None:
    source = from_table(table(late=["yes", "no", None]), make_schema())
    assert join(source, from_history(served(tmp_path, None), make_schema())).to_pylist() == source.to_pylist()


def test_two_empty_frames_make_an_empty_one(tmp_path: Path) -> None:
    empty = from_table(table(late=[None, None, None]), make_schema())
    joined = join(empty, from_history(read_history(str(tmp_path / "none"), make_schema()), make_schema()))
    assert (joined.num_rows, joined.column_names) == (0, COLUMNS)


def test_between_takes_the_first_time_in_and_leaves_the_last_out() -> None:
    frame = pa.table({"a": [1, 2, 3], TIME: [1.0, 2.0, 3.0]})
    assert between(frame, 1.0, 3.0).column("a").to_pylist() == [1, 2]
    assert between(frame, -math.inf, math.inf).num_rows == 3
    assert between(frame.drop_columns(TIME), 1.0, 3.0).num_rows == 3


@pytest.mark.parametrize("value", [float("inf"), -1e300])
def test_a_number_that_no_model_can_read_is_refused_with_its_column_and_row(value: float) -> None:
    schema = FeatureSchema(features=(Feature(name="miles", type="number"),), label=Label(name="late", classes=(0, 1)))
    table = pa.table({"miles": [1.0, None, value], "late": [0, 1, 0]})
    with pytest.raises(DataError, match="column 'miles' holds 1 numbers that are infinite or too large for 32 bits, first in row 2"):
        from_table(table, schema)
