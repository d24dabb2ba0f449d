"""The peers, each with its rule and its documented default."""

from __future__ import annotations

import math
from typing import Final, NamedTuple

import numpy as np

from benchmarks.alarms.distances import FIGURES
from benchmarks.alarms.rules import DELTAS, AnyColumn, Discoveries, Flags, Rule, Strengths
from cluster.schema import Floats

_DRIFTED: Final = 0.1  # Evidently's threshold of a column
_JUST_BELOW_HALF: Final = 0.5 - 1e-9


class Share(NamedTuple):
    """An alarm where more than a share of the columns has drifted, as Evidently's preset speaks of the whole table."""

    who: str

    def default(self, columns: int) -> float:  # noqa: ARG002
        """Half of them is enough."""
        return _JUST_BELOW_HALF

    def strength(self, seen: Strengths) -> Floats:
        """See `Rule`."""
        return np.asarray(seen.far[..., FIGURES.index("distance")])

    def _drifted(self, seen: Strengths) -> Flags:
        return np.asarray(self.strength(seen) >= _DRIFTED)

    def hits(self, seen: Strengths, threshold: float) -> Flags:
        """See `Rule`."""
        drifted = self._drifted(seen)
        return np.asarray(drifted & (drifted.mean(axis=-1, keepdims=True) > threshold))

    def levels(self, seen: Strengths) -> Floats:
        """See `Rule`."""
        return np.asarray(self._drifted(seen).mean(axis=-1).max(axis=1))

    def told(self, threshold: float) -> str:
        """See `Rule`."""
        return "half of the columns" if threshold == _JUST_BELOW_HALF else f"share of columns > {threshold:.3g}"


class Adwin(NamedTuple):
    """An alarm where any column's ADWIN cuts its window."""

    who: str

    def default(self, columns: int) -> float:  # noqa: ARG002
        """River's."""
        return float(DELTAS.index(2e-3))

    def strength(self, seen: Strengths) -> Floats:
        """How many deltas would have cut."""
        return np.asarray(seen.cuts.sum(axis=-1, dtype=np.float64))

    def hits(self, seen: Strengths, threshold: float) -> Flags:
        """See `Rule`."""
        place = int(threshold)
        return np.zeros(seen.cuts.shape[:-1], bool) if place >= len(DELTAS) else np.asarray(seen.cuts[..., place])

    def levels(self, seen: Strengths) -> Floats:
        """See `Rule`; a strict delta is taken to cut only where every looser one has cut before."""
        cut: Flags = np.asarray(seen.cuts.any(axis=(1, 2)))
        return np.asarray(np.where(cut.any(axis=1), cut.shape[1] - np.flip(cut, axis=1).argmax(axis=1), 0).astype(np.float64))

    def told(self, threshold: float) -> str:
        """See `Rule`."""
        return f"delta {DELTAS[int(threshold)]:g}" if threshold < len(DELTAS) else f"below delta {DELTAS[-1]:g}"


_FIVE_PERCENT: Final = -math.log10(0.05)
RULES: Final[tuple[Rule, ...]] = (
    AnyColumn("PSI", "psi", "PSI", 0.2),
    AnyColumn("KS, Bonferroni", "evidence", "p", _FIVE_PERCENT, by_columns=True),
    Discoveries("KS, FDR", "evidence", "q", _FIVE_PERCENT),
    AnyColumn("Evidently, a column", "distance", "distance", _DRIFTED),
    Share("Evidently, the table"),
    Adwin("ADWIN"),
)
