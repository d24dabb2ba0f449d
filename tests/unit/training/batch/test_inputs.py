"""What is found at a place, and what files say of themselves."""

from __future__ import annotations

import gzip
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cluster.errors import DataError
from tests.unit.training.batch.tables import flights, write_folder
from training.batch import inputs


def test_a_folder_lists_its_parquet_files_in_order(tmp_path: Path) -> None:
    write_folder(tmp_path / "t")
    write_folder(tmp_path / "t" / "day=2", files=1)
    for hidden in ("_work", ".tmp"):
        write_folder(tmp_path / "t" / hidden, files=1)
    (tmp_path / "t" / "notes.txt").write_text("x")
    found = inputs.find(str(tmp_path / "t"))
    assert [file.name for file in found.files] == ["0.parquet", "1.parquet", "2.parquet", "day=2/0.parquet"]
    assert found.kind == "parquet"
    assert found.size == sum((tmp_path / "t" / file.name).stat().st_size for file in found.files)


def test_a_file_is_a_table_of_its_own(tmp_path: Path) -> None:
    pq.write_table(flights(5), tmp_path / "one.parquet")
    found = inputs.find(str(tmp_path / "one.parquet"))
    assert ([file.name for file in found.files], found.is_folder) == (["one.parquet"], False)
    ((_, head),) = inputs.heads(found)
    assert head.types["miles"] == pa.int64()
    assert [cut.piece.rows for cut in head.cuts] == [5]


def test_row_groups_are_pieces_that_know_their_first_row(tmp_path: Path) -> None:
    write_folder(tmp_path, files=1, rows=40, group=16)
    ((_, head),) = inputs.heads(inputs.find(str(tmp_path)))
    assert [(p.start, p.first_row, p.rows) for p, _ in head.cuts] == [(0, 0, 16), (1, 16, 16), (2, 32, 8)]


def test_folders_name_columns(tmp_path: Path) -> None:
    assert inputs.partition_of("carrier=U%20A/day=-3/x=__HIVE_DEFAULT_PARTITION__/0.parquet") == {"carrier": "U A", "day": -3, "x": None}
    write_folder(tmp_path / "day=3", files=1)
    ((_, head),) = inputs.heads(inputs.find(str(tmp_path)))
    assert head.types["day"] == pa.int64()


@pytest.mark.parametrize("ending", ["csv", "csv.gz"])
def test_a_csv_has_text_columns(tmp_path: Path, ending: str) -> None:
    content = b"a;b\r\n1;2\r\n3;4\r\n"
    (tmp_path / f"t.{ending}").write_bytes(gzip.compress(content) if ending.endswith("gz") else content)
    ((_, head),) = inputs.heads(inputs.find(str(tmp_path / f"t.{ending}")))
    assert head.types == {"a": pa.string(), "b": pa.string()}
    (piece,) = [cut.piece for cut in head.cuts]
    assert (piece.start, piece.stop, piece.rows) == ((5, -1, -1) if ending.endswith("gz") else (5, 15, 2))


def test_a_place_without_a_table_is_named(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "t.xlsx").write_bytes(b"x")
    for name, message in (("none.csv", "there is no table at"), ("empty", "holds no Parquet files"), ("t.xlsx", r"allowed: \.parquet")):
        with pytest.raises(DataError, match=message):
            inputs.find(str(tmp_path / name))


def test_a_file_that_is_no_parquet_is_named(tmp_path: Path) -> None:
    write_folder(tmp_path)
    (tmp_path / "1.parquet").write_bytes(b"not Parquet at all")
    with pytest.raises(DataError, match=r"'1\.parquet' of .* cannot be read"):
        list(inputs.heads(inputs.find(str(tmp_path))))


def test_two_columns_of_one_name_are_refused(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes(b"a,b,a\n1,2,3\n")
    with pytest.raises(DataError, match="several columns of one name: 'a'"):
        list(inputs.heads(inputs.find(str(tmp_path / "t.csv"))))
