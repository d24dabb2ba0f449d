"""How busy this process is: what autoscaling and admission go by, measured beside the hot path and not on it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

_LATE_S: Final = 0.2
_KEEP: Final = 0.5
"""Weight of what was known before, at each look."""


class Load:
    """Busy share and lag of one process, from looks at regular intervals.

    Parameters
    ----------
    clock, busy_clock
        Seconds that have passed, and seconds that the process has computed.

    Examples
    --------
    >>> passed, computed = iter([0.0, 1.0]), iter([0.0, 0.5])
    >>> load = Load(clock=lambda: next(passed), busy_clock=lambda: next(computed))
    >>> load.look(lag_s=0.0)
    >>> load.busy
    0.25
    """

    def __init__(self, *, clock: Callable[[], float] = time.monotonic, busy_clock: Callable[[], float] = time.process_time) -> None:
        self._clock, self._busy_clock = clock, busy_clock
        self._at, self._computed = clock(), busy_clock()
        self.busy = 0.0
        """Cores that the process has kept busy, smoothed over looks."""
        self.lag_s = 0.0
        """How late the event loop is, at two looks in a row: a machine that stood still is no load."""
        self._lag_before_s = 0.0

    @property
    def demand(self) -> float:
        """What autoscaling goes by: cores kept busy; at least one when the loop is late, even where the machine gives it less."""
        return max(self.busy, 1.0 if self.lag_s > _LATE_S else 0.0)

    def look(self, *, lag_s: float) -> None:
        """Take note of the time that passed since the last look."""
        now, computed = self._clock(), self._busy_clock()
        if now > self._at:
            share = (computed - self._computed) / (now - self._at)
            self.busy = _KEEP * self.busy + (1 - _KEEP) * share
        self._at, self._computed = now, computed
        self.lag_s = min(lag_s, self._lag_before_s)
        self._lag_before_s = lag_s
