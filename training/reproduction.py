"""Makes a version again and says what differs: rows, code, packages, machine, and every file of the bundle.

What a run found by the clock (searched settings, sizes of the student) is fixed in the bundle's `settings.json`, so on the same machine
with the same number of workers the files come out equal to the bit. Elsewhere, scores on the probe say how far apart they are.
"""

from __future__ import annotations

import msgspec
import numpy as np
import pyarrow as pa

from cluster import bundle as bundles
from cluster import storage
from cluster.bundle import MANIFEST, Bundle
from cluster.errors import DataError
from cluster.records import Record
from cluster.registry import Registry
from cluster.scorer import worst
from cluster.settings import Settings, parse
from training import lineage, pipeline, snapshots
from training.lineage import Lineage
from training.workers import pieces

TIMED = frozenset({"costs.json", "ensemble_rest.onnx", "search.json", "card.md", "card.html"})
"""Hold what a clock said, or are there because of it: not compared."""
TOLERANCE = 1e-3
"""Scores of bundles made on other machines, with another number of workers, threads or a GPU differ by sums added up in another order;
more than this on the probe, in units of the score, is another model."""


class Reproduction(Record, frozen=True, kw_only=True):
    """What came of it."""

    version: str
    rows_from: str
    """`snapshot`, or the source."""
    same_files: list[str]
    different_files: list[str]
    """Of those that both have or one lacks."""
    changed: list[str]
    """What of the circumstances is not as it was, in words."""
    worst_difference: float
    """Between scores of student and ensemble on the probe."""

    @property
    def is_equal(self) -> bool:
        """Whether every file that holds no time is the same to the bit."""
        return not self.different_files

    @property
    def is_close(self) -> bool:
        """Whether the scores agree within `TOLERANCE`."""
        return self.worst_difference <= TOLERANCE


def reproduce(settings: Settings, version: str) -> Reproduction:
    """Train a version again from its own rows and settings, and compare. Registers nothing.

    Raises
    ------
    UnknownVersion
        When there is no such version.
    DataError
        When its rows cannot be had any more.
    """
    work = storage.local_path(settings.places.work(settings.model), need="reproducing a version")
    pointer = Registry(settings).locate(version)
    old = Bundle(storage.fetch_folder(pointer.uri, work), version=version, digest=pointer.digest)
    was = msgspec.convert(old.json("lineage.json"), Lineage)
    if "settings.json" not in old.manifest.files:
        raise DataError(f"version {version} has no settings.json: it was made before versions could be made again")
    then = parse(old.json("settings.json") | {"places": settings.dump()["places"]}, name=f"settings.json of version {version}")
    rows, origin = _rows(then, was)
    unlabelled = None if was.unlabelled_sha256 is None else _kept(then, was.unlabelled_sha256)
    folder = bundles.new_folder(work)
    try:
        made = pipeline.make(then, rows, pipeline.Run(was.run, was.reason, was.seed), folder, unlabelled=unlabelled)
        return _compared(old, Bundle(folder, digest=made.digest), was, made.lineage, origin)
    finally:
        storage.remove_tree(str(folder.parent))


def _rows(settings: Settings, was: Lineage) -> tuple[pa.Table | None, str]:
    if (kept := snapshots.find(settings.places.snapshots(settings.model), was.data_sha256)) is not None:
        return kept, "snapshot"
    if pieces.is_large(settings):
        return None, settings.data.source
    frame = pipeline.read_frame(settings)
    if (found := lineage.hash_table(frame)) != was.data_sha256:
        raise DataError(
            f"the rows of run {was.run} were not kept, and '{settings.data.source}' now holds others: they hash to {found}, "
            f"then to {was.data_sha256}. With training.keep_rows: true, rows of later versions are kept"
        )
    return frame, settings.data.source


def _kept(settings: Settings, name: str) -> pa.Table:
    found = snapshots.find(settings.places.snapshots(settings.model), name)
    if found is None:
        raise DataError(f"the rows without a label that the student learned from were not kept ({name}); set training.keep_rows: true")
    return found


def _compared(old: Bundle, new: Bundle, was: Lineage, now: Lineage, origin: str) -> Reproduction:
    names = sorted((old.manifest.files.keys() | new.manifest.files.keys()) - TIMED - {MANIFEST, "lineage.json"})
    same = [name for name in names if old.manifest.files.get(name) == new.manifest.files.get(name)]
    probe = old.probe()
    apart = 0.0
    if probe is not None:
        apart = max(
            worst(new.student(probe.matrix), probe.expected["student"])[1], worst(new.ensemble(probe.matrix), probe.expected["ensemble"])[1]
        )
    return Reproduction(
        version=old.version,
        rows_from=origin,
        same_files=same,
        different_files=[name for name in names if name not in same],
        changed=_changes(was, now),
        worst_difference=float(np.float64(apart)),
    )


def _changes(was: Lineage, now: Lineage) -> list[str]:
    found = [
        f"{name} was {getattr(was, name)}, is {getattr(now, name)}"
        for name in ("data_sha256", "code_commit", "settings_sha256", "num_workers", "python", "machine")
        if getattr(was, name) != getattr(now, name)
    ]
    return found + [
        f"{name} was {was.pins.get(name)}, is {now.pins.get(name)}" for name in now.pins if was.pins.get(name) != now.pins[name]
    ]
