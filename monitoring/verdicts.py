"""The verdict log: what was judged, once and for all. One JSON file a window, bundle and look, written exclusively.

A restarted monitor takes its detectors from here, and judges no window twice.
"""

from __future__ import annotations

from typing import Final, Literal

import msgspec

from cluster import storage
from cluster.records import Record, Verdict
from monitoring.drift import Alarm, State
from monitoring.harm import Harm
from monitoring.said import Live

LookKind = Literal["drift", "performance"]


_BESIDE: Final = ("cascade", "data_quality")
"""Kinds that alone say nothing of a window's distribution."""


class WindowVerdicts(Record, frozen=True, kw_only=True):
    """Everything said about one window of one bundle at one look."""

    sequence: int
    """Order of judging, from 0."""
    model: str
    bundle: str
    look: LookKind
    """`drift` once the window is over, `performance` once its labels are due as well."""
    window_start: float
    window_end: float
    rows: int
    """Rows counted in the window at this look."""
    labelled: int = 0
    """Of them, rows whose label had come; counted at the look `performance`."""
    verdicts: list[Verdict] = msgspec.field(default_factory=list)
    """None when the window had too few rows."""
    evidence: float = 0.0
    """Of all metrics together, against `threshold`."""
    threshold: float = 0.0
    alarm: Alarm | None = None
    harm: Harm | None = None
    """How much worse answers probably are, where there is an alarm."""
    cells: dict[str, list[int]] = msgspec.field(default_factory=dict)
    """Of the columns that the alarm blames, by `monitoring.blamed.key_of`: the window's rows in each cell of the profile's histogram, so that now can be shown beside then.
    Empty without an alarm, and at the look `performance`, when the window's histograms are gone."""
    news: list[str] = msgspec.field(default_factory=list)
    """Names of the `data_quality` verdicts that nobody was told of lately."""
    state: State = State()
    """The bundle's detectors after this look."""
    live: Live = Live()
    """What is remembered of the bundle beside them."""

    @property
    def is_judged(self) -> bool:
        """Whether the window had rows enough: audits and impossible values alone say nothing of a distribution."""
        return any(verdict.kind not in _BESIDE for verdict in self.verdicts)

    @property
    def is_told(self) -> bool:
        """Whether somebody is to be told: of an alarm, or of impossible values that are news."""
        return self.alarm is not None or bool(self.news)

    @property
    def file_name(self) -> str:
        """Says what was judged, so that it can be written once only."""
        return f"{self.window_start:+015.0f}-{self.bundle}-{self.look}.json"


class VerdictLog:
    """Appends and reads; keeps what it has read.

    Parameters
    ----------
    root
        The model's folder of verdicts.
    """

    def __init__(self, root: str) -> None:
        self._root = root.rstrip("/")
        self._seen: dict[str, WindowVerdicts] = {}

    def append(self, record: WindowVerdicts) -> WindowVerdicts:
        """Write one record; returns it, or the one that somebody else wrote for the same window first."""
        uri = f"{self._root}/{record.file_name}"
        storage.create_exclusive(uri, msgspec.json.format(msgspec.json.encode(record), indent=1))
        return self._load(uri)

    def read(self) -> list[WindowVerdicts]:
        """All records in order of judging."""
        for uri in storage.list_files(self._root, suffix=".json"):
            self._load(uri)
        return sorted(self._seen.values(), key=lambda record: (record.sequence, record.file_name))

    def _load(self, uri: str) -> WindowVerdicts:
        if uri not in self._seen:
            self._seen[uri] = msgspec.json.decode(storage.read_bytes(uri), type=WindowVerdicts)
        return self._seen[uri]


def read(root: str) -> list[WindowVerdicts]:
    """All that was judged for a model, in order of judging; keep a `VerdictLog` to read again cheaply."""
    return VerdictLog(root).read()
