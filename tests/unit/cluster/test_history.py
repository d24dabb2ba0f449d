from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cluster.errors import DataError
from cluster.history import EXTRA, label_array, read_history
from cluster.journal import Writer
from cluster.records import Audit, LabelEntry, Labels, Prediction
from cluster.schema import FeatureSchema, Label, Scalar
from tests.builders import make_schema

KINDS = Label(name="late", task="multiclass", classes=("a", "b", "c"))
PRICE = Label(name="late", task="regression")


class Clock:
    def __init__(self) -> None:
        self.ns = 0

    def __call__(self) -> int:
        self.ns += 1
        return self.ns


@pytest.fixture
def writer(tmp_path: Path) -> Writer:
    return Writer(str(tmp_path), clock_ns=Clock())


def predict(writer: Writer, times: list[float], *, bundle: str = "1", width: int = 1, score: float = 0.25, **columns: Any) -> str:
    n = len(times)
    sent: dict[str, Any] = {"miles": [100.0] * n, "wind": [None] * n, "carrier": ["B6"] * n, "sex": ["f"] * n} | columns
    scores = np.full((n, width), score, dtype=np.float32).tobytes()
    return writer.append(Prediction(bundle=bundle, event_times=times, columns=sent, scores=scores, by_ensemble=bytes([1] + [0] * (n - 1))))


def tell(writer: Writer, *labels: tuple[str, int, Any]) -> None:
    writer.append(Labels(entries=[LabelEntry(request_id=request, row=row, label=label) for request, row, label in labels]))


def labels_of(root: Path, schema: FeatureSchema | None = None) -> list[Scalar]:
    found: list[Scalar] = read_history(str(root), schema or make_schema()).column("late").to_pylist()
    return found


def test_audits_change_nothing_of_a_history(writer: Writer, tmp_path: Path) -> None:
    request = predict(writer, [10.0, 20.0])
    before = read_history(str(tmp_path), make_schema())
    writer.append(Audit(request_id=request, rows=[1], scores=bytes(4)))
    assert read_history(str(tmp_path), make_schema()).equals(before)


def test_predictions_are_joined_with_their_labels_in_order_of_time(writer: Writer, tmp_path: Path) -> None:
    later, earlier = predict(writer, [20.0, 10.0], miles=[1.0, 2.0]), predict(writer, [15.0], bundle="2", carrier=[7], miles=[3])
    tell(writer, (later, 0, 1), (earlier, 0, 0))
    history = read_history(str(tmp_path), make_schema())
    assert history.column_names == [*EXTRA, "miles", "wind", "carrier", "sex", "late"]
    assert history.select(["request_id", "row", "event_time", "bundle", "by_ensemble", "miles", "carrier", "late"]).to_pylist() == [
        {
            "request_id": later,
            "row": 1,
            "event_time": 10.0,
            "bundle": "1",
            "by_ensemble": False,
            "miles": 2.0,
            "carrier": "B6",
            "late": None,
        },
        {"request_id": earlier, "row": 0, "event_time": 15.0, "bundle": "2", "by_ensemble": True, "miles": 3.0, "carrier": "7", "late": 0},
        {"request_id": later, "row": 0, "event_time": 20.0, "bundle": "1", "by_ensemble": True, "miles": 1.0, "carrier": "B6", "late": 1},
    ]
    assert history.column("scores").to_pylist() == [[0.25]] * 3


def test_rows_of_one_time_stay_in_the_order_of_writing(writer: Writer, tmp_path: Path) -> None:
    predict(writer, [5.0, 5.0, 5.0], miles=[1.0, 2.0, 3.0])
    assert read_history(str(tmp_path), make_schema()).column("miles").to_pylist() == [1.0, 2.0, 3.0]


def test_a_corrected_label_replaces_the_one_received_before(writer: Writer, tmp_path: Path) -> None:
    request = predict(writer, [1.0])
    tell(writer, (request, 0, 0))
    tell(writer, (request, 0, 1))
    assert labels_of(tmp_path) == [1]


def test_of_two_labels_in_one_message_the_second_counts(writer: Writer, tmp_path: Path) -> None:
    request = predict(writer, [1.0])
    tell(writer, (request, 0, 0), (request, 0, 1))
    assert labels_of(tmp_path) == [1]


