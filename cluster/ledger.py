"""The ledger: the append-only history of decisions about one model.

One JSON file an entry, numbered and hash-chained. An entry is created only if its number is free, so two
writers cannot both believe that they were next: the second gets `LedgerConflict`, reads again and decides again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import msgspec

from cluster import storage
from cluster.errors import LedgerConflict, LedgerCorrupt
from cluster.records import GateVerdict, Promotion, Record, RetrainRequest


class Trained(Record, frozen=True, kw_only=True):
    """A challenger was trained and registered."""

    run: str
    version: str
    rows: int
    seconds: float


class Attempt(Record, frozen=True, kw_only=True):
    """Training or judging of a run was begun."""

    run: str
    number: int


class Closed(Record, frozen=True, kw_only=True):
    """A run ended."""

    run: str
    outcome: str
    """`promoted`, `refused` or `abandoned`."""
    reason: str
    now: float


class Judged(Record, frozen=True, kw_only=True):
    """A challenger was judged."""

    run: str
    version: str
    champion: str
    verdict: GateVerdict


Event = RetrainRequest | Attempt | Trained | Judged | Promotion | Closed
_EVENTS: dict[str, type[Event]] = {cls.__name__: cls for cls in (RetrainRequest, Attempt, Trained, Judged, Promotion, Closed)}


class Entry(Record, frozen=True, kw_only=True):
    """One line of history."""

    number: int
    written: float
    """Seconds since 1970 UTC."""
    kind: str
    event: msgspec.Raw
    previous: str
    """SHA-256 of the entry before, in hex; empty for the first."""

    def read(self) -> Event:
        """The event, in its own type.

        Raises
        ------
        LedgerCorrupt
            When it is of no known kind, or does not fit its kind.
        """
        try:
            return msgspec.json.decode(self.event, type=_EVENTS[self.kind])
        except (KeyError, msgspec.MsgspecError) as error:
            raise LedgerCorrupt(f"ledger entry '{self.number:08d}.json' holds no event that can be read: {error}") from error


class Ledger:
    """The history of one model.

    Parameters
    ----------
    root
        A local or shared folder.
    clock
        Seconds since 1970 UTC.
    """

    def __init__(self, root: str, *, clock: Callable[[], float]) -> None:
        self.root = root
        self._clock = clock

    def entries(self) -> list[Entry]:
        """All of it, oldest first.

        Raises
        ------
        LedgerCorrupt
            When an entry is missing or was altered.
        """
        found: list[Entry] = []
        previous = ""
        for number, uri in enumerate(storage.list_files(self.root, suffix=".json")):
            content = storage.read_bytes(uri)
            try:
                entry = msgspec.json.decode(content, type=Entry)
            except msgspec.MsgspecError as error:
                raise LedgerCorrupt(f"ledger entry '{uri}' cannot be read: {error}") from error
            if entry.number != number or entry.previous != previous:
                raise LedgerCorrupt(f"ledger entry '{uri}' does not follow the one before it: an entry was removed or altered")
            previous = hashlib.sha256(content).hexdigest()
            found.append(entry)
        return found

    def events(self) -> list[Event]:
        """Their events, oldest first."""
        return [entry.read() for entry in self.entries()]

    def append(self, event: Event, *, after: int | None = None) -> int:
        """Add an event; returns its number.

        Parameters
        ----------
        after
            How many entries the caller had read when it decided; None when the event depends on none of them.

        Raises
        ------
        LedgerConflict
            When `after` is given and somebody else has written since.
        """
        while True:
            entries = self.entries()
            number = len(entries)
            if after is not None and number != after:
                raise LedgerConflict(f"the ledger in '{self.root}' has {number} entries, not {after}: somebody else decided first")
            previous = hashlib.sha256(storage.read_bytes(self._uri(number - 1))).hexdigest() if number else ""
            raw = msgspec.Raw(msgspec.json.encode(event))
            entry = Entry(number=number, written=self._clock(), kind=type(event).__name__, event=raw, previous=previous)
            if storage.create_exclusive(self._uri(number), msgspec.json.encode(entry)):
                return number
            if after is not None:
                raise LedgerConflict(f"somebody else wrote entry {number} of the ledger in '{self.root}' first")

    def _uri(self, number: int) -> str:
        return f"{self.root}/{number:08d}.json"
