"""What else a bundle brings that the monitor reads: weak slices, prediction intervals, how much the ensemble was to answer; and the model.

Optional files of older bundles may be absent. A model that cannot be loaded is no error here: then nothing is said that needs one.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec

from cluster import storage
from cluster.bundle import INTERVALS, Bundle, CascadeRule
from cluster.errors import BundleError, StorageError, UnknownVersion
from cluster.intervals import Intervals
from cluster.records import Pointer
from cluster.schema import FeatureSchema
from monitoring import losses
from monitoring.losses import Losses
from monitoring.reasons import Reasons
from monitoring.slices import Slice, parse_all

_log = logging.getLogger(__name__)
_SLICES: Final = "evaluation/slices.json"
_MOST_MODELS: Final = 2
"""Loaded at a time: the champion and the one before."""


class Brought(NamedTuple):
    """What is read of a bundle beside its profile."""

    slices: tuple[Slice, ...]
    intervals: Intervals | None
    by_ensemble: float
    """Share of rows that the ensemble was to answer."""
    tolerance: float
    """Regression: how far apart two answers are that differ."""
    losses: Losses | None
    """What rows cost on the reference; None where the bundle does not tell."""


def read(folder: Path, schema: FeatureSchema) -> Brought:
    """Read the files of a bundle that has been verified.

    Raises
    ------
    BundleError
    """
    try:
        slices = msgspec.json.decode((folder / _SLICES).read_bytes()) if (folder / _SLICES).exists() else {"found": []}
        intervals = msgspec.json.decode((folder / INTERVALS).read_bytes(), type=Intervals) if (folder / INTERVALS).exists() else None
        rule = msgspec.json.decode((folder / "cascade.json").read_bytes(), type=CascadeRule)
        costs = msgspec.json.decode((folder / losses.NAME).read_bytes(), type=Losses) if (folder / losses.NAME).exists() else None
        return Brought(parse_all(_conditions(slices), schema), intervals, 1 - rule.student_share, rule.tolerance or 0.0, costs)
    except msgspec.MsgspecError as error:
        raise BundleError(
            f"the bundle in '{folder}' has a file in evaluation/, {INTERVALS} or cascade.json that cannot be read: {error}"
        ) from error


def _conditions(document: Any) -> list[str]:
    return [str(found["where"]) for found in document["found"]]


class Models:
    """Loads bundles with their graphs, a few at a time.

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
        self._loaded: dict[str, Bundle | None] = {}
        self._reasons: dict[str, Reasons] = {}

    def get(self, version: str) -> Bundle | None:
        """A bundle that can answer; None when it cannot be loaded, which is logged once while it is remembered."""
        if version not in self._loaded:
            while len(self._loaded) >= _MOST_MODELS:
                oldest = next(iter(self._loaded))
                del self._loaded[oldest]
                self._reasons.pop(oldest, None)
            self._loaded[version] = self._load(version)
        return self._loaded[version]

    def reasons(self, version: str) -> Reasons | None:
        """What explains rows of a bundle that can answer."""
        bundle = self.get(version)
        if bundle is not None and version not in self._reasons:
            self._reasons[version] = Reasons(bundle)
        return self._reasons.get(version)

    def _load(self, version: str) -> Bundle | None:
        try:
            pointer = self._locate(version)
            return Bundle(storage.fetch_folder(pointer.uri, self._cache), version=version, digest=pointer.digest)
        except (BundleError, StorageError, UnknownVersion) as error:
            _log.warning("bundle '%s' cannot be tried on live rows: %s", version, error.message)
            return None
