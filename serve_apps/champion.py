"""The champion a replica holds: loads, warms and compares a new one while the old one goes on answering.

A swap is one assignment. At most two bundles are held: the current one, and the one before it for requests
that are still under way.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from cluster import storage
from cluster.bundle import Bundle, Part
from cluster.errors import HomeostatError, NoChampion, Unavailable
from cluster.records import Pointer, Pointers
from cluster.registry import read_pointers

logger = logging.getLogger("homeostat.serve")


class Champion:
    """Follows the published champion pointer.

    Parameters
    ----------
    pointers
        URI of the published pointers (`Places.pointers`).
    parts
        Which graphs this replica scores with.

    Raises
    ------
    NoChampion
        When nothing has been promoted yet.
    """

    def __init__(self, pointers: str, *, parts: Iterable[Part]) -> None:
        self._uri = pointers
        self._parts = tuple(parts)
        self._cache = Path(tempfile.gettempdir()) / "homeostat-bundles"
        self._refused: str | None = None
        published = self._read()
        if published is None or published.champion is None:
            raise NoChampion(f"no champion is published at '{pointers}'; train one with: homeostat train YOUR.yaml")
        self.current = self._load(published.champion)
        self._held = {self.current.version: self.current}

    def _read(self) -> Pointers | None:
        return read_pointers(self._uri)

    def _load(self, pointer: Pointer) -> Bundle:
        bundle = Bundle(storage.fetch_folder(pointer.uri, self._cache), version=pointer.version, digest=pointer.digest, parts=self._parts)
        bundle.warm()
        return bundle

    def refresh(self) -> bool:
        """Look at the pointer and swap if it moved; returns whether it did.

        A champion that cannot be loaded is refused and logged once; the old one goes on answering.
        """
        try:
            published = self._read()
        except HomeostatError as error:
            logger.warning("cannot read the champion pointer: %s", error)
            return False
        wanted = published.champion if published else None
        if wanted is None or wanted.version in (self.current.version, self._refused):
            return False
        try:
            bundle = self._held.get(wanted.version) or self._load(wanted)
            self._compare(bundle)
        except HomeostatError as error:
            logger.error("refused champion %s: %s; version %s goes on answering", wanted.version, error, self.current.version)
            self._refused = wanted.version
            return False
        self._refused = None
        self._held = {self.current.version: self.current, bundle.version: bundle}
        self.current = bundle
        return True

    def _compare(self, bundle: Bundle) -> None:
        """Score a probe with the old and the new bundle: a new one that answers nonsense never gets a request."""
        probe = np.zeros((8, len(bundle.schema.features)), dtype=np.float32)
        for part in self._parts:
            scores = bundle.student(probe) if part == "student" else bundle.ensemble(probe)
            if not np.isfinite(scores).all():
                raise Unavailable(f"its {part} answers numbers that are not finite")
        if bundle.schema.names != self.current.schema.names:
            logger.warning("version %s reads other columns than %s: callers must send them", bundle.version, self.current.version)

    def version(self, wanted: str) -> Bundle:
        """The held bundle of a version, loading it when the pointer is ahead of this replica.

        Raises
        ------
        Unavailable
            When it is neither held nor published.
        """
        if held := self._held.get(wanted):
            return held
        self.refresh()
        if held := self._held.get(wanted):
            return held
        raise Unavailable(f"this replica does not hold version {wanted}")
