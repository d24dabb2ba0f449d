"""Writes the rows of a part as Parquet, in row groups worth reading, holding no more than one of them."""

from __future__ import annotations

from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import fs

_GROUP_ROWS: Final = 1 << 17
_GROUP_BYTES: Final = 32 << 20


class PartWriter:
    """Writes tables of one schema to a Parquet file, in row groups worth reading."""

    def __init__(self, system: fs.FileSystem, path: str) -> None:
        self._system, self._path = system, path
        self._writer: pq.ParquetWriter | None = None
        self._held: list[pa.Table] = []
        self.size = 0
        """Bytes, once closed."""

    @property
    def is_begun(self) -> bool:
        """Whether anything was written or is held to be."""
        return self._writer is not None or bool(self._held)

    def write(self, table: pa.Table) -> None:
        """Append rows."""
        self._held.append(table)
        if sum(t.num_rows for t in self._held) >= _GROUP_ROWS or sum(t.nbytes for t in self._held) >= _GROUP_BYTES:
            self._flush()

    def close(self) -> None:
        """Write what is held, and the file's foot."""
        self._flush()
        if self._writer is not None:
            self._writer.close()
            self.size = self._system.get_file_info(self._path).size or 0

    def _flush(self) -> None:
        if not self._held:
            return
        table = pa.concat_tables(self._held).unify_dictionaries()
        self._held = []
        if self._writer is None:
            folded = [field.name for field in table.schema if not pa.types.is_floating(field.type) and field.name != "source_row"]
            self._writer = pq.ParquetWriter(
                self._path,
                table.schema,
                filesystem=self._system,
                use_dictionary=folded,
                compression="zstd",
                store_schema=False,  # readers see text, however we held it
            )
        self._writer.write_table(table, row_group_size=_GROUP_ROWS)
