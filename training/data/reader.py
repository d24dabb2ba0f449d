"""Reads Parquet where it pays: small tables in this process, large ones by Ray Data on the whole cluster (a shell)."""

from __future__ import annotations

from typing import Final

import pyarrow as pa
from pyarrow import fs

from training.data import datasets

RAY_DATA_BYTES: Final = 256 * 1024 * 1024
"""Tables of at least this size are read by the cluster: Ray Data needs some ten seconds to begin (docs/decisions/008)."""


def read_parquet(system: fs.FileSystem, base: str, files: list[str]) -> pa.Table:
    """Parquet files as one table, in the order of the files. Tables whose folders are partitions are read here too."""
    size = sum(info.size or 0 for info in system.get_file_info(files))
    if size < RAY_DATA_BYTES or any("=" in file.removeprefix(base) for file in files):
        return datasets.read_parquet(system, base, files)
    return _read_on_cluster(system, files)


def _read_on_cluster(system: fs.FileSystem, files: list[str]) -> pa.Table:
    import ray.data

    from cluster.runtime import connect

    connect()
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.execution_options.preserve_order = True  # rows of equal time keep their place, or no run could be repeated
    blocks = ray.data.read_parquet(files, filesystem=system).to_arrow_refs()
    return pa.concat_tables(ray.get(blocks), promote_options="permissive")
