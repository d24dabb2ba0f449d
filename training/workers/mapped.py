"""Rows in a memory-mapped file of their own on this machine's disk: more of them than memory are no trouble.

The file has no name, so it is gone with the process, however that ends. It lies where temporary files do (`TMPDIR`).
"""

from __future__ import annotations

import mmap
import os
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, TypeVar

import numpy as np
import numpy.typing as npt

from cluster.errors import StorageError
from training.members import Rows

Kind = TypeVar("Kind", np.float32, np.float64)
RELEASE_EVERY_S: Final = 1.0


def blank(rows: int, features: int, *, weighted: bool = False) -> Rows:
    """Rows to be filled in: X float32 of shape (rows, features), y float64 of shape (rows,), and weights if asked for; all zeros.

    Raises
    ------
    StorageError
        When the disk has no room for them.
    """
    return Rows(_file((rows, features), np.float32), _file((rows,), np.float64), _file((rows,), np.float64) if weighted else None)


@contextmanager
def released(rows: Rows, *, every_s: float = RELEASE_EVERY_S) -> Iterator[None]:
    """For the length of the block, give the memory of mapped rows back every so often; they stay in the file and in the system's cache.

    Pages that were read once would otherwise stay with the process: of 20 million rows, 1.6 GB that a matrix of XGBoost, once it is
    made, no longer needs. Reading one again costs a fault, and no disk while the cache holds it.
    """
    bases: list[object] = [array.base for array in (rows.X, rows.y, rows.weight) if array is not None]
    maps = [base for base in bases if isinstance(base, mmap.mmap)]
    ended = threading.Event()

    def release() -> None:
        while not ended.wait(every_s):
            for mapped in maps:
                mapped.madvise(mmap.MADV_DONTNEED)

    thread = threading.Thread(target=release, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _file(shape: tuple[int, ...], kind: type[Kind]) -> npt.NDArray[Kind]:
    size = int(np.prod(shape)) * np.dtype(kind).itemsize
    if size == 0:
        return np.empty(shape, dtype=kind)
    with tempfile.TemporaryFile(prefix="homeostat-rows-") as file:
        try:
            os.posix_fallocate(file.fileno(), 0, size)  # a full disk is an error here; later it would end the process
        except OSError as error:
            raise StorageError(
                f"no room for {size / 2**30:.1f} GiB of rows in {tempfile.gettempdir()} ({error.strerror}); set TMPDIR to a larger disk"
            ) from error
        return np.memmap(file, dtype=kind, mode="r+", shape=shape)
