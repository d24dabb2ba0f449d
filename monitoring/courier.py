"""Sees to it that each alarm of the verdict log is delivered: tried again until accepted, remembered across restarts.

Truth is the verdict log; beside it lies one small file for each alarm that was accepted. Killed between the two, a courier
sends that alarm again, under the same fingerprint. Message and HTTP are `monitoring.webhook`'s.
"""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Callable, Iterable
from typing import Final

import msgspec

from cluster import storage
from cluster.errors import StorageError
from cluster.settings import Settings
from monitoring.verdicts import WindowVerdicts
from monitoring.webhook import Outcome, message, post

_logger = logging.getLogger(__name__)
_FIRST_PAUSE_S: Final = 1.0
_SINCE: Final = "since.json"

Send = Callable[[WindowVerdicts], Outcome]


def of_alarms(settings: Settings, known: list[WindowVerdicts]) -> Courier | None:
    """A model's courier, at work; None when nobody is to be told.

    Parameters
    ----------
    known
        Alarms of the verdict log at this moment.

    Raises
    ------
    StorageError
        When what was delivered cannot be read.
    """
    webhook = settings.monitoring.webhook
    if webhook is None:
        return None
    deliveries = Deliveries(f"{settings.places.verdicts(settings.model)}/delivered", known)
    courier = Courier(
        lambda record: post(webhook, message(record)),
        deliveries,
        longest_pause_s=webhook.longest_pause.total_seconds(),
        rng=random.random,
    )
    courier.offer(known)
    courier.start()
    return courier


def pause_s(failures: int, *, longest_s: float, chance: float) -> float:
    """How long to wait after so many failed rounds in a row: exponential backoff with full jitter, and bounded.

    Parameters
    ----------
    chance
        Uniform in [0, 1).

    >>> [pause_s(failures, longest_s=300, chance=0.5) for failures in (1, 2, 3, 100)]
    [0.5, 1.0, 2.0, 150.0]
    """
    return chance * min(longest_s, _FIRST_PAUSE_S * 2.0 ** min(failures - 1, 30))


class Deliveries:
    """Which alarms need no telling.

    Parameters
    ----------
    root
        Folder of the model's deliveries.
    known
        Alarms of the verdict log at this moment. The first time that anybody is to be told, they are past, and are not told.

    Raises
    ------
    StorageError
    """

    def __init__(self, root: str, known: Iterable[WindowVerdicts]) -> None:
        self._root = root.rstrip("/")
        since = max((record.sequence + 1 for record in known), default=0)
        storage.create_exclusive(f"{self._root}/{_SINCE}", msgspec.json.encode({"sequence": since}))
        self._since = msgspec.json.decode(storage.read_bytes(f"{self._root}/{_SINCE}"), type=dict[str, int])["sequence"]
        self._names = {uri.rpartition("/")[2] for uri in storage.list_files(self._root, suffix=".json")}

    def is_due(self, record: WindowVerdicts) -> bool:
        """Whether nobody has been told yet."""
        return record.sequence >= self._since and record.file_name not in self._names

    def note(self, record: WindowVerdicts) -> None:
        """Remember that it was accepted; in this process even if the disk cannot.

        Raises
        ------
        StorageError
        """
        self._names.add(record.file_name)
        storage.create_exclusive(f"{self._root}/{record.file_name}", b"{}")


class Courier:
    """Delivers from a thread of its own; whoever offers alarms never waits.

    Parameters
    ----------
    send
        One try.
    deliveries
        What has been delivered.
    longest_pause_s
        Between rounds.
    rng
        Uniform in [0, 1).
    """

    def __init__(self, send: Send, deliveries: Deliveries, *, longest_pause_s: float, rng: Callable[[], float]) -> None:
        self._send, self._deliveries = send, deliveries
        self._longest_pause_s, self._rng = longest_pause_s, rng
        self._alarms: list[WindowVerdicts] = []
        self._woken, self._stop = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="courier", daemon=True)
        self.failures = 0
        """Tries that failed, in this process."""

    def start(self) -> None:
        """Begin to deliver."""
        self._thread.start()

    def offer(self, alarms: list[WindowVerdicts]) -> None:
        """All alarms there are, told or not."""
        if len(alarms) != len(self._alarms):
            self._alarms = list(alarms)
            self._woken.set()

    @property
    def waiting(self) -> int:
        """Alarms that were not accepted yet."""
        return len(self._due())

    def stop(self) -> None:
        """End the thread; a try under way is finished first."""
        self._stop.set()
        self._woken.set()
        self._thread.join()

    def deliver(self) -> bool:
        """Try every alarm that waits once, the oldest first, until nobody answers; returns whether none is left."""
        for record in self._due():
            if self._stop.is_set():
                return False
            outcome = self._send(record)
            if not outcome.is_accepted:
                self.failures += 1
                _logger.warning("the alarm %s was not delivered: %s; it is tried again", record.file_name, outcome.reason)
                if outcome.is_down:
                    break
                continue
            try:
                self._deliveries.note(record)
            except StorageError:
                _logger.exception("the alarm %s was delivered, and will be again after a restart", record.file_name)
        return not self._due()

    def _due(self) -> list[WindowVerdicts]:
        return [record for record in self._alarms if self._deliveries.is_due(record)]

    def _run(self) -> None:
        failures = 0
        while not self._stop.is_set():
            try:
                failures = 0 if self.deliver() else failures + 1
            except Exception:  # the main loop: a fault of one round must not silence all later alarms
                self.failures, failures = self.failures + 1, failures + 1
                _logger.exception("alarms could not be delivered; they are tried again")
            self._woken.wait(pause_s(failures, longest_s=self._longest_pause_s, chance=self._rng()) if failures else None)
            self._woken.clear()
