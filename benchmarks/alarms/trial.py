"""One stream, seen once by everybody: what Homeostat said in each window, and what the peers' alarms are made from."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

import numpy as np

from benchmarks.alarms.changes import CHANGES, LABELS, VANISH, Change, flip_labels
from benchmarks.alarms.columns import Columns
from benchmarks.alarms.detectors import LABEL, Alarm, Ours
from benchmarks.alarms.streams import Rows, World, draw
from cluster.schema import Floats

REFERENCE: Final = 60
HEALTHY: Final = 100
BEFORE: Final = 20
AFTER: Final = 50
BUDGET: Final = 2000.0
"""Windows to a false alarm: within 100 of them, the bound of the chance is then 5 %."""
SEED: Final = 20261126
Course = list[Alarm | None]
"""The alarms of a stream, window after window."""


class Seen(NamedTuple):
    """One stream."""

    ours: Course
    """Empty where Homeostat did not watch."""
    far: Floats
    """float64 (windows, features, 3), see `distances.FIGURES`."""
    means: Floats
    """float64 (reference and windows, features + 1), what ADWIN is told."""


class Planted(NamedTuple):
    """One stream in which something changes."""

    change: Change
    blame: str
    """Who is to be blamed."""
    seen: Seen


def calibration(world: World, number: int) -> Seen:
    """A healthy stream that is no other's: the peers' thresholds are learned from it."""
    return _healthy(world, np.random.default_rng([SEED, 2, number]), is_watched=False)


def healthy(world: World, number: int) -> Seen:
    """A stream in which nothing changes."""
    return _healthy(world, np.random.default_rng([SEED, 0, number]), is_watched=True)


def _healthy(world: World, rng: np.random.Generator, *, is_watched: bool) -> Seen:
    stream = draw(world, reference=REFERENCE, healthy=HEALTHY, rng=rng)
    reference, windows = world.rows(stream.reference), world.rows(stream.healthy)
    columns = Columns(world, reference)
    ours = Ours(world, reference, threshold=BUDGET) if is_watched else None
    said = [ours.look(*rows) for rows in windows] if ours else []
    return Seen(said, columns.far(windows), np.concatenate([columns.means(reference), columns.means(windows)]))


def planted(world: World, number: int) -> Iterator[Planted]:
    """One stream, changed in every way that the world's columns allow, after `BEFORE` windows."""
    rng = np.random.default_rng([SEED, 1, number])
    stream = draw(world, reference=REFERENCE, healthy=BEFORE + AFTER, rng=rng)
    reference, windows = world.rows(stream.reference), world.rows(stream.healthy)
    columns, ours = Columns(world, reference), Ours(world, reference, threshold=BUDGET)
    said = [ours.look(*rows) for rows in windows[:BEFORE]]
    clean = Seen(said, columns.far(windows), np.concatenate([columns.means(reference), columns.means(windows)]))
    for place, change in enumerate((*CHANGES, LABELS)):
        own = np.random.default_rng([SEED, 3, number, place])
        options = change.columns(world) if change.columns else [-1]
        if options:
            column = int(own.choice(options))
            spoiled = [spoil(world, rows, change, column, own) for rows in windows[BEFORE:]]
            name = world.schema.features[column].name if column >= 0 else LABEL
            yield Planted(change, name, _changed(clean, columns, ours.fork(), column, spoiled))


def _changed(clean: Seen, columns: Columns, ours: Ours, column: int, spoiled: list[Rows]) -> Seen:
    """Peers look at each column by itself: all but one are as they were."""
    far, means = clean.far.copy(), clean.means.copy()
    if column >= 0:
        far[BEFORE:, column] = columns.far_in(column, spoiled)
    means[REFERENCE + BEFORE :, column] = columns.means_in(column, spoiled)
    return Seen(clean.ours + [ours.look(*rows) for rows in spoiled], far, means)


def spoil(world: World, rows: Rows, change: Change, column: int, rng: np.random.Generator) -> Rows:
    """A window as the change makes it; the scores stay those of the rows as they were."""
    matrix, scores, y = rows
    if column < 0:
        return matrix, scores, flip_labels(y, max(len(world.schema.label.classes or ()), 2), rng)
    matrix = matrix.copy()
    always_the_same = np.random.default_rng(column)  # which category vanishes
    change.spoil(world, matrix, column, always_the_same if change is VANISH else rng)
    return matrix, scores, y
