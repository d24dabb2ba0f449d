"""When a caller asks again, and how long it waits before. Pure: time and chance are arguments."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Retry:
    """Exponential backoff with full jitter, on top of what the service asks for.

    The defaults outlast the six seconds in which a killed HAProxy comes back. Full jitter: Brooker, "Exponential
    Backoff And Jitter", AWS Architecture Blog, 2015.
    """

    attempts: int = 20
    """Most times that a call is sent."""
    total_s: float = 15.0
    """No attempt begins later than this after the first."""
    base_s: float = 0.1
    """The first pause is at most this long; each next may be twice as long."""
    most_s: float = 2.0
    """No jitter is longer than this."""
    rng: Callable[[], float] = random.random
    """Uniform in [0, 1)."""
    clock: Callable[[], float] = time.monotonic
    """Seconds."""

    def pause_s(self, attempt: int, retry_after: str = "") -> float | None:
        """How long to wait after an attempt, counted from 1; None when it was the last.

        Parameters
        ----------
        retry_after
            The header of that name, in seconds; its other form, a date, is not heeded.

        >>> policy = Retry(attempts=3, rng=lambda: 0.5)
        >>> [policy.pause_s(attempt, "1") for attempt in (1, 2, 3)]
        [1.05, 1.1, None]
        """
        if attempt >= self.attempts:
            return None
        jitter_s = self.rng() * min(self.most_s, self.base_s * 2.0 ** (attempt - 1))
        return jitter_s + (int(retry_after) if retry_after.isdecimal() else 0)
