"""A Parquet table read row group by row group gives the rows that reading it whole gives, and errors that say where."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cluster.encoder import Encoder
from cluster.errors import DataError, NotEnoughData
from cluster.freeze import close, freeze
from cluster.schema import Feature, FeatureSchema, Label, encode_labels
from cluster.settings import Data, Settings, parse
from training.data import frame
from training.workers import pieces, piecework, summary
from training.workers.pieces import Bounds
from training.workers.roles import HELD, TRAIN, TUNE

SCHEMA = FeatureSchema(
    features=(Feature(name="wind", type="number"), Feature(name="carrier", type="category")),
    label=Label(name="late"),
    time="at",
    protected=("sex",),
)


def table_of(rows: int = 300, *, seed: int = 0) -> pa.Table:
    rng = np.random.default_rng(seed)
    columns: dict[str, Any] = {
        "unused": pa.array(["x" * 10] * rows),
        "wind": pa.array(np.where(rng.random(rows) < 0.1, np.nan, rng.normal(size=rows)), from_pandas=True),
        "carrier": pa.array([[*"ABC", None][i] for i in rng.integers(0, 4, rows)]),
        "sex": pa.array(np.array(["f", "m"])[rng.integers(0, 2, rows)]),
        "late": pa.array([[0, 1, None][i] for i in rng.integers(0, 3, rows)]),
        "at": pa.array(np.arange(rows) + 1e9),
    }
    return pa.table(columns)


def written(folder: Path, *tables: pa.Table, group_rows: int = 70) -> str:
    for number, table in enumerate(tables):
        (folder / "t").mkdir(exist_ok=True)
        pq.write_table(table, folder / "t" / f"{number}.parquet", row_group_size=group_rows)
    return str(folder / "t")


def settings_of(source: str, **training: Any) -> Settings:
    return parse({"model": "m", "data": {"source": source}, "schema": SCHEMA.model_dump(mode="json"), "training": training})


def read(source: str) -> pa.Table:
    return pa.concat_tables(part for piece in pieces.pieces_of(source) for part in pieces.frames(piece, SCHEMA, Bounds()))


def test_the_pieces_are_row_groups_in_order_and_together_the_table(tmp_path: Path) -> None:
    table = table_of()
    source = written(tmp_path, table.slice(0, 100), table.slice(100))
    found = pieces.pieces_of(source)
    assert [piece.rows for piece in found] == [70, 30, 70, 70, 60]
    assert found[3].place == f"'{source}/1.parquet', row group 1"
    assert read(source).equals(frame.from_table(table, SCHEMA))


def test_a_large_row_group_is_decoded_in_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pieces, "BATCH_ROWS", 64)
    table = table_of()
    (piece,) = pieces.pieces_of(written(tmp_path, table, group_rows=300))
    parts = list(pieces.frames(piece, SCHEMA, Bounds()))
    assert len(parts) == 5
    assert pa.concat_tables(parts).equals(frame.from_table(table, SCHEMA))


def test_bounds_and_a_group_are_kept_to(tmp_path: Path) -> None:
    table = table_of()
    source = written(tmp_path, table)
    bounds = pieces.bounds_of(Data(source=source, since=dt.datetime.fromtimestamp(1e9 + 50, dt.UTC), until=None))
    assert bounds == Bounds(since=1e9 + 50)
    whole = frame.between(frame.from_table(table, SCHEMA, group="unused"), *(1e9 + 50, np.inf))
    parts = [part for piece in pieces.pieces_of(source) for part in pieces.frames(piece, SCHEMA, bounds, group="unused")]
    assert pa.concat_tables(parts).equals(whole)


def test_folders_named_key_value_are_columns(tmp_path: Path) -> None:
    for name in ("A", "B"):
        (tmp_path / "t" / f"carrier={name}").mkdir(parents=True)
        pq.write_table(table_of(20).drop_columns("carrier"), tmp_path / "t" / f"carrier={name}" / "0.parquet")
    assert read(str(tmp_path / "t")).column("carrier").unique().to_pylist() == ["A", "B"]


def test_a_file_whose_column_is_all_empty_is_read(tmp_path: Path) -> None:
    table = table_of(40)
    source = written(tmp_path, table, table.set_column(1, "wind", pa.nulls(40)))
    assert read(source).num_rows == 2 * frame.from_table(table, SCHEMA).num_rows


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.set_column(1, "wind", pa.array(["calm"] * 40)), r"column 'wind' is declared a number and holds string"),
        (lambda t: t.drop_columns("carrier"), r"there is no column 'carrier'; there are: unused, wind, sex, late, at"),
        (lambda t: t.set_column(5, "at", pa.array([None] * 40, pa.float64())), r"column 'at' is the time and has 40 empty values"),
    ],
)
def test_what_does_not_fit_is_named_with_file_and_row_group(tmp_path: Path, change: Any, message: str) -> None:
    source = written(tmp_path, table_of(40), change(table_of(40)))
    with pytest.raises(DataError, match=rf"^'{source}/1.parquet', row group 0: {message}"):
        read(source)


def test_a_broken_file_is_named(tmp_path: Path) -> None:
    source = written(tmp_path, table_of(40), table_of(40))
    path = tmp_path / "t" / "1.parquet"
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DataError, match=rf"^'{path}' cannot be read: "):
        pieces.pieces_of(source)


def test_a_table_without_rows_or_files_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NotEnoughData, match="has no rows"):
        pieces.pieces_of(written(tmp_path, table_of(0)))
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="there is no Parquet file at"):
        pieces.pieces_of(str(tmp_path / "empty"))


def test_only_parquet_with_more_rows_than_allowed_or_than_fit_is_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = written(tmp_path, table_of())
    assert pieces.is_large(settings_of(source, stream_rows=299))
    assert not pieces.is_large(settings_of(source, stream_rows=300))
    monkeypatch.setattr(pieces, "_MEMORY_SHARE", 1e-9)
    assert pieces.is_large(settings_of(source, stream_rows=300))
    assert not pieces.is_large(settings_of("flights"))
    (tmp_path / "t.csv").write_text("a,b\n1,2\n")
    assert not pieces.is_large(settings_of(str(tmp_path / "t.csv")))


def summed(source: str, schema: FeatureSchema = SCHEMA, group: str | None = None) -> summary.Counted:
    table = piecework.Table(pieces.pieces_of(source), schema, Bounds(), group)
    looks = [piecework.look(table, 7, {"piece": number}) for number in range(len(table.pieces))]
    return summary.combine([summary.decode(answer["summary"][0]) for look in looks for answer in look], schema)


def test_the_first_look_closes_the_schema_as_the_whole_table_does(tmp_path: Path) -> None:
    whole = frame.from_table(table_of(), SCHEMA)
    counted = summed(written(tmp_path, table_of()))
    assert close(SCHEMA, counted.tally, min_count=5) == freeze(SCHEMA, whole, min_count=5)
    assert counted.keys is not None
    np.testing.assert_array_equal(counted.keys, whole.column(frame.TIME).to_numpy())
    assert sum(counted.rows) == whole.num_rows


def test_the_hash_is_of_the_values_however_they_are_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = summed(written(tmp_path, table_of())).sha256
    monkeypatch.setattr(pieces, "BATCH_ROWS", 16)
    assert summed(written(tmp_path, table_of())).sha256 == first
    other = table_of().to_pydict()
    other["carrier"][7] = "B" if other["carrier"][7] != "B" else "C"
    other["late"][7] = 1
    assert summed(written(tmp_path, pa.table(other))).sha256 != first


def test_labels_that_look_like_numbers_in_one_piece_are_text_when_another_says_so(tmp_path: Path) -> None:
    labels = [pa.array(["1", "2"] * 20), pa.array(["x", "2"] * 20)]
    source = written(tmp_path, *(table_of(40).set_column(4, "late", column) for column in labels))
    assert summed(source).tally.labels == {"1": 20, "2": 40, "x": 20}


def test_groups_give_the_keys_when_there_is_no_time(tmp_path: Path) -> None:
    schema = SCHEMA.model_copy(update={"time": None})
    keys = summed(written(tmp_path, table_of()), schema, "sex").keys
    assert keys is not None
    assert len(np.unique(keys)) == 2
    assert summed(written(tmp_path, table_of()), schema).keys is None


def test_picked_and_encoded_rows_are_those_of_the_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pieces, "BATCH_ROWS", 16)
    whole = frame.from_table(table_of(), SCHEMA)
    schema = freeze(SCHEMA, whole, min_count=5)
    found = pieces.pieces_of(written(tmp_path, table_of(), group_rows=300))
    table = piecework.Table(found, SCHEMA, Bounds(), None)
    at = np.array([0, 3, 17, 150], dtype="<i8")
    kinds = np.array([TUNE, TRAIN, TUNE, TUNE], dtype=np.uint8)
    found_by_role = {
        answer["role"][0]: pa.ipc.open_stream(answer["frame"][0]).read_all()
        for answer in piecework.pick(table, {"piece": 0, "rows": at.tobytes(), "roles": kinds.tobytes()})
    }
    assert found_by_role[TUNE].equals(whole.take([0, 17, 150]))
    assert found_by_role[TRAIN].equals(whole.take([3]))

    part = np.resize(np.array([TRAIN, TUNE, HELD, TRAIN], dtype=np.uint8), 100)
    job = {"piece": 0, "start": 20, "stop": 120, "roles": part.tobytes(), "train_at": 5, "tune_at": 60}
    X, y = np.full((100, 2), -1, dtype=np.float32), np.full(100, -1.0)
    for batch in piecework.encode(table, schema, job):
        X[batch["slot"]], y[batch["slot"]] = batch["X"], batch["y"]
    expected, labels = Encoder(schema).table(whole.slice(20, 100)), encode_labels(schema.label, whole.slice(20, 100).column("late"))
    for role, start in ((TRAIN, 5), (TUNE, 60)):
        stop = start + int((part == role).sum())
        np.testing.assert_array_equal(X[start:stop], expected[part == role])
        np.testing.assert_array_equal(y[start:stop], labels[part == role])
    assert int((y == -1).sum()) == 25


def test_an_error_in_a_task_is_an_answer(tmp_path: Path) -> None:
    table = piecework.Table(pieces.pieces_of(written(tmp_path, table_of(40).drop_columns("wind"))), SCHEMA, Bounds(), None)

    def work(job: piecework.Job) -> Any:
        return piecework.look(table, 7, job)

    (answer,) = piecework.answer(work, pa.table({"piece": [0]}))
    assert answer["error"][0].endswith("row group 0: there is no column 'wind'; there are: unused, carrier, sex, late, at")
