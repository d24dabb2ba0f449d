"""A challenger's trial on live requests: the challenger pointer is moved, and who moved it and why is written down."""

from __future__ import annotations

from cluster.errors import RegistryError
from cluster.ledger import Ledger
from cluster.records import Promotion
from cluster.registry import Registry


def begin(registry: Registry, book: Ledger, version: str, *, share: float, by: str, reason: str) -> None:
    """Let a version answer a share of the champion's requests, or change the share of one that does.

    Raises
    ------
    NoChampion
        When there is nothing to be tried beside.
    UnknownVersion
        When there is no such version.
    RegistryError
        When it is the champion itself, or the share is not between 0 and 1.
    """
    if registry.champion().version == version:
        raise RegistryError(f"version {version} is the champion and answers all requests already; name another version")
    previous = _challenger(registry)
    registry.move("challenger", version, share=share)
    book.append(Promotion(pointer="challenger", version=version, previous=previous, by=by, reason=reason, share=share))


def end(registry: Registry, book: Ledger, *, by: str, reason: str) -> str | None:
    """Send all requests to the champion again; returns the version that was on trial, None when there was none."""
    previous = _challenger(registry)
    if previous is not None:
        registry.move("challenger", None)
        book.append(Promotion(pointer="challenger", version=None, previous=previous, by=by, reason=reason))
    return previous


def _challenger(registry: Registry) -> str | None:
    challenger = registry.pointers().challenger
    return challenger.version if challenger else None
