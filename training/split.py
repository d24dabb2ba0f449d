"""Splits rows into those that train and those that validate, the later ones where there is a time."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from cluster.errors import NotEnoughData
from cluster.schema import Floats

Indices = npt.NDArray[np.intp]


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
