"""What a gateway does beside answering: follows the pointers, watches its own load, hands its figures on."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Sequence
from typing import Final

from serve_apps.gateway import Gateway
from serve_apps.meter import Event, Swap
from serve_apps.periodic import Periodic

_LOOK_S: Final = 0.1
"""Between looks at the event loop's lag."""
_EXPORT_S: Final = 1.0
_SLICE: Final = 32
"""Events that are exported at once: some 9 µs each."""
_PAUSE_S: Final = 0.001
Export = Callable[[Sequence[Event], Sequence[Swap]], None]


class Follower:
    """Runs beside a gateway until it is stopped.

    Parameters
    ----------
    gateway
        What answers.
    exports
        Take the events and swaps of a second, in this thread.
    """

    def __init__(self, gateway: Gateway, *, exports: Sequence[Export] = ()) -> None:
        self._gateway = gateway
        self._exports = exports
        self._swaps: list[Swap] = []
        self._asked_at: float | None = None
        follow = [(model.settings.serving.poll_s, functools.partial(self._follow, name)) for name, model in gateway.models.items()]
        self._looking = Periodic("homeostat-looking", [(_LOOK_S, self._look), (_EXPORT_S, self._export)])
        self._following = Periodic("homeostat-following", follow)  # by itself: loading a bundle may take long

    def start(self) -> None:
        """Begin."""
        self._looking.start()
        self._following.start()

    def stop(self) -> None:
        """End, with a last export."""
        self._following.stop()
        self._looking.stop()
        self._export(pause_s=0.0)

    def _look(self) -> None:
        """Note the load; a loop that has not answered the last look yet is late by as long as that."""
        now = time.monotonic()
        self._gateway.load.look(lag_s=now - self._asked_at if self._asked_at is not None else 0.0)
        loop = self._gateway.loop
        if loop is not None and self._asked_at is None and not loop.is_closed():
            self._asked_at = now
            loop.call_soon_threadsafe(self._answered)

    def _answered(self) -> None:
        self._asked_at = None

    def _follow(self, name: str) -> None:
        for swap in self._gateway.models[name].bundles.refresh():
            self._swaps.append(Swap(name, swap.role, swap.version, swap.seconds))

    def _export(self, *, pause_s: float = _PAUSE_S) -> None:
        """Hand on what has been noted, in slices: a thread that computes for 30 ms makes the loop wait for the interpreter's lock."""
        events, swaps = self._gateway.meter.drain(), self._swaps[:]
        del self._swaps[: len(swaps)]
        for first in range(0, max(1, len(events)), _SLICE):
            for export in self._exports:
                export(events[first : first + _SLICE], swaps if first == 0 else ())
            time.sleep(pause_s)
