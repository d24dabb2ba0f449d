"""What is fitted on which rows: each member's effort is found first, then it is fitted on each fold and on all rows. Pure.

The effort (trees, epochs) is found by early stopping on rows that come before every fold's piece. A piece that also stopped the
fit it judges would flatter it, and members that are not stopped would look worse beside it. The fit on all rows judges nothing:
its effort is found anew, on the latest rows. Fits with more rows than those that found their effort are given as many times more
trees, whose number would else stay that of the smaller fit; epochs grow with the rows by themselves.

The same function runs in this process and on each worker of a Ray Train group; what differs is the crew, and where
finished fits are kept. Rows are in order of time, so a fold is a cut: fit on what came before, judge on the next piece.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple, cast

import msgspec

from cluster.records import Record
from training.members import Crew, Fit, Member, Rows

Keep = Callable[[str, Callable[[], bytes]], None]
"""Keeps the result of a step by name; every worker calls it, the bytes are asked for where they are kept."""


class Fold(NamedTuple):
    """Fit on the rows [0, train), judge on [train, until)."""

    train: int
    until: int

    def share(self, rank: int, size: int) -> Fold:
        """The same cuts for the worker that holds rows rank, rank + size, ..."""
        return Fold(*(max(0, -(-(cut - rank) // size)) for cut in self))


class Cuts(NamedTuple):
    """Where rows in order of time are cut."""

    stopping: Fold
    """Its piece stops the fits that find the efforts, and ends where the first of `folds` begins."""
    folds: list[Fold]
    """Their pieces judge."""

    def share(self, rank: int, size: int) -> Cuts:
        """The same cuts for the worker that holds rows rank, rank + size, ..."""
        return Cuts(self.stopping.share(rank, size), [fold.share(rank, size) for fold in self.folds])


class Fits(NamedTuple):
    """All that was fitted."""

    folds: list[dict[str, bytes]]
    """Native models by member, a dictionary a fold."""
    efforts: dict[str, int]
    """By member, what the fit on all rows was given."""
    final: dict[str, bytes]
    """Native models fitted on all rows."""


class _Kept(Record, frozen=True, kw_only=True):
    native: bytes
    effort: int


def fit_all(
    members: Sequence[Member],
    rows: Rows,
    cuts: Cuts,
    crew: Crew,
    *,
    done: Mapping[str, bytes] | None = None,
    keep: Keep | None = None,
) -> Fits:
    """Find every member's effort, then fit it on each fold and on all rows.

    Parameters
    ----------
    rows
        This worker's rows in order of time; every label is known.
    cuts
        Those of this worker's rows.
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

    start, stop = cuts.stopping
    efforts = {m.name: step(f"effort/{m.name}", m, rows[:start], rows[start:stop], None).effort for m in members}
    latest = cuts.folds[0].train
    *growths, whole = _growths(cuts, len(rows), crew)
    by_fold = [
        {
            m.name: step(f"fold-{number}/{m.name}", m, rows[: fold.train], None, m.effort_for(efforts[m.name], growth)).native
            for m in members
        }
        for number, (fold, growth) in enumerate(zip(cuts.folds, growths, strict=True))
    ]
    found = {
        m.name: step(f"latest/{m.name}", m, rows[:latest], rows[latest:], None).effort if efforts[m.name] else 0 for m in members
    }  # a member without effort has none to find
    final = {m.name: step(f"final/{m.name}", m, rows, None, m.effort_for(found[m.name], whole)) for m in members}
    return Fits(by_fold, {name: fit.effort for name, fit in final.items()}, {name: fit.native for name, fit in final.items()})


def _growths(cuts: Cuts, rows: int, crew: Crew) -> list[float]:
    """How many times the rows that found its effort each fold learns from, and the fit on all: as rank 0 sees it, since shares differ by a row."""
    ratios = [fold.train / max(1, cuts.stopping.train) for fold in cuts.folds] + [rows / max(1, cuts.folds[0].train)]
    shared = crew.share([max(1.0, ratio) for ratio in ratios])
    return cast("list[float]", shared)


def _nowhere(_name: str, _made: Callable[[], bytes]) -> None:
    return
