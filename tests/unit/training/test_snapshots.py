from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from cluster.errors import DataError
from training import snapshots
from training.lineage import hash_table

FRAME = pa.table({"miles": [1.0, None, 3.0], "carrier": ["UA", "B6", None], "late": [0, 1, 0], "__time__": [1.0, 2.0, 3.5]})


def test_kept_rows_are_found_by_their_hash_as_they_were(tmp_path: Path) -> None:
    name = snapshots.keep(str(tmp_path), FRAME)
    assert name == hash_table(FRAME)
    found = snapshots.find(str(tmp_path), name)
    assert found is not None
    assert found.equals(FRAME)


def test_equal_rows_are_kept_once(tmp_path: Path) -> None:
    snapshots.keep(str(tmp_path), FRAME)
    snapshots.keep(str(tmp_path), pa.concat_tables([FRAME.slice(0, 1), FRAME.slice(1)]))
    assert len(list(tmp_path.iterdir())) == 1


def test_what_was_not_kept_is_not_found(tmp_path: Path) -> None:
    assert snapshots.find(str(tmp_path), "0" * 64) is None


@pytest.mark.parametrize("change", [lambda content: content[:-40], lambda _: b"", lambda _: None])
def test_damaged_rows_are_refused(tmp_path: Path, change) -> None:
    name = snapshots.keep(str(tmp_path), FRAME)
    path = tmp_path / f"{name}.parquet"
    content = change(path.read_bytes())
    if content is None:
        other = snapshots.keep(str(tmp_path), FRAME.slice(0, 2))
        content = (tmp_path / f"{other}.parquet").read_bytes()
    path.write_bytes(content)
    with pytest.raises(DataError, match="they were damaged"):
        snapshots.find(str(tmp_path), name)
