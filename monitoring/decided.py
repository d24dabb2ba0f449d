"""What was decided about a model, as the exporter tells it: which version is champion, and what became of retrains.

Truth is in the published pointers and the ledger. They are read again at each look, so that nothing is lost with a process, be it the
steward's or the monitor's. What cannot be read is left out, and the log says so once.
"""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple, TypeVar

from cluster import storage
from cluster.errors import HomeostatError
from cluster.ledger import Entry, Ledger
from cluster.registry import read_pointers
from cluster.settings import Settings
from monitoring.traces import retrains

OUTCOMES: Final = ("promoted", "refused", "abandoned")
_log = logging.getLogger(__name__)
_T = TypeVar("_T")


class Retrains(NamedTuple):
    """Of a whole ledger."""

    begun: int
    ended: Mapping[str, int]
    """By outcome; those that never came about count 0."""
    last_s: float | None
    """From asking for it to its end, of the one that ended last; None before the first."""


class Decided(NamedTuple):
    """As of one look."""

    champion: str | None = None
    """None where there is none, or the pointers cannot be read."""
    retrains: Retrains | None = None
    """None where the ledger cannot be read."""


def count(entries: Sequence[Entry]) -> Retrains:
    """Of the entries of a ledger, oldest first; times are of writing.

    Raises
    ------
    LedgerCorrupt
        When one holds no event that can be read.
    """
    over = retrains("", entries)
    ended = dict.fromkeys(OUTCOMES, 0) | Counter(run.end.outcome for run in over)
    begun = sum(entry.kind == "RetrainRequest" for entry in entries)
    return Retrains(begun, ended, over[-1].ended - over[-1].asked if over else None)


class DecisionReader:
    """Reads what was decided about one model, again and again; the ledger only when it has grown.

    Parameters
    ----------
    settings
        The model's.
    """

    def __init__(self, settings: Settings) -> None:
        self._pointers = settings.places.pointers(settings.model)
        self._ledger = Ledger(settings.places.ledger(settings.model), clock=lambda: math.nan)  # it is only read
        self._counted: tuple[int, Retrains] | None = None
        self._said: set[str] = set()

    def read(self) -> Decided:
        """As of now."""
        return Decided(self._or_none(self._champion), self._or_none(self._retrains))

    def _champion(self) -> str | None:
        found = read_pointers(self._pointers)
        return None if found is None or found.champion is None else found.champion.version

    def _retrains(self) -> Retrains:
        length = sum(1 for _ in storage.list_files(self._ledger.root, suffix=".json"))
        if self._counted is None or self._counted[0] != length:
            entries = self._ledger.entries()
            self._counted = len(entries), count(entries)
        return self._counted[1]

    def _or_none(self, read: Callable[[], _T]) -> _T | None:
        try:
            return read()
        except HomeostatError as error:
            if error.message not in self._said:
                self._said.add(error.message)
                _log.warning("some metrics are not exported: %s", error.message)
            return None
