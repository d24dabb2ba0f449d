"""Which files a bundle may hold, and whether a file is what its name says: formats that are read, never run.

A pickle is code. Renamed to `.json`, it would be refused by the reader one day; here it is refused before anything reads it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from cluster.errors import UnsafeFormat

BEGINNINGS: Final[dict[str, tuple[bytes, ...]]] = {
    ".json": (b"{", b"[", b'"', b"null", b"true", b"false", *(str(digit).encode() for digit in range(10)), b"-"),
    ".onnx": (b"\x08",),  # protobuf's first field, the format's version
    ".ubj": (b"{",),
    ".arrow": (b"ARROW1",),
    ".svg": (b"<",),
    ".html": (b"<",),
    ".md": (b"---", b"#"),
}
"""How a file of each allowed ending begins, white space aside."""
_PICKLED_TYPES: Final = (b"arrow.py_extension_type", b"ray.data.arrow_pickled_object")
"""Arrow extension types whose values or parameters are pickles."""
_LOOKED_AT: Final = 64


def check(path: Path) -> None:
    """Refuse a file that is not of the format its ending says.

    Raises
    ------
    UnsafeFormat
        Naming the file, what it begins with and what is allowed.
    """
    allowed = BEGINNINGS.get(path.suffix)
    if allowed is None:
        raise UnsafeFormat(f"'{path}' cannot be part of a bundle; allowed endings: {', '.join(sorted(BEGINNINGS))}")
    with path.open("rb") as file:
        start = file.read(_LOOKED_AT).lstrip()
    if not start.startswith(allowed):
        raise UnsafeFormat(
            f"'{path}' is no {path.suffix} file: it begins with {start[:8]!r}. A bundle holds no pickles and nothing that could run"
        )
    if path.suffix == ".arrow" and any(name in path.read_bytes() for name in _PICKLED_TYPES):
        raise UnsafeFormat(f"'{path}' is an Arrow file with pickled values; a bundle holds plain types only")
