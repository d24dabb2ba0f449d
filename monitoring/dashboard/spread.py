"""One column's values then and now: a bundle's histogram beside a window's. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Final, NamedTuple

from monitoring.blamed import key_of, title_of
from monitoring.profile import Profile
from monitoring.sketches import Column

_MOST_BARS: Final = 12
_NARROW: Final = 1e-5
"""Of the whole range; a last cell narrower than this holds one value: the column takes few values, and each has a cell."""
_HEAP: Final = 1e-3
"""Of the whole range; a cell between others that is narrower was made for one value that many rows have."""


class Spread(NamedTuple):
    """Shares of rows by cell."""

    column: str
    cells: tuple[str, ...]
    """Names of the cells: categories, or ranges of numbers."""
    then: tuple[float, ...]
    now: tuple[float, ...]
    rows: int
    """Present values now."""
    edges: tuple[float, ...] = ()
    """A number that varies: bounds of all cells but the first and the last, which are open; else empty."""

    @property
    def moved(self) -> float:
        """Share of rows that lie in other cells than then (total variation)."""
        return sum(abs(a - b) for a, b in zip(self.then, self.now, strict=True)) / 2

    @property
    def told(self) -> str:
        """In words, for those who do not see the drawing."""
        most = max(range(len(self.cells)), key=lambda i: abs(self.now[i] - self.then[i]))
        return (
            f"{self.column} then and now: {self.moved:.1%} of rows lie elsewhere; "
            f"the largest change is {self.cells[most]}, from {self.then[most]:.1%} to {self.now[most]:.1%}."
        )


def spreads(profile: Profile, cells: Mapping[str, Sequence[int]]) -> list[Spread]:
    """Each column whose cells were kept, by `monitoring.blamed.key_of`, where they fit the profile."""
    made = []
    for index, column in enumerate(profile.columns):
        counts = cells.get(key_of(column))
        if counts is not None and len(counts) == column.cells == len(profile.shares[index]) and sum(counts) > 0:
            made.append(_spread(column, profile.shares[index], counts))
    return made


def _spread(column: Column, then: Sequence[float], counts: Sequence[int]) -> Spread:
    rows = sum(counts)
    whole = Spread(title_of(column), _names(column), tuple(then), tuple(n / rows for n in counts), rows)
    if column.type == "category":
        return _without_the_rare(whole)
    if _varies(column):
        return _drawable(whole, column.edges)
    return _picked(whole, [i for i in range(len(counts)) if then[i] or counts[i]])


def _drawable(spread: Spread, edges: Sequence[float]) -> Spread:
    """With the cell of a single value as part of its neighbour, where it would be a spike: areas are shares."""
    narrow = _HEAP * (edges[-1] - edges[0])
    kept = [i for i, edge in enumerate(edges) if i == 0 or i == len(edges) - 1 or edge - edges[i - 1] > narrow]
    starts = [0, *(i + 1 for i in kept)]
    bounds = [edges[i] for i in kept]
    then, now = (tuple(sum(shares[a:b]) for a, b in pairwise([*starts, len(shares)])) for shares in (spread.then, spread.now))
    return Spread(spread.column, _ranges(bounds), then, now, spread.rows, tuple(bounds))


def _varies(column: Column) -> bool:
    edges = column.edges
    return len(edges) > 1 and edges[-1] - edges[-2] > _NARROW * (edges[-1] - edges[0])


def _names(column: Column) -> tuple[str, ...]:
    if column.type == "category":
        return tuple(column.categories)
    if _varies(column):
        return _ranges(column.edges)
    edges = [f"{edge:.4g}" for edge in column.edges]
    return (f"below {edges[0]}", *edges[:-1], f"{edges[-1]} and above")


def _ranges(bounds: Sequence[float]) -> tuple[str, ...]:
    edges = [f"{bound:.4g}" for bound in bounds]
    return (f"below {edges[0]}", *(f"{low} to {high}" for low, high in pairwise(edges)), f"{edges[-1]} and above")


def _without_the_rare(spread: Spread) -> Spread:
    """With the smallest categories as one."""
    ranked = sorted(range(len(spread.cells)), key=lambda i: -max(spread.then[i], spread.now[i]))
    made, rest = _picked(spread, ranked[:_MOST_BARS]), ranked[_MOST_BARS:]
    if not rest:
        return made
    then, now = (sum(shares[i] for i in rest) for shares in (spread.then, spread.now))
    return made._replace(cells=(*made.cells, f"{len(rest)} others"), then=(*made.then, then), now=(*made.now, now))


def _picked(spread: Spread, kept: Sequence[int]) -> Spread:
    return spread._replace(
        cells=tuple(spread.cells[i] for i in kept), then=tuple(spread.then[i] for i in kept), now=tuple(spread.now[i] for i in kept)
    )
