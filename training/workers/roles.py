"""Which row of a table in pieces is for what, and which worker holds which: decided from times or keys alone. Pure.

The rules are those of `training.data.split`: the latest share of the rows validates, and runs of neighbours among these are held out.
Rows without a time are parted by a key each, drawn from their position or their group.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from itertools import pairwise
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from cluster.errors import NotEnoughData
from cluster.schema import Floats
from training.data.split import interleaved

Roles = npt.NDArray[np.uint8]
TRAIN: Final = 0
TUNE: Final = 1
HELD: Final = 2
_PER_WORKER: Final = {TRAIN: 2, TUNE: 4}
"""A worker's rows of a kind are dealt in at least so many stints; few pieces hold validation rows, so these are cut finer."""


class Stint(NamedTuple):
    """Rows of a piece that one worker holds: [start, stop) of the frames that the piece gives."""

    piece: int
    start: int
    stop: int


def by_time(times: Floats, *, share: float, held_share: float) -> Roles:
    """Roles by time; exactly those that `split.by_time` and `split.interleaved` give.

    Parameters
    ----------
    times
        Seconds since 1970, float64 of shape (n,), in any order.
    share
        Share of the rows that validates: the latest.
    held_share
        Share of those that is held out.

    Raises
    ------
    NotEnoughData
        When all rows are of one time.
    """
    roles = np.full(len(times), TRAIN, dtype=np.uint8)
    last = np.flatnonzero(times >= _cut(np.sort(times), share))
    tune, held = interleaved(last[np.argsort(times[last], kind="stable")], held_share)
    roles[tune], roles[held] = TUNE, HELD
    return roles


def by_key(keys: Floats, *, share: float, held_share: float) -> Roles:
    """Roles by a key a row, float64 of shape (n,); rows of one key stay together.

    Raises
    ------
    NotEnoughData
        When there are too few different keys.
    """
    ordered = np.sort(keys)
    first, second = _cut(ordered, share), _cut(ordered, share * held_share)
    if first == second:
        raise NotEnoughData("the groups are too few or too large to be split; bring more of them, or leave training.group out")
    return ((keys >= first).astype(np.uint8) + (keys >= second)).astype(np.uint8)


def _cut(ordered: Floats, share: float) -> float:
    """The value at or above which the last `share` lies: of the places between different values, the nearest."""
    wanted = len(ordered) * (1 - share)
    value = ordered[min(int(wanted), len(ordered) - 1)]
    before, after = np.searchsorted(ordered, value, "left"), np.searchsorted(ordered, value, "right")
    places = [place for place in (before, after) if 0 < place < len(ordered)]
    if not places:
        raise NotEnoughData(
            f"the {len(ordered)} rows cannot be split: nearly all are of one time, or one group; give rows of different times or groups"
        )
    return float(ordered[min(places, key=lambda place: abs(place - wanted))])


def keys_of_positions(rows: int, *, seed: int, first: int = 0) -> Floats:
    """A key in [0, 1) for each of the positions first, first + 1, ...: float64 of shape (rows,).

    The output function of SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014), of which the
    upper 53 bits are used.
    """
    with np.errstate(over="ignore"):
        z = np.arange(1, rows + 1, dtype=np.uint64) + np.uint64(first) + (np.uint64(seed % 2**32) << np.uint64(32))
        z *= np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray((z ^ (z >> np.uint64(31))) >> np.uint64(11), dtype=np.float64) / 2.0**53


def keys_of_groups(groups: pa.Array, *, seed: int, first: int = 0) -> Floats:
    """A key in [0, 1) for each row's group, float64 of shape (rows,): groups are strings, and a row without one has its position's key."""
    coded = pc.fill_null(groups, "").dictionary_encode()
    salt = (seed % 2**64).to_bytes(8, "little")
    digests = (hashlib.blake2b(name.encode(), digest_size=8, salt=salt).digest() for name in coded.dictionary.to_pylist())
    keys = np.array([(int.from_bytes(digest, "little") >> 11) / 2.0**53 for digest in digests], dtype=np.float64)
    unknown = np.array([name == "" for name in coded.dictionary.to_pylist()], dtype=bool)
    codes = coded.indices.to_numpy()
    return np.where(unknown[codes], keys_of_positions(len(groups), seed=seed, first=first), keys[codes])


def spread(roles: Roles, role: int, most: int) -> npt.NDArray[np.intp]:
    """Positions of rows of a role, evenly spread over all of them; at most `most`, in order."""
    found = np.flatnonzero(roles == role)
    if len(found) <= most:
        return found
    return found[np.arange(most, dtype=np.int64) * len(found) // most]


def deal(roles: Sequence[Roles], workers: int) -> list[list[Stint]]:
    """Deal the rows of pieces to workers, so that each has about as many training and as many validation rows as the others.

    A piece goes to one worker as a whole unless it is too large for that. The same roles and number of workers give the same.

    Parameters
    ----------
    roles
        Of each piece's rows.

    Raises
    ------
    NotEnoughData
        When a worker would be left without rows to train or to validate on.
    """
    counts = [(int((r == TRAIN).sum()), int((r == TUNE).sum())) for r in roles]
    train, tune = (max(1, sum(count[i] for count in counts)) for i in (0, 1))
    stints = [s for number, piece in enumerate(roles) for s in _cut_piece(number, piece, workers, train, tune)]
    loads = np.zeros((workers, 2), dtype=np.int64)  # validation rows, all rows
    hands: list[list[Stint]] = [[] for _ in range(workers)]
    for (tunes, trains), stint in sorted(((_load(roles, stint), stint) for stint in stints), key=lambda s: (-s[0][0], -s[0][1], s[1])):
        order = loads[:, ::-1] if not tunes else loads  # by the rows that matter here, then by the others
        worker = min(range(workers), key=lambda w: (*order[w], w))
        loads[worker] += (tunes, tunes + trains)
        hands[worker].append(stint)
    if (loads[:, 0] == 0).any() or (loads[:, 1] == loads[:, 0]).any():
        raise NotEnoughData(
            f"{train:,} training and {tune:,} validation rows are too few for {workers} workers; lower training.num_workers"
        )
    return [sorted(hand) for hand in hands]


def _load(roles: Sequence[Roles], stint: Stint) -> tuple[int, int]:
    part = roles[stint.piece][stint.start : stint.stop]
    return int((part == TUNE).sum()), int((part == TRAIN).sum())


def _cut_piece(number: int, roles: Roles, workers: int, train: int, tune: int) -> list[Stint]:
    """A piece in a few stints when it is too large to go to one worker: each of them reads the piece again, so there are no more than needed."""
    if len(roles) == 0:
        return []
    weight = np.cumsum(_PER_WORKER[TRAIN] * (roles == TRAIN) / train + _PER_WORKER[TUNE] * (roles == TUNE) / tune) * workers
    count = min(len(roles), max(1, round(float(weight[-1])))) if workers > 1 else 1
    edges = sorted({0, *np.searchsorted(weight, weight[-1] * np.arange(1, count) / count).tolist(), len(roles)})
    return [Stint(number, start, stop) for start, stop in pairwise(edges)]
