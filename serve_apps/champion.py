"""What a replica answers with: follows the published pointers to the champion and to a challenger.

A new bundle is made ready while the old one goes on answering (`serve_apps.loading`); a swap is one assignment. Two
bundles are held at most: the champion, and beside it the challenger, or else the one that answered last, for requests
still under way. A swap that would need a third sends the challenger's requests to the champion meanwhile.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable
from typing import NamedTuple

from cluster.bundle import Bundle, Part
from cluster.errors import HomeostatError, NoChampion, StorageError, Unavailable
from cluster.records import Pointer, Pointers
from cluster.registry import Alias, read_pointers
from serve_apps import loading
from serve_apps.canary import Canary, routing_key
from serve_apps.protocols.plane import Headers

logger = logging.getLogger("homeostat.serve")


class Swap(NamedTuple):
    """A bundle that has begun to answer."""

    role: Alias
    version: str
    seconds: float
    """From the look that found its pointer to the assignment."""


class Trial(NamedTuple):
    """A challenger, and which requests it answers."""

    bundle: Bundle
    canary: Canary


class Serving(NamedTuple):
    """What answers at one moment. A request takes it once, so that all it sees is of one moment."""

    champion: Bundle
    trial: Trial | None = None

    def pick(self, headers: Headers, body: bytes) -> Bundle:
        """The bundle that answers a request; without a challenger, nothing is hashed."""
        if self.trial is not None and self.trial.canary.takes(routing_key(headers, body)):
            return self.trial.bundle
        return self.champion


class Champion:
    """Follows the published pointers.

    Parameters
    ----------
    pointers
        URI of the published pointers (`Places.pointers`).
    parts
        Which graphs this replica scores with.
    clock
        Seconds; only differences count.

    Raises
    ------
    NoChampion
        When nothing has been promoted yet.
    RegistryError, StorageError, BundleError
        When there is a champion and it cannot be had. A challenger that cannot is refused and logged.
    """

    def __init__(self, pointers: str, *, parts: Iterable[Part], clock: Callable[[], float] = time.perf_counter) -> None:
        self._uri = pointers
        self._parts = tuple(parts)
        self._clock = clock
        self._refused: set[Pointer] = set()
        self._told: set[str] = set()
        self._lock = threading.Lock()
        published = read_pointers(self._uri)
        if published is None or published.champion is None:
            raise NoChampion(f"no champion is published at '{pointers}'; train one with: homeostat train YOUR.yaml")
        self.serving = Serving(loading.load(loading.fetch(published.champion), published.champion, parts=self._parts))
        self._held = {self.current.version: self.current}
        self.refresh()  # the challenger, if there is one

    @property
    def current(self) -> Bundle:
        """The champion."""
        return self.serving.champion

    @property
    def challenger(self) -> Bundle | None:
        """The challenger, while it answers requests."""
        return trial.bundle if (trial := self.serving.trial) else None

    @property
    def share(self) -> float:
        """The part of the requests that the challenger answers now."""
        return trial.canary.share if (trial := self.serving.trial) else 0.0

    def version(self, wanted: str) -> Bundle:
        """The held bundle of a version, loading it when the pointers are ahead of this replica.

        Raises
        ------
        Unavailable
            When it is neither held nor published.
        """
        if held := self._held.get(wanted):
            return held
        with self._lock:
            while wanted not in self._held and self._follow():
                pass
            if held := self._held.get(wanted):
                return held
        raise Unavailable(f"this replica does not hold version {wanted}")

    def refresh(self) -> list[Swap]:
        """Look at the pointers and follow them; returns the bundles that have begun to answer.

        One look makes one swap at most, so that requests under way on the bundle before have until the next look.
        A bundle that cannot be used is refused and logged once; what answered goes on answering.
        """
        with self._lock:
            return self._follow()

    def _follow(self) -> list[Swap]:
        began = self._clock()
        published = self._read()
        if published is None or published.champion is None:
            return []
        self._refused &= {published.champion, published.challenger}  # a pointer that moves on and comes back is tried again
        role: Alias = "champion"
        bundle = self._follow_champion(published.champion)
        if bundle is None:
            role, bundle = "challenger", self._follow_challenger(published)
        return [Swap(role, bundle.version, self._clock() - began)] if bundle else []

    def _read(self) -> Pointers | None:
        """The published pointers; None when there are none, or none that can be read: all stays as it is then."""
        try:
            published = read_pointers(self._uri)
        except HomeostatError as error:
            self._tell("pointers", f"cannot follow the pointers: {error}")
            return None
        self._told.discard("pointers")
        return published

    def _follow_champion(self, pointer: Pointer) -> Bundle | None:
        """Let the published champion answer; returns it if it has only now begun to."""
        if pointer.version == self.current.version:
            return None
        bundle = self._obtain("champion", pointer)
        if bundle is not None:
            before = self.current.version
            logger.info("version %s of %s is champion; %s is kept for requests under way", bundle.version, bundle.manifest.model, before)
            self._held = {self.current.version: self.current, bundle.version: bundle}
            self.serving = Serving(bundle)
        return bundle

    def _follow_challenger(self, published: Pointers) -> Bundle | None:
        """Let the published challenger answer its share; returns it if it has only now begun to."""
        pointer, share = published.challenger, published.challenger_share
        if pointer is None or share == 0 or pointer.version == self.current.version:
            self._end_trial()
            return None
        before = self._on_trial()
        if before == (pointer.version, share):
            return None
        bundle = self._obtain("challenger", pointer)
        if bundle is None:
            self._end_trial()
            return None
        logger.info("version %s of %s is challenger and answers %g of the requests", bundle.version, published.model, share)
        self._held = {self.current.version: self.current, bundle.version: bundle}
        canary = Canary(model=published.model, version=bundle.version, share=share)
        self.serving = Serving(self.current, Trial(bundle, canary))
        return None if bundle.version == before[0] else bundle

    def _on_trial(self) -> tuple[str, float]:
        """Version and share of the challenger. No bundle: whoever held it would keep it in memory beside the next two."""
        trial = self.serving.trial
        return (trial.bundle.version, trial.canary.share) if trial else ("", 0.0)

    def _end_trial(self) -> None:
        """Send the challenger's requests to the champion; the bundle stays held for those under way."""
        if self.serving.trial is not None:
            model = self.current.manifest.model
            logger.info("version %s of %s answers as challenger no more", self.serving.trial.bundle.version, model)
            self.serving = Serving(self.current)

    def _obtain(self, role: Alias, pointer: Pointer) -> Bundle | None:
        """The bundle of a pointer, held or loaded; None when it cannot be had."""
        if (held := self._held.get(pointer.version)) or pointer in self._refused:
            return held
        name = f"{role} {pointer.version} of {self.current.manifest.model}"
        try:
            folder = loading.fetch(pointer)
            self._end_trial()
            self._held = {self.current.version: self.current}  # room for a second bundle
            bundle = loading.load(folder, pointer, parts=self._parts)
        except StorageError as error:  # the place may come back
            self._tell(name, f"cannot fetch {name}, trying again: {error}")
            return None
        except HomeostatError as error:
            logger.error("refused %s: %s; version %s goes on answering", name, error, self.current.version)
            self._refused.add(pointer)
            return None
        self._told.discard(name)
        loading.tell_difference(bundle, self.current, parts=self._parts)
        return bundle

    def _tell(self, what: str, trouble: str) -> None:
        """Log a trouble that may pass, once while it lasts."""
        if what not in self._told:
            self._told.add(what)
            logger.warning(trouble)
