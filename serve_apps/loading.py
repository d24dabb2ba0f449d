"""Makes a published bundle ready to answer: fetched, verified, loaded, warmed, probed. Which one answers is `champion`'s."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import numpy as np

from cluster import storage
from cluster.bundle import Bundle, Part
from cluster.errors import BundleError, HomeostatError, StorageError
from cluster.records import Pointer
from cluster.schema import Matrix

logger = logging.getLogger("homeostat.serve")
_CACHE: Final = Path(tempfile.gettempdir()) / "homeostat-bundles"
_ZEROS: Final = 8
"""Rows of the probe of a bundle that was sealed without one."""


def fetch(pointer: Pointer) -> Path:
    """The folder of a bundle on this host.

    Raises
    ------
    StorageError
        When it cannot be copied.
    """
    return storage.fetch_folder(pointer.uri, _CACHE)


def load(folder: Path, pointer: Pointer, *, parts: Iterable[Part]) -> Bundle:
    """A bundle that is what was registered, is warm, and scores as it did when it was built.

    Raises
    ------
    BundleError, BundleTampered
        When it is not, or answers numbers that are not finite.
    StorageError
        When the folder cannot be read.
    """
    parts = tuple(parts)
    try:
        bundle = Bundle(folder, version=pointer.version, digest=pointer.digest, parts=parts)
        bundle.warm()
        bundle.check_probe()
        rows = _probe(bundle)
        for part in parts:
            if not np.isfinite(_scores(bundle, part, rows)).all():
                raise BundleError(f"its {part} answers numbers that are not finite")
    except OSError as error:
        raise StorageError(f"the bundle in '{folder}' cannot be read: {error}") from error
    except HomeostatError:
        raise
    except Exception as error:  # the runtimes' errors share no public base
        raise BundleError(f"it cannot score here: {type(error).__name__}: {error}") from error
    return bundle


def tell_difference(new: Bundle, old: Bundle, *, parts: Iterable[Part]) -> None:
    """Log how far a new bundle's scores are from an old one's. To differ is no fault: the gate has judged it."""
    if new.schema.names != old.schema.names:
        logger.warning("version %s of %s reads other columns than %s: callers must send them", new.version, new.manifest.model, old.version)
    if (new.schema.features, new.schema.label) != (old.schema.features, old.schema.label):
        return  # one encoded row would mean two different things
    rows = _probe(new)
    for part in parts:
        distance = np.abs(_scores(new, part, rows) - _scores(old, part, rows)).mean()
        who = f"the {part} of {new.manifest.model} {new.version}"
        logger.info("%s is %.4g from that of %s, on average of %d rows", who, distance, old.version, len(rows))


def _scores(bundle: Bundle, part: Part, rows: Matrix) -> Matrix:
    return bundle.student(rows) if part == "student" else bundle.ensemble(rows)


def _probe(bundle: Bundle) -> Matrix:
    found = bundle.probe()
    return found.matrix if found else np.zeros((_ZEROS, len(bundle.schema.features)), dtype=np.float32)
