"""When a peer raises an alarm, by its own knob: strengths are taken once, thresholds are applied afterwards. Pure.

A rule looks at strengths of many streams at once. A stream's *level* is the threshold from which on it stays silent; so a threshold for any
share of false alarms is a quantile of the levels of healthy streams (`matched`).
"""

from __future__ import annotations

import math
from typing import Final, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from benchmarks.alarms.distances import FIGURES
from cluster.schema import Floats

Flags = npt.NDArray[np.bool_]
DELTAS: Final = (0.5, 0.3, 0.1, 0.05, 0.01, 2e-3, 1e-3, 3e-4, 1e-4, 1e-5, 1e-6, 1e-8, 1e-10, 1e-14, 1e-20, 1e-30)
"""ADWIN's, the loosest first; its threshold is a place in this list."""


class Strengths(NamedTuple):
    """What the peers measured in some streams of equal length."""

    far: Floats
    """float64 (streams, windows, features, 3): see `distances.FIGURES`."""
    cuts: Flags
    """bool (streams, windows, features + 1, deltas): ADWIN cut its window; the last column is the loss."""


class Rule(Protocol):
    """One way to raise an alarm."""

    @property
    def who(self) -> str:
        """The peer."""

    def default(self, columns: int) -> float:
        """The threshold that the peer's own documentation sets, for a table of so many features."""

    def strength(self, seen: Strengths) -> Floats:
        """Float64 (streams, windows, columns): who is blamed first."""

    def hits(self, seen: Strengths, threshold: float) -> Flags:
        """Bool (streams, windows, columns): who is blamed; nobody where there is no alarm."""

    def levels(self, seen: Strengths) -> Floats:
        """Float64 (streams,): there is an alarm somewhere in a stream if and only if its level is above the threshold."""

    def told(self, threshold: float) -> str:
        """A threshold in the peer's own words."""


class AnyColumn(NamedTuple):
    """An alarm where any column's figure is above the threshold."""

    who: str
    figure: str
    unit: str
    usual: float
    """The default threshold."""
    by_columns: bool = False
    """A p-value's default, which Bonferroni divides by the number of columns."""

    def default(self, columns: int) -> float:
        """See `Rule`."""
        return self.usual + (math.log10(columns) if self.by_columns else 0.0)

    def strength(self, seen: Strengths) -> Floats:
        """See `Rule`."""
        return np.asarray(seen.far[..., FIGURES.index(self.figure)])

    def hits(self, seen: Strengths, threshold: float) -> Flags:
        """See `Rule`."""
        return np.asarray(self.strength(seen) > threshold)

    def levels(self, seen: Strengths) -> Floats:
        """See `Rule`."""
        return np.asarray(self.strength(seen).max(axis=(1, 2)))

    def told(self, threshold: float) -> str:
        """See `Rule`."""
        return f"{self.unit} < 1e{-threshold:.1f}" if self.figure == "evidence" else f"{self.unit} > {threshold:.3g}"


class Discoveries(AnyColumn):
    """The same for the evidence that is left when the false discovery rate of a window is controlled (Benjamini & Hochberg 1995)."""

    def strength(self, seen: Strengths) -> Floats:
        """-log10 of the adjusted p-values."""
        evidence = AnyColumn.strength(self, seen)
        order = np.argsort(-evidence, axis=-1, kind="stable")
        adjusted = np.take_along_axis(evidence, order, axis=-1) - np.log10(evidence.shape[-1] / np.arange(1, evidence.shape[-1] + 1))
        largest = np.flip(np.maximum.accumulate(np.flip(adjusted, axis=-1), axis=-1), axis=-1)
        made = np.empty_like(evidence)
        np.put_along_axis(made, order, largest, axis=-1)
        return made


def matched(levels: Floats, share: float) -> float:
    """The lowest threshold at which at most `share` of these streams, of which there is at least one, hold an alarm.

    >>> matched(np.array([3.0, 1.0, 2.0, 5.0]), 0.25)
    3.0
    >>> matched(np.array([3.0, 1.0, 2.0, 5.0]), 0.0)
    5.0
    """
    allowed = min(int(share * len(levels) + 1e-9), len(levels) - 1)
    return float(np.sort(levels)[::-1][allowed])
