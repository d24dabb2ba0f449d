"""The bundles that the monitor meets, each located, fetched and read once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from cluster import storage
from cluster.records import Pointer
from cluster.settings import Settings
from monitoring import brought, impossible, view
from monitoring.agreement import Promise
from monitoring.brought import Brought, Models
from monitoring.impossible import Rule
from monitoring.slices import Slice
from monitoring.view import View


class Library:
    """Of one model.

    Parameters
    ----------
    settings
        The model's.
    locate
        Where a version's bundle is; asked once, for a version never moves.
    cache
        Folder for bundles that lie in an object store.
    """

    def __init__(self, settings: Settings, *, locate: Callable[[str], Pointer], cache: Path) -> None:
        self._columns = settings.columns
        self._is_audited = settings.serving.cascade.audit_share > 0
        self._locate, self._cache = locate, cache
        self._pointers: dict[str, Pointer] = {}
        self._views: dict[str, View] = {}
        self._brought: dict[str, Brought] = {}
        self._rules: dict[str, tuple[Rule, ...]] = {}
        self.models = Models(self._pointer, cache)
        """Those that are loaded with their graphs."""

    def view(self, version: str) -> View:
        """What the tests need of a bundle.

        Raises
        ------
        UnknownVersion, BundleError, StorageError, RegistryError
        """
        if version not in self._views:
            pointer = self._pointer(version)
            loaded = view.load(pointer, self._cache)
            self._brought[version] = brought.read(storage.fetch_folder(pointer.uri, self._cache), loaded.schema)
            self._rules[version] = impossible.rules_of(loaded.schema, self._columns)
            self._views[version] = loaded
        return self._views[version]

    def brought(self, version: str) -> Brought:
        """What else it brings; errors as of `view`."""
        self.view(version)
        return self._brought[version]

    def slices(self, version: str) -> tuple[Slice, ...]:
        """Its weak slices."""
        return self.brought(version).slices

    def rules(self, version: str) -> tuple[Rule, ...]:
        """What its columns must not hold."""
        self.view(version)
        return self._rules[version]

    def promise(self, version: str) -> Promise | None:
        """What its cascade promises, while rows are audited."""
        return self.view(version).promise if self._is_audited else None

    def _pointer(self, version: str) -> Pointer:
        if version not in self._pointers:
            self._pointers[version] = self._locate(version)
        return self._pointers[version]
