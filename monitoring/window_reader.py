"""What a window's summary says of each metric of a profile: its figures, and how a person is told. Pure.

All metrics of a kind are worked out at once: where windows are small, the calls cost more than the rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

import numpy as np

from cluster.schema import Floats
from monitoring.drift import Look
from monitoring.panel import Panel, What
from monitoring.profile import Profile
from monitoring.sketches import FAULTS, Column, Fault, Sketcher, Summary
from monitoring.statistic import Reference

_FAULTS: Final = tuple(FAULTS)


class _Asked(NamedTuple):
    """A metric, and where its aspects are."""

    reference: Reference
    places: list[int]

    def said(self, figures: Sequence[float]) -> dict[int, float]:
        """Those that say something."""
        return {place: figure for place in self.places if (figure := figures[place]) == figure}


class WindowReader:
    """Reads windows of one profile. Of aspects whose metric is not shown nothing is said.

    Parameters
    ----------
    profile
        Of the bundle that answered.
    sketcher
        Of its columns.
    """

    def __init__(self, profile: Profile, sketcher: Sketcher) -> None:
        self._profile, self._sketcher = profile, sketcher
        self._usual, self._panel = profile.usual, Panel(profile.usual.aspects, sketcher)
        places: dict[str, list[int]] = {reference.key: [] for reference in profile.metrics}
        for place, aspect in enumerate(self._usual.aspects):
            places.setdefault(aspect.key, []).append(place)
        asked = [_Asked(reference, places[reference.key]) for reference in profile.metrics]
        self._is_shown = np.isin(np.arange(len(self._usual.aspects)), [place for one in asked for place in one.places])
        self._moving = [one for one in asked if one.reference.kind in ("feature_drift", "prediction_drift")]
        self._pairs = [_Pair(one, {self._usual.aspects[place].what: place for place in one.places}) for one in asked if _is_pair(one)]
        self._faults = [_Faulty.of(one, profile) for one in asked if one.reference.kind == "quality"]
        self._then: Floats = np.concatenate([np.asarray(shares, dtype=np.float64) for shares in profile.shares])

    def read(self, summary: Summary, min_rows: int) -> tuple[Floats, Floats]:
        """Figures of the aspects as they are, and standardised; float64 (A,), NaN where the window says nothing."""
        measured = self._panel.measure(summary, fewest=min_rows)
        return measured.figures, np.where(self._is_shown, self._usual.standardise(measured), np.nan)

    def looks(self, summary: Summary, min_rows: int) -> list[Look]:
        """One for each metric that the window says something of, but for performance."""
        measured, standardised = self.read(summary, min_rows)
        figures = standardised.tolist()
        return [*self._distances(summary, min_rows, figures), *self._associations(measured, figures), *self._rates(summary, figures)]

    def _distances(self, summary: Summary, min_rows: int, figures: Sequence[float]) -> Iterator[Look]:
        starts = self._sketcher.starts
        present = np.add.reduceat(summary.cells, starts)
        shares = summary.cells / np.repeat(np.maximum(present, 1), np.diff(starts, append=len(summary.cells)))
        moved = (np.add.reduceat(np.abs(shares - self._then), starts) / 2).tolist()
        means, rows = self._sketcher.means_of(summary).tolist(), present.tolist()
        for one in self._moving:
            j = one.reference.column
            if rows[j] >= min_rows:
                told = self._numbers_told(j, means[j]) if self._profile.columns[j].type == "number" else self._categories_told(j, shares)
                yield Look(one.reference, moved[j], "share of rows in other cells than on the reference", told, one.said(figures))

    def _numbers_told(self, index: int, now: float) -> str:
        column, was = self._profile.columns[index], self._profile.means[index]
        if was is None:
            return f"{column.name} was empty and now has values of mean {now:.4g}"
        return f"{column.name}: mean went from {was:.4g} to {now:.4g} ({(now - was) / column.scale:+.2f} standard deviations)"

    def _categories_told(self, index: int, shares: Floats) -> str:
        column, start = self._profile.columns[index], self._sketcher.starts[index]
        here = slice(start, start + column.cells)
        most = int(np.abs(shares[here] - self._then[here]).argmax())
        return f"{column.name}: '{column.categories[most]}' went from {self._then[start + most]:.1%} to {shares[start + most]:.1%} of rows"

    def _associations(self, measured: Floats, figures: Sequence[float]) -> Iterator[Look]:
        correlations = np.tanh(measured).tolist()
        for pair in self._pairs:
            said = pair.asked.said(figures)
            if said:
                r = correlations[pair.places["joint"]]
                yield Look(pair.asked.reference, r, "correlation of ranks", self._pair_told(pair, r, said, measured), said)

    def _pair_told(self, pair: _Pair, r: float, said: dict[int, float], measured: Floats) -> str:
        """Whichever is the more unusual: the correlation, or how far the levels lie apart."""
        reference, gap = pair.asked.reference, pair.places.get("gap", -1)
        if gap in said and abs(said[gap]) > abs(said[pair.places["joint"]]):
            apart = abs(float(measured[gap]) - self._usual.mean[gap])
            return f"{reference.name}, which go together, parted by {apart:.2f} standard deviations (of ranks)"
        return f"the correlation of {reference.name} (of ranks) went from {reference.typical:+.2f} to {r:+.2f}"

    def _rates(self, summary: Summary, figures: Sequence[float]) -> Iterator[Look]:
        counts = np.column_stack([summary.quality[:, counted].sum(axis=1) for counted in FAULTS.values()])
        rates = (counts / max(summary.rows, 1)).tolist()
        for one in self._faults:
            rate = rates[one.asked.reference.column][one.fault]
            yield Look(one.asked.reference, rate, one.unit, f"{one.before} {rate:.2%} {one.after}", one.asked.said(figures))


class _Pair(NamedTuple):
    """Two columns that go together."""

    asked: _Asked
    places: dict[What, int]


class _Faulty(NamedTuple):
    """What can be wrong with a column, and what is said of it, around the share of rows now."""

    asked: _Asked
    fault: int
    unit: str
    before: str
    after: str

    @classmethod
    def of(cls, asked: _Asked, profile: Profile) -> _Faulty:
        """The words."""
        reference, column = asked.reference, profile.columns[asked.reference.column]
        fault = next(fault for fault in _FAULTS if reference.name == f"{column.name}.{fault}")
        before, after = f"{column.name} {_wrong(fault, column)} in", f"of rows, usually {reference.mean[0]:.2%}"
        return cls(asked, _FAULTS.index(fault), f"share of rows {fault}", before, after)


def _wrong(fault: Fault, column: Column) -> str:
    words: dict[Fault, str] = {
        "missing": "is missing",
        "unknown": "is of unknown category",
        "outside": "is outside its range",
        "precision": f"has more than {_counted(column.decimals)}" if column.decimals else "is no whole number",
    }
    return words[fault]


def _counted(decimals: int | None) -> str:
    return f"{decimals} decimal{'s' * (decimals != 1)}"


def _is_pair(asked: _Asked) -> bool:
    return asked.reference.kind == "association"
