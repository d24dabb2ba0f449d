"""How far a window lies from what the reference knew, for whoever extrapolates from the reference. Pure."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np

from monitoring.profile import Profile
from monitoring.sketches import MISSING, UNKNOWN, Sketcher, Summary

HARDLY: Final = 0.001
"""A cell with a smaller share of the reference's rows has taught nobody what happens there."""
_USUAL: Final = 2.0
"""Windows up to this many times further from the reference than its own blocks are on average are near."""
_STRAYS: Final = 3.0  # rows, of any window


class Reach(NamedTuple):
    """Where a window's rows lie."""

    outside: float
    """Upper bound of the share of rows that have a value where the reference hardly had any, beyond what it had itself."""
    stretch: float
    """How much further the furthest feature has moved than is usual, as a multiple; 0 for a window that is near."""


def reach_of(profile: Profile, sketcher: Sketcher, summary: Summary) -> Reach:
    """Of a window's summary. Shares outside are added up over features, as if no row were outside in two of them."""
    rows = max(summary.rows, 1)
    outside = 0.0
    for j, column in enumerate(profile.columns):
        if column.role != "feature":
            continue
        cells, then = sketcher.cells_of(summary, j), np.array(profile.shares[j])
        hardly = then < HARDLY
        bad, usual = summary.quality[j], profile.bad[j]
        away = int(cells[hardly].sum()) + int(bad[UNKNOWN])
        known = float(then[hardly].sum()) + usual[UNKNOWN]
        if usual[MISSING] < HARDLY:
            away, known = away + int(bad[MISSING]), known + usual[MISSING]
        outside += max(0.0, (away - _STRAYS) / rows - known)
    return Reach(min(outside, 1.0), _stretch(profile, sketcher, summary))


def _stretch(profile: Profile, sketcher: Sketcher, summary: Summary) -> float:
    furthest = 0.0
    for metric in profile.metrics:
        if metric.kind == "feature_drift":
            cells = sketcher.cells_of(summary, metric.column)
            shares = cells / max(int(cells.sum()), 1)
            moved = float(np.abs(shares - np.array(profile.shares[metric.column])).sum() / 2)
            furthest = max(furthest, moved / max(metric.typical, HARDLY))
    return max(0.0, furthest / _USUAL - 1)
