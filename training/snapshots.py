"""The rows of training runs, kept by their content: what a version was made of can be had again whatever became of the source.

One Parquet file a frame, named by `training.lineage.hash_table`, so equal frames are kept once. Knows nothing of models.
"""

from __future__ import annotations

import pyarrow as pa
from pyarrow import parquet

from cluster import storage
from cluster.errors import DataError
from training.lineage import hash_table


def keep(place: str, frame: pa.Table) -> str:
    """Write a frame unless it is there; returns its hash.

    Raises
    ------
    StorageError
        When the place cannot be written.
    """
    name = hash_table(frame)
    if not storage.exists(_uri(place, name)):
        sink = pa.BufferOutputStream()
        parquet.write_table(frame, sink, compression="zstd")
        storage.write_atomic(_uri(place, name), sink.getvalue().to_pybytes())
    return name


def find(place: str, name: str) -> pa.Table | None:
    """The frame of this hash; None when it was not kept.

    Raises
    ------
    DataError
        When what is there is something else.
    """
    if not storage.exists(_uri(place, name)):
        return None
    try:
        frame = parquet.read_table(pa.BufferReader(storage.read_bytes(_uri(place, name))))
    except pa.ArrowException as error:
        raise DataError(
            f"the kept rows in '{_uri(place, name)}' cannot be read: {error}; they were damaged: remove the file, and the source is read instead"
        ) from error
    if (found := hash_table(frame)) != name:
        raise DataError(
            f"the kept rows in '{_uri(place, name)}' hash to {found}, not to their name; they were damaged or altered: remove the file, and the source is read instead"
        )
    return frame


def _uri(place: str, name: str) -> str:
    return f"{place}/{name}.parquet"
