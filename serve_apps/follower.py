"""What a gateway does beside answering: follows the pointers, watches its own load, hands its figures on.

One thread a process, so that loading a bundle or exporting figures never waits in the event loop's queue.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Sequence
from typing import Final

from serve_apps.gateway import Gateway
from serve_apps.meter import Event, Swap

logger = logging.getLogger("homeostat.serve")
_LOOK_S: Final = 0.1
"""Between looks at the event loop's lag."""
_EXPORT_S: Final = 1.0
Export = Callable[[Sequence[Event], Sequence[Swap]], None]


class Follower:
    """Runs beside a gateway until it is stopped.

    Parameters
    ----------
    gateway
        What answers.
    loop
        Where it answers; None while there is no loop to watch.
    exports
        Take the events and swaps of a second, in this thread.
    """

    def __init__(self, gateway: Gateway, *, loop: asyncio.AbstractEventLoop | None = None, exports: Sequence[Export] = ()) -> None:
        self._gateway = gateway
        self._loop = loop
        self._exports = exports
        self._swaps: list[Swap] = []
        self._stop = threading.Event()
        self._asked_at: float | None = None
        self._thread = threading.Thread(target=self._run, name="homeostat-follower", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End, with a last export."""
        self._stop.set()
        self._thread.join(5)

    def _run(self) -> None:
        due = dict.fromkeys(self._gateway.models, 0.0)
        export_at = 0.0
        while not self._stop.wait(_LOOK_S):
            now = time.monotonic()
            self._look(now)
            for name, model in self._gateway.models.items():
                if now >= due[name]:
                    due[name] = now + model.settings.serving.poll_s
                    self._attempt(lambda name=name: self._follow(name))  # type: ignore[misc] # mypy has no type for such a default
            if now >= export_at:
                export_at = now + _EXPORT_S
                self._attempt(self._export)
        self._attempt(self._export)

    def _look(self, now: float) -> None:
        """Note the load; a loop that has not answered the last look yet is late by as long as that."""
        lag_s = now - self._asked_at if self._asked_at is not None else 0.0
        self._gateway.load.look(lag_s=lag_s)
        if self._loop is not None and self._asked_at is None and not self._loop.is_closed():
            self._asked_at = now
            self._loop.call_soon_threadsafe(self._answered)

    def _answered(self) -> None:
        self._asked_at = None

    def _follow(self, name: str) -> None:
        for swap in self._gateway.models[name].bundles.refresh():
            self._swaps.append(Swap(name, swap.role, swap.version, swap.seconds))

    def _export(self) -> None:
        events, swaps, self._swaps = self._gateway.meter.drain(), self._swaps, []
        for export in self._exports:
            export(events, swaps)

    def _attempt(self, step: Callable[[], None]) -> None:
        try:
            step()
        except Exception:  # a thread's main loop: the next turn may succeed
            logger.exception("a step beside the gateway failed")
