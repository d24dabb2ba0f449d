"""Streams without end and without change: windows of real tables, drawn again by lot.

A table is cut into windows (flights: days; others: rows in the order of the file). A stream is windows drawn in runs of a random
length, so that neighbours in it were neighbours in the table (the stationary bootstrap, Politis & Romano 1994): reference and what comes
after it have the same law, and whatever is said to have changed has not.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
import xgboost

from cluster.encoder import Encoder
from cluster.freeze import freeze
from cluster.schema import FeatureSchema, Floats, Matrix, encode_labels
from cluster.settings import load
from training.composing import trees
from training.data import frame
from training.data.datasets import read_table

DAY_S: Final = 86_400.0
MEAN_RUN: Final = 3.0
"""Windows of one run, on average."""
ROUNDS: Final = 60
Indices = npt.NDArray[np.intp]
Rows = tuple[Matrix, Matrix, Floats]
"""Of one window: features, scores, labels."""

WINDOW_ROWS: Final = {"flights": 0, "census": 500, "letter": 100, "diamonds": 250, "nlswork": 250}
"""Rows of a window; 0: a day."""
CACHE: Final = Path("var/data")


@dataclass(frozen=True, eq=False)
class World:
    """A table, cut into windows. Each is itself alone, so that what is worked out of it can be kept by it."""

    name: str
    schema: FeatureSchema
    X: Matrix
    scores: Matrix
    """Of a model that was fitted on other rows."""
    y: Floats
    windows: list[Indices]

    def rows(self, windows: Indices) -> list[Rows]:
        """The rows of some windows, one after the other."""
        return [(self.X[at], self.scores[at], self.y[at]) for at in (self.windows[window] for window in windows)]


class Stream(NamedTuple):
    """Numbers of windows of a world."""

    reference: Indices
    healthy: Indices
    """What comes after the reference."""


def prepare(name: str) -> World:
    """Read a table, fit a small model on every other window and score all the others with it; those are the world.

    Raises
    ------
    DataError
        When the table cannot be had.
    """
    settings = load(f"configs/{name}.yaml")
    source = settings.data.model_copy(update={"since": None, "until": None})
    rows = frame.from_table(read_table(source, time=settings.columns.time, cache=CACHE), settings.columns)
    schema = freeze(settings.columns, rows)
    matrix, y = Encoder(schema).table(rows), encode_labels(schema.label, rows.column(schema.label.name))
    cuts = _windows(name, rows.column(frame.TIME).to_numpy() if frame.TIME in rows.column_names else None, len(y))
    learn, kept = np.concatenate(cuts[1::4]), [cut for i, cut in enumerate(cuts) if i % 4 != 1]
    parameters = trees.task_parameters(schema.label, seed=0, threads=1) | {"max_depth": 4, "learning_rate": 0.15}
    native = trees.save(xgboost.train(parameters, xgboost.QuantileDMatrix(matrix[learn], y[learn]), ROUNDS))
    return World(name, schema, matrix, trees.score(native, matrix), y, kept)


def _windows(name: str, times: Floats | None, rows: int) -> list[Indices]:
    size = WINDOW_ROWS[name]
    if size or times is None:
        return np.array_split(np.arange(rows), rows // max(size, 1))
    order = np.argsort(times, kind="stable")
    starts = np.flatnonzero(np.diff(np.floor(times[order] / DAY_S), prepend=-1))
    return [cut for cut in np.split(order, starts[1:]) if len(cut) >= 100]


def draw(world: World, *, reference: int, healthy: int, rng: np.random.Generator) -> Stream:
    """One stream."""
    return Stream(_run(len(world.windows), reference, rng), _run(len(world.windows), healthy, rng))


def _run(windows: int, length: int, rng: np.random.Generator) -> Indices:
    at, made = int(rng.integers(windows)), np.empty(length, dtype=np.intp)
    for i in range(length):
        at = int(rng.integers(windows)) if rng.random() < 1 / MEAN_RUN else (at + 1) % windows
        made[i] = at
    return made
