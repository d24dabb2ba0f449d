"""What is planted in a stream: each change, of which columns it can be of, and what it makes of rows. Pure."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Final, NamedTuple

import numpy as np

from benchmarks.alarms.streams import World
from cluster.schema import Floats, Matrix
from monitoring.decimals import decimals_of

Spoil = Callable[[World, Matrix, int, np.random.Generator], None]


class Change(NamedTuple):
    """A change of one column; or of the label, where `columns` is None."""

    name: str
    spoil: Spoil
    columns: Callable[[World], list[int]] | None
    plain: bool = False
    """One that should be found nearly always, within ten windows."""


@cache
def numbers(world: World) -> list[int]:
    """Columns that are numbers and vary."""
    return [j for j, f in enumerate(world.schema.features) if f.categories is None and _spread(world, j) > 0]


@cache
def categories(world: World) -> list[int]:
    """Columns that are categories, of which at least two occur in a tenth of the rows."""
    return [j for j, f in enumerate(world.schema.features) if f.categories is not None and len(_common(world, j)) >= 2]


@cache
def correlated(world: World) -> list[int]:
    """Numbers whose ranks go with another's by at least .3, on a sample."""
    sample = world.X[:: max(1, len(world.X) // 5000)]
    found = []
    for a in numbers(world):
        for b in numbers(world):
            both = ~np.isnan(sample[:, a]) & ~np.isnan(sample[:, b])
            if a != b and both.sum() > 100 and abs(np.corrcoef(_ranks(sample[both, a]), _ranks(sample[both, b]))[0, 1]) >= 0.3:
                found.append(a)
                break
    return found


def _ranks(values: Floats | Matrix) -> Floats:
    order = np.empty(len(values))
    order[np.argsort(values, kind="stable")] = np.arange(len(values))
    return order


@cache
def _spread(world: World, column: int) -> float:
    return float(np.nanstd(world.X[:, column], dtype=np.float64))


@cache
def _middle(world: World, column: int) -> float:
    return float(np.nanmean(world.X[:, column], dtype=np.float64))


@cache
def _common(world: World, column: int) -> Matrix:
    values = world.X[:, column]
    present = values[~np.isnan(values)]
    kinds, counts = np.unique(present, return_counts=True)
    return np.asarray(kinds[counts >= 0.1 * len(values)])


def _shift(by: float) -> Spoil:
    def spoil(world: World, rows: Matrix, column: int, rng: np.random.Generator) -> None:
        rows[:, column] = _as_written(world, column, rows[:, column] + np.float32(by * _spread(world, column)), rng)

    return spoil


def _stretch(by: float) -> Spoil:
    def spoil(world: World, rows: Matrix, column: int, rng: np.random.Generator) -> None:
        middle = np.float32(_middle(world, column))
        rows[:, column] = _as_written(world, column, middle + (rows[:, column] - middle) * np.float32(by), rng)

    return spoil


def _as_written(world: World, column: int, values: Floats | Matrix, rng: np.random.Generator) -> Floats | Matrix:
    """Values with as many decimals as the column has, rounded up or down by lot: what moves by itself goes on being written as before."""
    decimals = _decimals(world, column)
    if decimals is None:
        return values
    return np.asarray(np.floor(values * 10.0**decimals + rng.random(len(values))) / 10.0**decimals)


@cache
def _decimals(world: World, column: int) -> int | None:
    values = world.X[:, column]
    return decimals_of(values[~np.isnan(values)])


def _unit(_: World, rows: Matrix, column: int, __: np.random.Generator) -> None:
    """Worked out by a program, which does not round."""
    rows[:, column] *= np.float32(1.609344)


def _nulls(share: float) -> Spoil:
    def spoil(_: World, rows: Matrix, column: int, rng: np.random.Generator) -> None:
        rows[rng.random(len(rows)) < share, column] = np.nan

    return spoil


def _vanish(world: World, rows: Matrix, column: int, rng: np.random.Generator) -> None:
    common = _common(world, column)
    gone = rng.choice(common)
    others = common[common != gone]
    rows[rows[:, column] == gone, column] = rng.choice(others)


def _unknown(world: World, rows: Matrix, column: int, rng: np.random.Generator) -> None:
    rows[rng.random(len(rows)) < 0.03, column] = len(world.schema.features[column].categories or ())


def _flip(_: World, rows: Matrix, column: int, __: np.random.Generator) -> None:
    """The k-th smallest value of the window goes where the k-th largest was: the column as it was, its correlations turned round."""
    at = np.flatnonzero(~np.isnan(rows[:, column]))
    order = at[np.argsort(rows[at, column], kind="stable")]
    rows[order, column] = rows[order[::-1], column]


VANISH: Final = Change("a category vanishes", _vanish, categories, plain=True)
CHANGES: Final = (
    Change("mean + 0.25 sd", _shift(0.25), numbers),
    Change("mean + 0.5 sd", _shift(0.5), numbers),
    Change("spread x 1.5", _stretch(1.5), numbers),
    Change("spread x 0.7", _stretch(0.7), numbers),
    Change("another unit (x 1.6)", _unit, numbers, plain=True),
    Change("5 % more nulls", _nulls(0.05), numbers, plain=True),
    VANISH,
    Change("3 % unknown categories", _unknown, categories),
    Change("correlations flip", _flip, correlated, plain=True),
)


def flip_labels(y: Floats, classes: int, rng: np.random.Generator) -> Floats:
    """A fifth of the labels become another class: P(y|x) changes and no column does."""
    hit = rng.random(len(y)) < 0.2
    return np.where(hit, (y + 1) % classes, y)


def _nothing(_: World, __: Matrix, ___: int, ____: np.random.Generator) -> None:
    """No column changes."""


LABELS: Final = Change("a fifth of the labels", _nothing, None)
