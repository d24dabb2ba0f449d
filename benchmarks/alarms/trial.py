"""One stream, watched once: whether and when there was an alarm, and about what. Many of them, counted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats

from benchmarks.alarms.changes import Change, flip_labels
from benchmarks.alarms.detectors import LABEL, Alarm, Detector
from benchmarks.alarms.streams import Indices, World, draw
from cluster.schema import Floats, Matrix

Rows = tuple[Matrix, Matrix, Floats]
Make = Callable[[World, Sequence[Rows]], Detector]


class Outcome(NamedTuple):
    """The first alarm of a stream."""

    at: int | None
    """In which window; None: there was none."""
    blamed: Alarm


class Found(NamedTuple):
    """One planted change."""

    early: bool
    """There was an alarm before the change."""
    delay: int | None
    """Windows from the change to the first alarm after it; 0: in the first window that has it. None where there was none."""
    is_right: bool
    """The column that changed was among at most two that were blamed."""


def rows_of(world: World, window: int) -> Rows:
    """The rows of one window."""
    index = world.windows[window]
    return world.X[index], world.scores[index], world.y[index]


def watch(detector: Detector, windows: Sequence[Rows]) -> Outcome:
    """Until the first alarm."""
    for at, rows in enumerate(windows):
        alarm = detector.look(*rows)
        if alarm is not None:
            return Outcome(at, alarm)
    return Outcome(None, ())


def healthy(world: World, make: Make, *, reference: int, windows: int, rng: np.random.Generator) -> Outcome:
    """A stream in which nothing changes."""
    stream = draw(world, reference=reference, healthy=windows, rng=rng)
    return watch(make(world, _rows(world, stream.reference)), _rows(world, stream.healthy))


def planted(world: World, make: Make, change: Change, *, reference: int, before: int, after: int, rng: np.random.Generator) -> Found | None:
    """A stream that changes after `before` windows; None where the world has no column of the kind."""
    stream = draw(world, reference=reference, healthy=before + after, rng=rng)
    columns = change.columns(world) if change.columns else [-1]
    if not columns:
        return None
    column = int(rng.choice(columns))
    whole = _rows(world, stream.healthy)
    spoiled = whole[:before] + [
        _spoil(world, rows, change, column, np.random.default_rng(rng.integers(1 << 30))) for rows in whole[before:]
    ]
    outcome = watch(make(world, _rows(world, stream.reference)), spoiled)
    if outcome.at is None:
        return Found(False, None, False)
    name = world.schema.features[column].name if column >= 0 else LABEL
    return Found(outcome.at < before, outcome.at - before, len(outcome.blamed) <= 2 and any(name in blamed for blamed in outcome.blamed))


def _spoil(world: World, rows: Rows, change: Change, column: int, rng: np.random.Generator) -> Rows:
    matrix, scores, y = rows
    if column < 0:
        return matrix, scores, flip_labels(y, max(len(world.schema.label.classes or ()), 2), rng)
    matrix = matrix.copy()
    seed = np.random.default_rng(column)  # which category vanishes is the same in every window
    change.spoil(world, matrix, column, seed if change.name == "a category vanishes" else rng)
    return matrix, scores, y


def _rows(world: World, windows: Indices) -> list[Rows]:
    return [rows_of(world, int(window)) for window in windows]


def upper_bound(hits: int, of: int, *, confidence: float = 0.95) -> float:
    """Clopper and Pearson's one-sided upper bound of a share."""
    return 1.0 if hits >= of else float(stats.beta.ppf(confidence, hits + 1, of - hits))
