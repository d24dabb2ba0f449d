"""A small load for tests: callers that ask as fast as they are answered, and remember when they were told what.

Each is a `HomeostatClient` in a thread of its own. Without a policy of retries a failed request is counted, not repeated.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from itertools import pairwise
from types import TracebackType
from typing import Any, NamedTuple, Self

import numpy as np
import pytest

from cluster.errors import HomeostatError
from cluster.history import read_history
from cluster.settings import Settings
from serve_apps.client import HomeostatClient, Predictions, Retry
from tests.builders import make_row
from tests.processes import wait_until

ONCE = Retry(attempts=1)


class Failure(NamedTuple):
    """A request without an answer."""

    at: float
    """Of `time.monotonic`."""
    reason: str


class Load:
    """Callers, for as long as the block of `with` takes.

    Parameters
    ----------
    url
        Base URL of the service.
    callers
        Requests in flight.
    row
        What they ask; the row of `make_row` when left out.
    rows
        How often the row is repeated in a request.
    retry
        What a caller does before it gives a request up.
    pause_s
        Between an answer and the next request.
    """

    def __init__(
        self,
        url: str,
        callers: int = 4,
        *,
        row: Mapping[str, Any] | None = None,
        rows: int = 1,
        retry: Retry = ONCE,
        pause_s: float = 0.0,
    ) -> None:
        self.answers: list[Predictions] = []
        self.answered_at: list[float] = []
        self.failures: list[Failure] = []
        self._url, self._rows, self._retry = url, [dict(row or make_row())] * rows, retry
        self._pause_s = pause_s
        self._lock = threading.Lock()  # both lists in one order
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._call) for _ in range(callers)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        self.wait_for_more(20)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _call(self) -> None:
        with HomeostatClient(self._url, retry=self._retry, timeout_s=20) as client:
            while not self._stop.wait(self._pause_s):
                try:
                    answer = client.predict(self._rows)
                except HomeostatError as error:
                    self.failures.append(Failure(time.monotonic(), f"{type(error).__name__}: {error}"))
                    self._stop.wait(0.05)  # whoever is refused and asks again at once takes the processor from what is coming back
                else:
                    with self._lock:
                        self.answers.append(answer)
                        self.answered_at.append(time.monotonic())

    def wait_for_more(self, answers: int, *, timeout_s: float = 60) -> None:
        """Return after so many more answers."""
        wanted = len(self.answers) + answers
        wait_until(lambda: len(self.answers) >= wanted, timeout_s=timeout_s, what=f"{answers} more answers; failures: {self.failures[-3:]}")

    def has_seen(self, version: str) -> bool:
        """Whether a version answers by now."""
        return self.bundles()[version] >= 5

    def bundles(self) -> Counter[str]:
        """Answers by the version that gave them."""
        return Counter(answer.bundle for answer in self.answers)

    def last_at(self, version: str) -> float:
        """When a version answered for the last time, of `time.monotonic`."""
        return max(
            (at for answer, at in zip(self.answers, self.answered_at, strict=False) if answer.bundle == version), default=float("-inf")
        )

    def longest_gap_s(self) -> float:
        """The longest time in which nobody was answered."""
        return max((later - earlier for earlier, later in pairwise(sorted(self.answered_at))), default=0.0)


def unjournaled(answers: Iterable[Predictions], settings: Settings) -> int:
    """How many answers of one row are not in the journal as they were told."""
    history = read_history(settings.places.journal(settings.model), settings.columns)
    scores = np.asarray(history.column("scores").combine_chunks().flatten())
    kept = dict(zip(history.column("request_id").to_pylist(), scores.tolist(), strict=True))
    return sum(kept.get(answer.request_id) != pytest.approx(answer[0].probability, abs=1e-6) for answer in answers)
