"""Everything the page knows, gathered from where truth lives: verdict log, ledger, pointers, bundles, access log, journal, monitor.

The only part of the page that reads. What cannot be read becomes a sentence in `problems`, for the page must come up when things are bad.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple

from cluster import storage
from cluster.errors import HomeostatError, StorageError
from cluster.ledger import Event, Ledger
from cluster.records import Pointer, Pointers
from cluster.registry import read_pointers
from cluster.settings import Settings
from monitoring.dashboard.access import AccessReader
from monitoring.dashboard.bundles import BundleFacts, Shelf
from monitoring.dashboard.traffic import Traffic
from monitoring.verdicts import VerdictLog, WindowVerdicts

_MOST_BUNDLES: Final = 4
"""Of those that alarms were about, the newest."""
_TRAFFIC_S: Final = 86_400.0


class JournalFiles(NamedTuple):
    """The journal as a folder."""

    segments: int = 0
    bytes: int = 0
    written: float | None = None
    """When something was last appended, seconds since 1970; None for an empty journal."""


class Decision(NamedTuple):
    """An entry of the ledger."""

    number: int
    written: float
    event: Event


@dataclass(frozen=True)
class Facts:
    """All of it at one moment; times are seconds since 1970 UTC."""

    settings: Settings
    now: float
    records: list[WindowVerdicts] = field(default_factory=list)
    """In order of judging."""
    decisions: list[Decision] = field(default_factory=list)
    """Oldest first."""
    pointers: Pointers | None = None
    bundles: Mapping[str, BundleFacts] = field(default_factory=dict)
    """Champion and challenger, and those of the newest alarms; by version."""
    traffic: Traffic = field(default_factory=Traffic)
    journal: JournalFiles = field(default_factory=JournalFiles)
    status: Mapping[str, object] | None = None
    """What the monitor says of itself (`MonitorCore.status`); None where nobody asked it."""
    problems: list[str] = field(default_factory=list)
    """What could not be read, a sentence each."""

    @property
    def champion(self) -> BundleFacts | None:
        """The version that answers, if it can be read."""
        version = self.champion_version
        return None if version is None else self.bundles.get(version)

    @property
    def champion_version(self) -> str | None:
        """What the pointers say."""
        return self.pointers.champion.version if self.pointers and self.pointers.champion else None

    @property
    def logs_all(self) -> bool:
        """Whether the access log holds all requests, and not only those that were refused."""
        return self.settings.serving.access_log == "all"

    def number(self, key: str) -> int:
        """A count of the monitor's; 0 where it has not been asked."""
        found = (self.status or {}).get(key)
        return found if isinstance(found, int) else 0


class FactsReader:
    """Gathers facts again and again; keeps what does not change.

    Parameters
    ----------
    settings
        The model's.
    locate
        Where a version's bundle is.
    cache
        Folder for bundles that lie in an object store.
    whole_log
        Read the access log from its beginning and keep all of it, for a report; otherwise of the last day, and at first only
        the newest 4 MiB of each file.
    """

    def __init__(self, settings: Settings, *, locate: Callable[[str], Pointer], cache: Path, whole_log: bool = False) -> None:
        self._settings = settings
        places, model = settings.places, settings.model
        self._verdicts = VerdictLog(places.verdicts(model))
        self._shelf = Shelf(locate, cache)
        self._keep_s = float("inf") if whole_log else _TRAFFIC_S
        folder = storage.local_path(places.access_log(model), need="the access log")
        self._access = AccessReader(folder, first_bytes=None) if whole_log else AccessReader(folder)
        self._traffic = Traffic()

    def read(self, *, now: float, status: Mapping[str, object] | None = None) -> Facts:
        """All facts at a time, on this machine's clock."""
        problems: list[str] = []
        pointers = self._pointers(problems)
        records = self._records(problems)
        self._traffic.take(self._access.read(since=now - self._keep_s))
        self._traffic.forget(now - self._keep_s)
        return Facts(
            settings=self._settings,
            now=now,
            records=records,
            decisions=self._decisions(problems),
            pointers=pointers,
            bundles=self._bundles(pointers, records, problems),
            traffic=self._traffic,
            journal=_journal(self._settings.places.journal(self._settings.model)),
            status=status,
            problems=problems,
        )

    def _pointers(self, problems: list[str]) -> Pointers | None:
        try:
            return read_pointers(self._settings.places.pointers(self._settings.model))
        except HomeostatError as error:
            problems.append(error.message)
            return None

    def _records(self, problems: list[str]) -> list[WindowVerdicts]:
        try:
            return self._verdicts.read()
        except StorageError as error:
            problems.append(f"verdicts: {error.message}")
            return []

    def _decisions(self, problems: list[str]) -> list[Decision]:
        ledger = Ledger(self._settings.places.ledger(self._settings.model), clock=lambda: 0.0)  # it is only read
        try:
            return [Decision(entry.number, entry.written, entry.read()) for entry in ledger.entries()]
        except HomeostatError as error:
            problems.append(error.message)
            return []

    def _bundles(self, pointers: Pointers | None, records: list[WindowVerdicts], problems: list[str]) -> dict[str, BundleFacts]:
        named = [pointers.champion, pointers.challenger] if pointers else []
        wanted: dict[str, Pointer | None] = {pointer.version: pointer for pointer in named if pointer is not None}
        alarmed = dict.fromkeys(record.bundle for record in reversed(records) if record.alarm is not None)
        for version in list(alarmed)[:_MOST_BUNDLES]:
            wanted.setdefault(version, None)
        found = {version: self._shelf.find(version, problems, pointer) for version, pointer in wanted.items()}
        return {version: facts for version, facts in found.items() if facts is not None}


def _journal(root: str) -> JournalFiles:
    folder = storage.local_path(root, need="the journal")
    facts = [path.stat() for path in folder.glob("*.seg")] if folder.is_dir() else []
    return JournalFiles(len(facts), sum(f.st_size for f in facts), max((f.st_mtime for f in facts), default=None))
