"""When a window was over, on the clock of those who received its rows: what came later is late, whenever it is read.

A window closes with the first entry received whose rows' time lies far enough past it. That is a property of the journal, not of
the moment it is looked at, so a monitor that was killed, or reads segments in another order, draws the line at the same entry.
An entry that is written after one that was received later has been judged can still fall on either side of it: no clock orders
two processes that write within the same instant. Pure.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from cluster.schema import Floats

NEVER: Final = 2**63 - 1
Stamps = npt.NDArray[np.int64]
_TOLERANCE_S: Final = 86400.0


class Closings:
    """Learns from entries in any order; answers by when a window's rows, or its labels, had to be there.

    Parameters
    ----------
    window_s
        Length of a window, seconds.
    waits_s
        By look, how long after a window's end it is judged, seconds.
    tolerance_s
        A row whose event time is this far after its own reception closes nothing.

    Examples
    --------
    >>> closings = Closings(window_s=10.0, waits_s={"drift": 2.0})
    >>> for received_ns, time in ((3, 13.0), (1, 4.0), (2, 12.0)):
    ...     closings.note(np.array([time]), [1], [received_ns])
    >>> closings.of(0.0, "drift"), closings.of(10.0, "drift") == NEVER
    (2, True)
    """

    def __init__(self, *, window_s: float, waits_s: Mapping[str, float], tolerance_s: float = _TOLERANCE_S) -> None:
        self._window_s = window_s
        self._waits_s = dict(waits_s)
        self._tolerance_s = tolerance_s
        self._first: dict[str, dict[int, int]] = {look: {} for look in waits_s}
        self.watermark = -math.inf
        """Largest credible event time noted."""

    def note(self, times: Floats, sizes: Sequence[int], received_ns: Sequence[int]) -> None:
        """Take notice of entries.

        Parameters
        ----------
        times
            Event times of their rows, float64, end to end.
        sizes, received_ns
            Rows and reception of each entry.
        """
        counts, received = np.array(sizes, dtype=np.intp), np.array(received_ns, dtype=np.int64)
        counts, received = counts[counts > 0], received[counts > 0]
        if not len(counts):
            return
        limits = np.repeat(received / 1e9 + self._tolerance_s, counts)
        latest = np.maximum.reduceat(np.where(times <= limits, times, -np.inf), np.cumsum(counts) - counts)
        self.watermark = max(self.watermark, float(latest.max()))
        for look, wait_s in self._waits_s.items():
            self._close(self._first[look], np.floor((latest - wait_s) / self._window_s), received)

    def _close(self, first: dict[int, int], windows: Floats, received: Stamps) -> None:
        """Entries that lie in windows, and close all before."""
        for window in np.unique(windows[windows > -np.inf]).tolist():
            first[int(window)] = min(int(received[windows == window].min()), first.get(int(window), NEVER))

    def of(self, start: float, look: str) -> int:
        """When the window that begins at `start` was over for this look, nanoseconds since 1970; `NEVER` while it is open."""
        end = round(start / self._window_s) + 1
        return min((received_ns for window, received_ns in self._first[look].items() if window >= end), default=NEVER)
