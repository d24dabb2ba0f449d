"""What is usual of every aspect that is tested, learned from the reference's blocks; and how unusual a window is. Pure.

Owns which aspects a profile's columns have. `monitoring.panel` measures them, `monitoring.evidence` turns what is unusual into evidence.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import combinations
from typing import Final, NamedTuple

import msgspec
import numpy as np

from cluster.records import Record
from cluster.schema import Floats
from monitoring.evidence import Detectors, Rows, Start, learn
from monitoring.held import Same
from monitoring.panel import ARCSINE_VARIANCE, Aspect, Measured, Panel, arcsine
from monitoring.sketches import FAULTS, SCORE_UNIT, Column, Sketcher, Summary, merge

FEWEST_BLOCKS: Final = 8
_MOST_SHARES: Final = 8  # a column's largest categories
_PAIRS_PER_COLUMN: Final = 3
_LEAST_CORRELATION: Final = 0.1
_CLOSE: Final = 0.7  # a correlation from which on the gap of two levels says more than each of them
_LEAST_GAP: Final = 0.01  # variance: levels that part by less than a tenth of a standard deviation are no news
_COMMON: Final = 0.05  # categories of this share and more are missed when they are gone
_BY_ROW: Final = (*FAULTS, "gone")
"""These come row by row; levels and shares may follow a timetable, with less noise than by lot."""
_IN_BURSTS: Final = ("missing", "outside", "gone", "loss")
"""A failing source makes many at once, and a reference that has seen none says little of how many."""
_FAR: Final = 6.0  # standard deviations of a window's noise above the upper quartile
_SPREAD_VARIANCE: Final = 2.0  # of the logarithm of a variance of n normal figures, times n


class Usual(Record, frozen=True, kw_only=True):
    """The aspects of a profile and how each varies by itself; lists of A figures."""

    aspects: list[Aspect]
    mean: list[float]
    between: list[float]
    """Variance between blocks beyond what their size explains."""
    within: list[float]
    """Variance of a single row."""
    start: Start

    def detectors(self) -> Detectors:
        """The sequential test over these aspects."""
        return Detectors(self.start, np.array([aspect.sides == 2 for aspect in self.aspects]))

    def standardise(self, measured: Measured) -> Floats:
        """How far a window is from the mean, in standard deviations of a window of its size: float64 (A,)."""
        mean, between, within = _arrays(Same(self))
        noise = within / np.maximum(measured.rows, 1)
        return np.asarray((measured.figures - mean) / np.sqrt(np.maximum(between + noise, 1e-12)))


@lru_cache(maxsize=16)
def _arrays(usual: Same[Usual]) -> tuple[Floats, Floats, Floats]:
    return np.array(usual.it.mean), np.array(usual.it.between), np.array(usual.it.within)


def aspects_of(columns: Sequence[Column], sketcher: Sketcher, blocks: Sequence[Summary]) -> list[Aspect]:
    """What is tested of each column, and of the pairs that go together on the reference, given as blocks."""
    whole, made = merge(blocks), list[Aspect]()
    for j, column in enumerate(columns):
        key = f"{'feature' if column.role == 'feature' else 'prediction'}_drift:{column.name}"
        if column.type == "number" and column.scores:
            made += [Aspect(key=key, what="level", column=j), Aspect(key=key, what="spread", column=j)]
        elif column.type == "category":
            counts = sketcher.cells_of(whole, j)
            largest = np.argsort(-counts, kind="stable")[:_MOST_SHARES]
            made += [Aspect(key=key, what="share", column=j, cell=int(cell)) for cell in largest]
            shares = counts / max(int(counts.sum()), 1)
            made.append(Aspect(key=key, what="gone", column=j, sides=1, shares=np.where(shares >= _COMMON, shares, 0.0).tolist()))
        if column.role == "feature":
            made += _faults(column, j, blocks)
    return made + _pairs(columns, whole)


class Given(NamedTuple):
    """A loss, which is measured elsewhere."""

    figures: Floats
    """float64 (m,) of the reference's blocks, standardised."""
    floor: float
    """The least variance that it is credited with."""


def _faults(column: Column, j: int, blocks: Sequence[Summary]) -> list[Aspect]:
    """Each as it is; and bounded as well, where some blocks of the reference lie far above the others."""
    rows, made = np.array([block.rows for block in blocks], dtype=np.float64), list[Aspect]()
    for fault in column.faults:
        plain = Aspect(key=f"quality:{column.name}.{fault}", what=fault, column=j, sides=1)
        figures = arcsine(np.array([block.quality[j, FAULTS[fault]].sum() for block in blocks]), rows)
        most = float(np.quantile(figures, 0.75) + _FAR * np.sqrt(ARCSINE_VARIANCE / np.median(rows)))
        made += [plain] if figures.max() <= most else [plain, msgspec.structs.replace(plain, most=most)]
    return made


