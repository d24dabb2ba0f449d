"""Rows in a file of their own."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest

from cluster.errors import StorageError
from training.members import Rows
from training.workers import mapped


def test_rows_lie_in_a_file_without_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    rows = mapped.blank(1000, 3, weighted=True)
    assert (rows.X.shape, rows.y.shape) == ((1000, 3), (1000,))
    assert (rows.X.dtype, rows.y.dtype) == (np.dtype(np.float32), np.dtype(np.float64))
    assert rows.weight is not None
    assert isinstance(rows.X, np.memmap)
    assert isinstance(rows[10:20].X, np.memmap)
    rows.X[5] = 1.5
    assert rows.X.sum() == 4.5
    assert list(tmp_path.iterdir()) == []


def test_no_rows_need_no_file() -> None:
    rows = mapped.blank(0, 3)
    assert (len(rows), rows.X.shape, rows.weight) == (0, (0, 3), None)


def test_a_full_disk_is_told_before_anything_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with pytest.raises(StorageError, match=rf"no room for 3725290.3 GiB of rows in {tmp_path} \(.*\); set TMPDIR to a larger disk"):
        mapped.blank(10**12, 1000)


def resident_kib() -> int:
    """Pages of mapped files that this process holds."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("RssFile:"))
    return int(line.split()[1])


def test_memory_of_mapped_rows_is_given_back_and_their_values_stay() -> None:
    rows = mapped.blank(500_000, 10)
    rows.X[:] = 1.5
    held = resident_kib()
    assert held > 19_000
    given_back = threading.Event()
    with mapped.released(rows, every_s=0.001):
        while resident_kib() > held - 15_000:
            given_back.wait(0.001)
    assert float(rows.X.sum(dtype=np.float64)) == 7_500_000


def test_rows_in_memory_are_left_alone() -> None:
    rows = Rows(np.ones((4, 2), dtype=np.float32), np.ones(4))
    with mapped.released(rows, every_s=0.0001):
        assert rows.X.sum() == 8
