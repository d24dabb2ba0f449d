"""A thread beside the event loop: runs steps at their periods, so that none of them waits in the loop's queue or it in theirs."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence

logger = logging.getLogger("homeostat.serve")


class Periodic:
    """Runs steps until it is stopped. A step that fails is logged, and tried again when it is due.

    Parameters
    ----------
    name
        Of the thread.
    steps
        Each with its period in seconds.
    """

    def __init__(self, name: str, steps: Sequence[tuple[float, Callable[[], object]]]) -> None:
        self._steps = tuple(steps)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End, after the step that is under way."""
        self._stop.set()
        self._thread.join(5)

    def _run(self) -> None:
        due = [time.monotonic() + period for period, _ in self._steps]
        while not self._stop.wait(max(0.0, min(due) - time.monotonic())):
            now = time.monotonic()
            for i, (period, step) in enumerate(self._steps):
                if due[i] <= now:
                    due[i] = now + period
                    attempt(step)


def attempt(step: Callable[[], object]) -> None:
    """Run a step; what goes wrong is logged."""
    try:
        step()
    except Exception:  # a thread's main loop: the next turn may succeed
        logger.exception("a step beside the event loop failed")