def _pairs(columns: Sequence[Column], whole: Summary) -> list[Aspect]:
    numbers = [j for j, c in enumerate(columns) if c.role == "feature" and c.type == "number" and c.scores]
    n, moments = max(whole.rows, 1), whole.moments / SCORE_UNIT
    mean = moments[0, 1:] / n
    covariance = moments[1:, 1:] / SCORE_UNIT / n - np.outer(mean, mean)
    spread = np.sqrt(np.maximum(covariance.diagonal(), 1e-12))
    correlation = covariance / np.outer(spread, spread)
    strength = np.abs(correlation)
    ranked = sorted(combinations(numbers, 2), key=lambda pair: -strength[pair])
    kept = [pair for pair in ranked[: _PAIRS_PER_COLUMN * len(numbers)] if strength[pair] >= _LEAST_CORRELATION]
    joint = [Aspect(key=f"association:{columns[a].name} and {columns[b].name}", what="joint", column=a, other=b) for a, b in kept]
    close = [(pair, r) for pair in joint if abs(r := float(correlation[pair.column, pair.other])) >= _CLOSE]
    return joint + [msgspec.structs.replace(pair, what="gap", correlation=r) for pair, r in close]


def learn_usual(
    aspects: Sequence[Aspect],
    sketcher: Sketcher,
    features: Sequence[Summary],
    answered: Sequence[Summary],
    given: Mapping[str, Given],
    *,
    fewest: int,
) -> Usual:
    """Learn how aspects vary between the blocks of the reference.

    Parameters
    ----------
    aspects
        Of the summaries, in any order.
    features, answered
        Blocks in order of time: of all rows, and of rows whose predictions count.
    given
        Losses, which are measured elsewhere, by key.
    fewest
        A block with fewer present values says nothing of a column.
    """
    panel = Panel(aspects, sketcher)
    of_predictions = np.array([aspect.key.startswith("prediction") for aspect in aspects], dtype=bool)
    seen = [_stacked([panel.measure(block, fewest=fewest) for block in blocks], len(aspects)) for blocks in (features, answered)]
    columns = [
        _Column(seen[int(p)].figures[:, j], seen[int(p)].rows[:, j], _within(a), least=_LEAST_GAP if a.what == "gap" else 0.0)
        for j, (a, p) in enumerate(zip(aspects, of_predictions, strict=True))
    ]
    kept = [(a, c) for a, c in zip(aspects, columns, strict=True) if len(c.figures) >= FEWEST_BLOCKS]
    both = kept + [(_aspect(key), _Column(g.figures, np.ones(len(g.figures)), 0.0, given=g)) for key, g in given.items()]
    longest = max((len(c.figures) for _, c in both), default=0)
    table = np.full((longest, len(both)), np.nan)
    for j, (_, column) in enumerate(both):
        table[longest - len(column.figures) :, j] = column.standardised
    return Usual(
        aspects=[aspect for aspect, _ in both],
        mean=[c.mean for _, c in both],
        between=[c.between for _, c in both],
        within=[c.within for _, c in both],
        start=learn(table, _rows(both)),
    )


def _rows(tested: Sequence[tuple[Aspect, _Column]]) -> Rows:
    floor = np.array([column.floor for _, column in tested])
    is_by_row, in_bursts = (np.array([aspect.what in some for aspect, _ in tested], dtype=bool) for some in (_BY_ROW, _IN_BURSTS))
    return Rows(floor, np.where(is_by_row, floor, 0.0), np.where(in_bursts, 0.0, floor))


def _aspect(key: str) -> Aspect:
    return Aspect(key=key, what="loss", column=-1, sides=1)


def _within(aspect: Aspect) -> float:
    by_what = {"level": 1.0, "spread": _SPREAD_VARIANCE, "joint": 1.0, "gap": 2 * (1 - abs(aspect.correlation))}
    return by_what.get(aspect.what, ARCSINE_VARIANCE)


def _stacked(measured: Sequence[Measured], width: int) -> Measured:
    if not measured:
        return Measured(np.empty((0, width)), np.empty((0, width)))
    return Measured(np.stack([m.figures for m in measured]), np.stack([m.rows for m in measured]))


class _Column:
    """One aspect over the blocks that say something of it."""

    def __init__(self, figures: Floats, rows: Floats, within: float, *, least: float = 0.0, given: Given | None = None) -> None:
        """`least`: a variance between blocks below which nothing is news; `given`: the figures are standardised already."""
        said = ~np.isnan(figures)
        self.figures, self._rows, self.within = figures[said], rows[said], within
        if given is not None or not said.any():
            self.mean, self.between, self.floor = 0.0, 1.0, 1.0 if given is None else given.floor
            self.standardised: Floats = self.figures
            return
        noise = within / np.maximum(self._rows, 1)
        self.mean = float(np.average(self.figures, weights=self._rows))
        self.between = max(float(self.figures.var()) - float(noise.mean()), least)
        self.floor = float(np.median((noise + least) / (self.between + noise)))
        self.standardised = (self.figures - self.mean) / np.sqrt(np.maximum(self.between + noise, 1e-12))
