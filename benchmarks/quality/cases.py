"""The five data sets and how each is split: fixed once, the same for all who are measured.

Where rows have a time, the test rows are the latest. Owns also which test rows are not independent of each other, for the intervals.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from benchmarks.peers.tabular import Table
from cluster.encoder import Encoder
from cluster.schema import FeatureSchema, Floats, Matrix, encode_labels
from training.data.split import Indices

SEED: Final = 20261125
QUICK_ROWS: Final = 6000


class Split(NamedTuple):
    """Rows of a table by what they are for."""

    learn: Indices
    """All that anybody may learn from."""
    choose: npt.NDArray[np.bool_]
    """Those of `learn` on which peers choose their settings. Homeostat parts its rows itself."""
    test: Indices
    blocks: npt.NDArray[np.intp]
    """Of each test row: those of one number are not independent of each other."""

    def thinned(self, rows: int) -> Split:
        """At most so many rows to learn from and to test on, spread evenly."""
        learn, test = (np.linspace(0, len(index) - 1, min(rows, len(index))).astype(int) for index in (self.learn, self.test))
        return Split(self.learn[learn], self.choose[learn], self.test[test], self.blocks[test])


class Case(NamedTuple):
    """One data set; its configuration is `configs/NAME.yaml`."""

    name: str
    split: Callable[[pa.Table], Split]
    how: str
    """The split in words."""


def as_table(schema: FeatureSchema, rows: pa.Table, choose: npt.NDArray[np.bool_]) -> Table:
    """What the peers are given: Homeostat's own encoding of the same rows."""
    X, y = encoded(schema, rows)
    categorical = tuple(i for i, feature in enumerate(schema.features) if feature.type == "category")
    return Table(schema.label.task, X, y, choose, categorical, len(schema.label.classes or ()))


def encoded(schema: FeatureSchema, rows: pa.Table) -> tuple[Matrix, Floats]:
    """Rows of a source table as a matrix with labels."""
    return Encoder(schema).table(rows), encode_labels(schema.label, rows.column(schema.label.name).to_pylist())


def _flights(table: pa.Table) -> Split:
    """Blocks are days: flights of one day share the weather."""
    day = table.column("scheduled").to_numpy().astype("datetime64[D]")
    learn, test = (np.flatnonzero(mask) for mask in (day < np.datetime64("2013-04-01"), day >= np.datetime64("2013-04-01")))
    return Split(learn, day[learn] >= np.datetime64("2013-03-18"), test, _numbers(day[test]))


def _census(table: pa.Table) -> Split:
    year = table.column("year").to_numpy()
    learn, test = np.flatnonzero(year == 94), np.flatnonzero(year == 95)
    return Split(learn, np.random.default_rng(SEED).random(len(learn)) < 0.2, test, np.arange(len(test)))


def _at_random(table: pa.Table) -> Split:
    """60 % to learn, 20 % to choose on, 20 % to test."""
    order = np.random.default_rng(SEED).permutation(table.num_rows)
    cut = round(0.8 * len(order))
    learn, test = np.sort(order[:cut]), np.sort(order[cut:])
    return Split(learn, np.isin(learn, order[: round(0.2 * len(order))]), test, np.arange(len(test)))


def _nlswork(table: pa.Table) -> Split:
    """Blocks are women: each was asked again and again."""
    year = table.column("surveyed").to_numpy().astype("datetime64[Y]").astype(int) + 1970
    learn, test = np.flatnonzero(year < 1985), np.flatnonzero(year >= 1985)
    return Split(learn, year[learn] >= 1982, test, _numbers(table.column("idcode").to_numpy()[test]))


def _numbers(values: npt.NDArray[Any]) -> npt.NDArray[np.intp]:
    return np.asarray(np.unique(values, return_inverse=True)[1])


CASES: Final = (
    Case("flights", _flights, "learn January to March, choosing on the last two weeks; test April to December; blocks are days"),
    Case("census", _census, "learn 1994, choosing on a fifth; test 1995"),
    Case("letter", _at_random, "at random: 60 % learn, 20 % choose, 20 % test"),
    Case("diamonds", _at_random, "at random: 60 % learn, 20 % choose, 20 % test"),
    Case("nlswork", _nlswork, "learn 1968 to 1983, choosing on 1982 and 1983; test 1985 to 1988; blocks are women"),
)
