"""A number for every row of the journal that looks drawn by chance and never changes: it orders rows and chooses samples.

Sums of floats depend on their order, and a sample on what was drawn. Both go by these marks, so that a monitor that reads the
journal anew, or in another order, comes to the same figures to the bit. Pure.
"""

from __future__ import annotations

from collections.abc import Sequence
from zlib import crc32

import numpy as np
import numpy.typing as npt

Marks = npt.NDArray[np.uint64]


def marks_of(request_ids: Sequence[str], received_ns: Sequence[int], sizes: Sequence[int]) -> Marks:
    """Marks of the rows of requests, end to end; uint64 of shape (sum of sizes,).

    The mixing is SplitMix64's (Steele, Lea & Flood 2014, OOPSLA), of a checksum of the id, the time of reception and the row.

    >>> marks = marks_of(["a", "b"], [7, 8], [2, 1])
    >>> marks[2:].tolist() == marks_of(["b"], [8], [1]).tolist()
    True
    """
    checks = np.array([crc32(request.encode()) for request in request_ids], dtype=np.uint64)
    seeds = _mixed(checks * np.uint64(0x9E3779B97F4A7C15) ^ np.array(received_ns, dtype=np.uint64))
    ends = np.cumsum(sizes)
    rows = np.arange(ends[-1] if len(ends) else 0) - np.repeat(ends - sizes, sizes)
    return _mixed(np.repeat(seeds, sizes) + (rows.astype(np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15))


def _mixed(x: Marks) -> Marks:
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(x ^ (x >> np.uint64(31)))
