"""What the page quotes of a bundle: its profile and what was measured of it before it was sealed. Nothing of it is loaded to score.

A document that a bundle lacks was not measured; one that this version cannot read is named, not guessed at.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeVar

import msgspec

from cluster import bundle, storage
from cluster.errors import HomeostatError
from cluster.records import Interval, Pointer
from cluster.schema import Task
from monitoring import profile
from monitoring.fairness import FairnessReport
from monitoring.profile import Profile

T = TypeVar("T")


class Measured(msgspec.Struct, frozen=True):
    """Of `metrics.json`, what is quoted."""

    held_out: dict[str, dict[str, float]] = {}
    """By who answers: metrics on held-out rows."""
    rows: dict[str, int] = {}


class Importance(msgspec.Struct, frozen=True):
    """What shuffling a feature costs."""

    feature: str
    loss: Interval


class Explained(msgspec.Struct, frozen=True):
    """Of `evaluation/explanation.json`, what is quoted."""

    rows: int
    confidence: float
    loss: str
    importance: list[Importance]


class _Labelled(msgspec.Struct, frozen=True):
    name: str
    task: Task = "binary"


class _Schema(msgspec.Struct, frozen=True):
    label: _Labelled


class BundleFacts(msgspec.Struct, frozen=True, kw_only=True):
    """One version."""

    version: str
    created: str
    label: str
    task: Task
    profile: Profile | None = None
    measured: Measured | None = None
    fairness: FairnessReport | None = None
    explained: Explained | None = None
    unread: list[str] = []
    """What is there and cannot be read, and why."""


_MEASURED: Final = "metrics.json"
_FAIRNESS: Final = "evaluation/fairness.json"
_EXPLAINED: Final = "evaluation/explanation.json"


def read(pointer: Pointer, cache: Path) -> BundleFacts:
    """Verify a bundle and read its documents.

    Raises
    ------
    BundleTampered, BundleError, StorageError
    """
    folder = storage.fetch_folder(pointer.uri, cache)
    manifest = bundle.verify(folder, digest=pointer.digest)
    unread: list[str] = []

    def document(name: str, type_: type[T]) -> T | None:
        return _decode(folder, name, lambda content: msgspec.json.decode(content, type=type_), unread) if name in manifest.files else None

    schema = document("schema.json", _Schema) or _Schema(_Labelled("label"))
    return BundleFacts(
        version=pointer.version,
        created=manifest.created,
        label=schema.label.name,
        task=schema.label.task,
        profile=_decode(folder, "profile.json", profile.read, unread),
        measured=document(_MEASURED, Measured),
        fairness=document(_FAIRNESS, FairnessReport),
        explained=document(_EXPLAINED, Explained),
        unread=unread,
    )


def _decode(folder: Path, name: str, read_: Callable[[bytes], T], unread: list[str]) -> T | None:
    try:
        return read_((folder / name).read_bytes())
    except msgspec.MsgspecError as error:
        unread.append(f"'{name}': {error}")
        return None


class Shelf:
    """Bundles that were read, by version: one never changes.

    Parameters
    ----------
    locate
        Where a version's bundle is.
    cache
        Folder for bundles that lie in an object store.
    """

    def __init__(self, locate: Callable[[str], Pointer], cache: Path) -> None:
        self._locate = locate
        self._cache = cache
        self._found: dict[str, BundleFacts] = {}

    def find(self, version: str, problems: list[str], pointer: Pointer | None = None) -> BundleFacts | None:
        """A version; None, and a line in `problems`, when it cannot be read."""
        if version not in self._found:
            try:
                self._found[version] = read(pointer or self._locate(version), self._cache)
            except HomeostatError as error:
                problems.append(f"bundle {version}: {error.message}")
                return None
        found = self._found[version]
        problems += [f"bundle {version}, {line}" for line in found.unread]
        return found
