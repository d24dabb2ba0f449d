"""Which process reads a Parquet table."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow import fs

from training.data import reader

TABLE = pa.table({"a": list(range(100)), "b": ["x", None] * 50})


def files(folder: Path) -> list[str]:
    for i in range(2):
        pq.write_table(TABLE.slice(50 * i, 50), folder / f"{i}.parquet")
    return [str(folder / "0.parquet"), str(folder / "1.parquet")]


def test_a_small_table_is_read_in_this_process(tmp_path: Path) -> None:
    assert reader.read_parquet(fs.LocalFileSystem(), str(tmp_path), files(tmp_path)).equals(TABLE)


def test_a_large_table_is_read_by_the_cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "RAY_DATA_BYTES", 1)
    monkeypatch.setattr(reader, "_read_on_cluster", lambda _system, paths: ("cluster", paths))
    paths = files(tmp_path)
    assert reader.read_parquet(fs.LocalFileSystem(), str(tmp_path), paths) == ("cluster", paths)
