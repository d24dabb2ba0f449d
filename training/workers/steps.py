"""Finished steps of a fit, kept so that the next try goes on where the last one ended. Knows neither members nor Ray.

A step is a name and bytes (`training.fitting`); the state of a step under way has the name of the step and `.partial`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Final
from urllib.parse import quote, unquote

import numpy as np

from cluster import storage
from training.members import Rows

PARTIAL: Final = ".partial"
PARTIAL_EVERY_S: Final = 30.0
"""The state of a step under way is kept this often: what is lost with a worker is no more than that."""


Made = Callable[[], bytes]
"""Makes the bytes of a step, when they are kept."""


class Pace:
    """Says which states are worth keeping: every finished step, and a state under way when the last one is old enough.

    Parameters
    ----------
    clock
        Seconds, of any origin.
    """

    def __init__(self, clock: Callable[[], float], *, every_s: float = PARTIAL_EVERY_S) -> None:
        self._clock, self._every_s = clock, every_s
        self._last_s = clock()

    def is_due(self, name: str) -> bool:
        """Whether to keep the step `name` now."""
        now = self._clock()
        if name.endswith(PARTIAL) and now - self._last_s < self._every_s:
            return False
        self._last_s = now
        return True


def outdated(name: str) -> str | None:
    """The state that a finished step makes superfluous."""
    return None if name.endswith(PARTIAL) else f"{name}{PARTIAL}"


def write(folder: str, name: str, content: bytes) -> None:
    """Keep a step in a folder, whole or not at all; and no longer what it makes superfluous."""
    storage.write_atomic(f"{folder}/{quote(name, safe='')}", content)
    if (old := outdated(name)) is not None and storage.is_local(folder):
        (Path(storage.local_path(folder, need="")) / quote(old, safe="")).unlink(missing_ok=True)


def read(folder: str) -> dict[str, bytes]:
    """The steps kept in a folder; none when there is no such folder."""
    found = {unquote(uri.rpartition("/")[2]): storage.read_bytes(uri) for uri in storage.list_files(folder)}
    return {name: content for name, content in found.items() if not (name.endswith(PARTIAL) and name.removesuffix(PARTIAL) in found)}


def fingerprint(rows: Rows | None, settings: Iterable[str | bytes]) -> str:
    """Names a fit by what it depends on, so that another one's steps are never taken for its own: 16 hexadecimal digits."""
    digest = hashlib.sha256()
    for item in settings:
        digest.update(hashlib.sha256(item.encode() if isinstance(item, str) else item).digest())
    for array in () if rows is None else (rows.X, rows.y, rows.weight):
        if array is not None:
            digest.update(str(array.shape).encode())
            for start in range(0, len(array), 1 << 16):
                digest.update(np.ascontiguousarray(array[start : start + (1 << 16)]).data)
    return digest.hexdigest()[:16]


def without(steps: Mapping[str, bytes], name: str | None) -> dict[str, bytes]:
    """Steps but one."""
    return {key: content for key, content in steps.items() if key != name}
