"""Reads a model's journal into the collector, chunk by chunk, and knows how far it has read. Nothing is lost when a chunk cannot be taken."""

from __future__ import annotations

import copy
import gc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from cluster import storage
from cluster.journal import FRAME_OVERHEAD, Entry, Tail
from monitoring.collector import Collector

_CHUNK_BYTES: Final = 32 << 20
_HEADER_BYTES: Final = 256
"""Of an empty segment."""


class Reading:
    """One journal.

    Parameters
    ----------
    journal
        Its root.
    collector
        What takes the entries.
    """

    def __init__(self, journal: str, collector: Collector) -> None:
        self._journal = journal
        self._collector = collector
        self._tail = Tail(journal)
        self._scout: Tail | None = None
        self._read_to: dict[str, int] = {}
        self._unread: list[Entry] = []

    def read_all(self) -> None:
        """Take in all that has been written to any segment.

        Raises
        ------
        JournalCorrupt, StorageError, RegistryError
            The next call takes up where this one failed.
        """
        self._take()  # what an earlier call had read and could not use
        while self._take_next() > _CHUNK_BYTES // 2:  # less: the budget was not used up, every segment was read to its end
            pass
        self._scout = None

    def lag(self) -> int:
        """Bytes that are written and not taken."""
        root = storage.local_path(self._journal, need="the journal")
        sizes = {path.stem: path.stat().st_size for path in root.glob("*.seg")} if root.is_dir() else {}
        return sum(max(size - self._read_to.get(segment, _HEADER_BYTES), 0) for segment, size in sizes.items())

    def _take_next(self) -> int:
        """Read and take one chunk; returns its bytes."""
        for entry in self._tail.read(most_bytes=_CHUNK_BYTES):
            self._unread.append(entry)  # one by one: what was read before an error is kept
        size = sum(FRAME_OVERHEAD + len(entry.body) for entry in self._unread)
        if size > _CHUNK_BYTES // 2:
            self._look_ahead()
        self._take()
        return size

    def _look_ahead(self) -> None:
        """Learn which windows are closed by what lies behind this chunk, before its rows are taken."""
        if self._scout is None:
            self._scout = copy.deepcopy(self._tail)
        ahead = True
        while ahead:
            entries = list(self._scout.read(most_bytes=_CHUNK_BYTES))
            self._collector.scout(entries)
            ahead = bool(entries)

    def _take(self) -> None:
        with _no_cyclic_collection():
            self._collector.take(self._unread)
        self._unread = []
        self._read_to = self._tail.positions()


@contextmanager
def _no_cyclic_collection() -> Iterator[None]:
    """Decoding makes many objects and no cycles: looking for cycles meanwhile is lost time."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()
