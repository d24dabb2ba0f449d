"""Splits rows into those that teach and those that judge, the later ones where there is a time."""

from __future__ import annotations

from itertools import pairwise
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from cluster.errors import NotEnoughData
from cluster.schema import Floats
from training.fitting import Cuts, Fold

Indices = npt.NDArray[np.intp]
_LEAST_PIECE: Final = 50
"""A fold of fewer rows says nothing; there are fewer folds then."""


def by_time(times: Floats | None, share: float, *, rng: np.random.Generator, rows: int | None = None) -> tuple[Indices, Indices]:
    """Indices of the rows that train and of those that validate, both in order of time.

    The latest `share` of the rows validates. Rows of one time stay together: the cut goes to the nearest place
    between two different times. Without times the rows are drawn at random.

    Parameters
    ----------
    times
        Seconds since 1970, float64 of shape (n,), in any order; None when the table has no time.
    share
        Share of the rows that validate, between 0 and 1.
    rng
        Draws the rows when there are no times.
    rows
        How many rows there are; needed only when `times` is None.

    Raises
    ------
    NotEnoughData
        When either side would be empty.

    Examples
    --------
    >>> train, valid = by_time(np.array([3.0, 1.0, 2.0, 4.0, 4.0]), 0.3, rng=np.random.default_rng(0))
    >>> train.tolist(), valid.tolist()
    ([1, 2, 0], [3, 4])
    """
    if times is None:
        if rows is None:
            raise TypeError("by_time needs either times or rows")
        return _at_random(rows, share, rng)
    order = np.argsort(times, kind="stable")
    ordered = times[order]
    cuts = np.flatnonzero(ordered[1:] > ordered[:-1]) + 1
    if len(cuts) == 0:
        raise NotEnoughData(
            f"the {len(times)} rows cannot be split by time: they are all of one time; give rows of different times, or leave schema.time out"
        )
    cut = cuts[np.argmin(np.abs(cuts - len(times) * (1 - share)))]
    return order[:cut], order[cut:]


class Parts(NamedTuple):
    """Which rows may teach, and which only judge."""

    fit: Indices
    """All that members may be fitted on, in order of time (without times: in an order drawn by lot)."""
    cuts: Cuts
    """In `fit`: its folds' pieces are the validation rows."""
    held: Indices
    """Never fitted on and never chosen by: what is promised is measured on these. In order of time."""


def part(
    times: Floats | None,
    *,
    share: float,
    held_share: float,
    folds: int,
    rng: np.random.Generator,
    rows: int,
    groups: npt.NDArray[np.str_] | None = None,
) -> Parts:
    """Part rows into those that teach and those that judge.

    The latest `share` of the rows validates. `held_share` of these, in runs spread over their whole time, is held out of
    everything; the others are cut into `folds` pieces. Of the rows before them, again the latest `share` tells when to stop.

    Parameters
    ----------
    times, rng, rows
        As for `by_time`.
    share
        Share of the rows that validate.
    held_share
        Share of those that is held out.
    groups
        Without times: rows of one group stay on one side of every cut, shape (n,).

    Raises
    ------
    NotEnoughData
        When a part would be empty.
    """
    if times is None and groups is not None:
        return _part_groups(groups, share=share, held_share=held_share, folds=folds, rng=rng)
    first, last = by_time(times, share, rng=rng, rows=rows)
    if times is None:
        first, last = rng.permutation(first), rng.permutation(last)
    tune, held = interleaved(last, held_share)
    return Parts(np.concatenate([first, tune]), _cuts(len(first), len(tune), share, folds), held)


def _part_groups(groups: npt.NDArray[np.str_], *, share: float, held_share: float, folds: int, rng: np.random.Generator) -> Parts:
    """The same, by whole groups in an order drawn by lot."""
    names, codes = np.unique(groups, return_inverse=True)
    rank = rng.permutation(len(names))[codes]
    order = np.argsort(rank, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(rank[order]) > 0])
    wanted = [len(order) * (1 - share), len(order) * (1 - share * held_share)]
    first, tune = (int(starts[np.argmin(np.abs(starts - cut))]) for cut in wanted)
    if not 0 < first < tune < len(order):
        raise NotEnoughData(f"{len(names)} groups cannot be split; bring more of them, or leave training.group out")
    return Parts(order[:tune], _cuts(first, tune - first, share, folds, starts), order[tune:])


def _cuts(train: int, tune: int, share: float, folds: int, starts: Indices | None = None) -> Cuts:
    """Pieces of about equal size, cut at the nearest of `starts` where given."""
    count = max(1, min(folds, tune // _LEAST_PIECE))
    edges = [train + round(tune * k / count) for k in range(count + 1)]
    if starts is not None:
        edges = [
            edges[0],
            *sorted({int(starts[np.argmin(np.abs(starts - edge))]) for edge in edges[1:-1]} - {edges[0], edges[-1]}),
            edges[-1],
        ]
    stopping = stopping_fold(train, share)
    if starts is not None and (inside := starts[(starts > 0) & (starts < train)]).size:
        stopping = Fold(int(inside[np.argmin(np.abs(inside - stopping.train))]), train)
    return Cuts(stopping, [Fold(a, b) for a, b in pairwise(edges)])


def stopping_fold(rows: int, share: float) -> Fold:
    """Of so many rows in order of time, the latest `share` stops fits on those before it.

    >>> stopping_fold(1000, 0.2)
    Fold(train=800, until=1000)
    """
    return Fold(max(1, rows - max(1, round(rows * share))), rows)


def interleaved(index: Indices, share: float, *, runs: int = 20) -> tuple[Indices, Indices]:
    """Parts indices in order of time into those to tune on and those to promise on; both span the whole time.

    The indices are cut into `runs` runs of neighbours, and the last `share` of each run is held out. So what was
    chosen on the first part can be tested on rows as new as its own, that it has not seen.

    Examples
    --------
    >>> tune, held = interleaved(np.arange(10), 0.4, runs=2)
    >>> tune.tolist(), held.tolist()
    ([0, 1, 2, 5, 6, 7], [3, 4, 8, 9])
    """
    parts = [part for part in np.array_split(index, min(runs, max(1, len(index) // 2))) if len(part)]
    cuts = [len(part) - round(share * len(part)) for part in parts]
    tune = [part[:cut] for part, cut in zip(parts, cuts, strict=True)]
    held = [part[cut:] for part, cut in zip(parts, cuts, strict=True)]
    return np.concatenate(tune), np.concatenate(held)


def _at_random(rows: int, share: float, rng: np.random.Generator) -> tuple[Indices, Indices]:
    held = round(rows * share)
    if held == 0 or held == rows:
        raise NotEnoughData(f"{rows} rows cannot be split: a share of {share:g} leaves {rows - held} to train and {held} to validate")
    order = rng.permutation(rows)
    return np.sort(order[held:]), np.sort(order[:held])
