"""Ray Data reads what Arrow reads, in the same order."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow import fs

from training.data import reader


@pytest.mark.usefixtures("ray_cluster")
def test_the_cluster_reads_many_files_in_their_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    whole = pa.table({"x": rng.normal(size=3000), "c": np.array(["a", "b"])[rng.integers(0, 2, 3000)]})
    paths = [str(tmp_path / f"{i}.parquet") for i in range(3)]
    for i, path in enumerate(paths):
        pq.write_table(whole.slice(1000 * i, 1000), path)
    monkeypatch.setattr(reader, "RAY_DATA_BYTES", 1)

    assert reader.read_parquet(fs.LocalFileSystem(), str(tmp_path), paths).equals(whole)