def test_the_latest_received_label_wins_whichever_writer_is_read_first(tmp_path: Path) -> None:
    clock = Clock()
    writers = [Writer(str(tmp_path), clock_ns=clock) for _ in range(2)]
    requests = [predict(writers[0], [1.0]), predict(writers[0], [2.0])]
    for request, order in zip(requests, (writers, writers[::-1]), strict=True):
        tell(order[0], (request, 0, 0))
        tell(order[1], (request, 0, 1))
    assert labels_of(tmp_path) == [1, 1]


def test_a_label_of_nothing_known_is_left_out(writer: Writer, tmp_path: Path) -> None:
    request = predict(writer, [1.0])
    tell(writer, ("0" * 12 + "-0000-99", 0, 1), (request, 5, 1))
    assert labels_of(tmp_path) == [None]


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        ([1, True, "0", 0.0], [1, 1, 0, 0]),
        ([True, False, "true", None], [True, False, True, None]),
        ([3, "-2", 7.0, None], [3, -2, 7, None]),
        (["a", 1, True, None], ["a", "1", "true", None]),
        (["01", "1", "--2", "2"], ["01", "1", "--2", "2"]),
        ([None, None], [None, None]),
        ([], []),
    ],
)
def test_labels_of_several_types_become_one(sent: list[Scalar], expected: list[Scalar]) -> None:
    assert label_array(make_schema(), sent).to_pylist() == expected


def test_labels_of_a_regression_are_numbers() -> None:
    assert label_array(make_schema(label=PRICE), [1, 2.5, None]).to_pylist() == [1.0, 2.5, None]


def test_bounds_take_the_first_time_in_and_leave_the_last_out(writer: Writer, tmp_path: Path) -> None:
    predict(writer, [1.0, 2.0, 3.0, 4.0])
    predict(writer, [9.0])
    times = read_history(str(tmp_path), make_schema(), since=2.0, until=4.0).column("event_time").to_pylist()
    assert times == [2.0, 3.0]


def test_only_labelled_rows_on_request(writer: Writer, tmp_path: Path) -> None:
    request = predict(writer, [1.0, 2.0])
    tell(writer, (request, 1, 0))
    assert read_history(str(tmp_path), make_schema(), labelled=True).column("event_time").to_pylist() == [2.0]


@pytest.mark.parametrize(("label", "width"), [(make_schema().label, 1), (KINDS, 3), (PRICE, 1)])
def test_an_empty_journal_gives_an_empty_table_of_the_right_columns(tmp_path: Path, label: Label, width: int) -> None:
    history = read_history(str(tmp_path / "none"), make_schema(label=label))
    assert history.num_rows == 0
    assert history.column_names == [*EXTRA, "miles", "wind", "carrier", "sex", "late"]
    assert history.schema.field("scores").type.list_size == width


def test_classes_have_a_score_each(writer: Writer, tmp_path: Path) -> None:
    predict(writer, [1.0, 2.0], width=3, score=0.5)
    assert read_history(str(tmp_path), make_schema(label=KINDS)).column("scores").to_pylist() == [[0.5] * 3] * 2


def test_a_bundle_that_knows_fewer_classes_has_its_scores_filled_up(writer: Writer, tmp_path: Path) -> None:
    predict(writer, [1.0], width=2, score=0.5)
    predict(writer, [2.0], width=3, score=0.25, bundle="2")
    scores = read_history(str(tmp_path), make_schema(label=KINDS)).column("scores").to_pylist()
    assert scores[0][:2] == [0.5, 0.5]
    assert np.isnan(scores[0][2])
    assert scores[1] == [0.25, 0.25, 0.25]


def test_a_column_that_an_older_schema_did_not_have_is_empty(writer: Writer, tmp_path: Path) -> None:
    block = Prediction(bundle="1", event_times=[1.0], columns={"miles": [1.0]}, scores=bytes(4), by_ensemble=bytes(1))
    writer.append(block)
    row = read_history(str(tmp_path), make_schema()).to_pylist()[0]
    assert (row["miles"], row["wind"], row["carrier"], row["sex"]) == (1.0, None, None, None)


def test_a_column_that_was_no_number_when_it_was_journaled_is_named(writer: Writer, tmp_path: Path) -> None:
    predict(writer, [1.0], wind=["strong"])
    with pytest.raises(DataError, match="column 'wind' is declared a number, and the journal holds other values"):
        read_history(str(tmp_path), make_schema())
