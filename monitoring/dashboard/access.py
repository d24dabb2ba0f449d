"""Reads what gateways write to the access log, from where it stopped reading; knows files and nothing of figures.

Lines are `serve_apps.access_log`'s, one process a file, rotated by renaming. Another format is no error: what cannot be read is left out.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec

from monitoring.dashboard.traffic import Line

_PART: Final = 4 << 20
_decode = msgspec.json.Decoder(Line).decode


class AccessReader:
    """Yields new lines at each call.

    Parameters
    ----------
    folder
        The model's, under `places.root`.
    first_bytes
        Of a file that is new to the reader, only so much of its end; None reads all.
    """

    def __init__(self, folder: Path, *, first_bytes: int | None = 4 << 20) -> None:
        self._folder = folder
        self._first_bytes = first_bytes
        self._read_to: dict[int, int] = {}

    def read(self, *, since: float) -> Iterator[Line]:
        """Lines that were written since the last call, of files that were written to after `since`."""
        found = sorted(self._folder.glob("*.jsonl*")) if self._folder.is_dir() else []
        for path in found:
            try:
                facts = path.stat()
                if facts.st_mtime >= since:
                    yield from self._new(path, facts.st_ino, facts.st_size)
            except FileNotFoundError:
                continue  # rotated away while we looked

    def _new(self, path: Path, inode: int, size: int) -> Iterator[Line]:
        start = 0 if self._first_bytes is None else max(0, size - self._first_bytes)
        at = self._read_to.get(inode, start)
        with path.open("rb") as file:
            file.seek(at)
            while at < size and (part := file.read(min(_PART, size - at))):
                whole = part.rfind(b"\n") + 1
                if not whole:
                    break  # a line that is still being written
                at += whole
                file.seek(at)
                yield from _lines(part[:whole])
        self._read_to[inode] = at


def _lines(part: bytes) -> Iterator[Line]:
    for line in part.splitlines():
        try:
            yield _decode(line)
        except msgspec.MsgspecError:
            continue  # begun in the middle, or torn
