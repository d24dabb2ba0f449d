"""What is fitted on which rows: every member on each fold, then on all rows with the effort that the folds found. Pure.

The same function runs in this process and on each worker of a Ray Train group; what differs is the crew, and where
finished fits are kept. Rows are in order of time, so a fold is a cut: fit on what came before, validate on the next piece.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import msgspec

from cluster.records import Record
from training.members import Crew, Fit, Member, Rows

Keep = Callable[[str, Callable[[], bytes]], None]
"""Keeps the result of a step by name; every worker calls it, the bytes are asked for where they are kept."""


class Fold(NamedTuple):
    """Fit on the rows [0, train), validate on [train, until)."""

    train: int
    until: int

    def share(self, rank: int, size: int) -> Fold:
        """The same cuts for the worker that holds rows rank, rank + size, ..."""
        return Fold(*(max(0, -(-(cut - rank) // size)) for cut in self))


class Fits(NamedTuple):
    """All that was fitted."""

    folds: list[dict[str, bytes]]
    """Native models by member, a dictionary a fold."""
    efforts: dict[str, int]
    """By member, what the final fit was given."""
    final: dict[str, bytes]
    """Native models fitted on all rows."""


class _Kept(Record, frozen=True, kw_only=True):
    native: bytes
    effort: int


def fit_all(
    members: Sequence[Member],
    rows: Rows,
    folds: Sequence[Fold],
    crew: Crew,
    *,
    done: Mapping[str, bytes] | None = None,
    keep: Keep | None = None,
) -> Fits:
    """Fit every member on each fold and then on all rows.

    Parameters
    ----------
    rows
        This worker's rows in order of time; every label is known.
    folds
        Cuts in this worker's rows.
    crew
        The workers that fit together.
    done
        What an earlier try kept, by step; those steps are not done again.
    keep
        Called with what each step made, and with the state of a step under way under its name and `.partial`.
    """
    known, keep = dict(done or {}), keep or _nowhere

    def step(name: str, member: Member, train: Rows, valid: Rows | None, effort: int | None) -> Fit:
        if name in known:
            kept = msgspec.msgpack.decode(known[name], type=_Kept)
            return Fit(kept.native, kept.effort)
        inside = replace(crew, resume=known.get(f"{name}.partial"), save=lambda state: keep(f"{name}.partial", state))
        fit = member.fit(train, valid, inside, effort=effort)
        keep(name, lambda: msgspec.msgpack.encode(_Kept(native=fit.native, effort=fit.effort)))
        return fit

    by_fold: list[dict[str, Fit]] = []
    for number, (train, until) in enumerate(folds):
        by_fold.append({m.name: step(f"fold-{number}/{m.name}", m, rows[:train], rows[train:until], None) for m in members})
    efforts = {m.name: _effort([fits[m.name].effort for fits in by_fold]) for m in members}
    final = {m.name: step(f"final/{m.name}", m, rows, None, efforts[m.name]).native for m in members}
    return Fits([{name: fit.native for name, fit in fits.items()} for fits in by_fold], efforts, final)


def _effort(found: Sequence[int]) -> int:
    """The mean over folds: the one that validates on an odd week should not decide alone."""
    return round(sum(found) / len(found))


def _nowhere(_name: str, _made: Callable[[], bytes]) -> None:
    return
