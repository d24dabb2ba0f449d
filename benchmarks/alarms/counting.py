"""From alarms to figures: how often there were any, what of a planted change was found, and how sure that is. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
from scipy import stats

from benchmarks.alarms.detectors import Alarm
from benchmarks.alarms.rules import Flags
from cluster.schema import Floats

MOST_BLAMED: Final = 2
SOON: Final = 10
Course = Sequence[Alarm | None]


class Found(NamedTuple):
    """One planted change."""

    early: bool
    """There was an alarm before the change."""
    delay: int | None
    """Windows from the change to the first alarm after it, that one included: 1 in the first window that has it. None where there was none."""
    is_right: bool
    """What changed was among at most two that were blamed."""

    @property
    def useful(self) -> float:
        """The delay of a change that somebody could act on; infinite where it was not found, or early, or wrongly blamed."""
        return float("inf") if self.early or self.delay is None or not self.is_right else float(self.delay)


def course(names: Sequence[str], hits: Flags, strength: Floats) -> list[Alarm | None]:
    """The alarms of one stream, from bool and float64 (windows, columns): the strongest first."""
    made: list[Alarm | None] = [None] * len(hits)
    for at in np.flatnonzero(hits.any(axis=1)):
        order = np.argsort(-strength[at], kind="stable")
        made[at] = tuple((names[j],) for j in order if hits[at, j])
    return made


def found(alarms: Course, before: int, blame: str) -> Found:
    """What came of a change after `before` windows."""
    first = next((at for at, alarm in enumerate(alarms) if alarm is not None), None)
    if first is None:
        return Found(False, None, False)
    if first < before:
        return Found(True, None, False)
    blamed = alarms[first] or ()
    return Found(False, first - before + 1, len(blamed) <= MOST_BLAMED and any(blame in one for one in blamed))


def calm_figures(courses: Sequence[Course]) -> dict[str, float]:
    """Of streams in which nothing changes."""
    counts = np.array([sum(alarm is not None for alarm in alarms) for alarms in courses], dtype=np.float64)
    hits, windows = int((counts > 0).sum()), sum(map(len, courses))
    low, high = rate_interval(counts, windows)
    return {
        "streams": float(len(courses)),
        "any alarm %": 100 * hits / len(courses),
        "upper %": 100 * upper_bound(hits, len(courses)),
        "alarms per 1000": 1000 * float(counts.sum()) / windows,
        "from": 1000 * low,
        "to": 1000 * high,
    }


def found_figures(outcomes: Sequence[Found]) -> dict[str, float]:
    """Of streams in which one thing changes; without a median where nothing was found usefully."""
    delays = np.array([one.useful for one in outcomes])
    useful = delays[np.isfinite(delays)]
    after = [one for one in outcomes if one.delay is not None]
    figures = {
        "streams": float(len(outcomes)),
        "useful %": 100 * len(useful) / len(outcomes),
        f"within {SOON} %": 100 * float((delays <= SOON).mean()),
        "early %": 100 * sum(one.early for one in outcomes) / len(outcomes),
        "found %": 100 * len(after) / len(outcomes),
    }
    if after:
        figures["rightly blamed %"] = 100 * sum(one.is_right for one in after) / len(after)
    return figures | ({"median delay": float(np.median(useful))} if len(useful) else {})


def beside(ours: Sequence[Found], peers: Sequence[Sequence[Found]]) -> dict[str, float]:
    """Stream by stream, ours against whichever peer was the best there: a harder judge than any one of them."""
    mine, theirs = np.array([one.useful for one in ours]), np.array([[one.useful for one in peer] for peer in peers]).min(axis=0)
    both = np.isfinite(mine) & np.isfinite(theirs)
    figures = {
        "only ours %": np.isfinite(mine) & ~np.isfinite(theirs),
        "only a peer %": ~np.isfinite(mine) & np.isfinite(theirs),
        "a peer sooner %": both & (theirs < mine),
    }
    return {name: 100 * float(share.mean()) for name, share in figures.items()}


def upper_bound(hits: int, of: int, *, confidence: float = 0.95) -> float:
    """Clopper and Pearson's one-sided upper bound of a share.

    >>> round(upper_bound(0, 59), 4)
    0.0495
    """
    return 1.0 if hits >= of else float(stats.beta.ppf(confidence, hits + 1, of - hits))


def rate_interval(counts: Floats, windows: int, *, confidence: float = 0.95) -> tuple[float, float]:
    """Two-sided interval of alarms a window, from the counts of independent streams.

    Garwood's (1936) for a Poisson count, made wider by the dispersion of the counts over their mean where that is above 1, because alarms
    come in clusters (quasi-Poisson: McCullagh & Nelder 1989, section 6.2).

    >>> low, high = rate_interval(np.zeros(10), 1000)
    >>> low, round(high, 6)
    (0.0, 0.003689)
    """
    total, tail = float(counts.sum()), (1 - confidence) / 2
    spread = max(1.0, float(counts.var(ddof=1)) / float(counts.mean())) if total and len(counts) > 1 else 1.0
    low = stats.chi2.ppf(tail, 2 * total / spread) / 2 if total else 0.0
    high = stats.chi2.ppf(1 - tail, 2 * (total / spread + 1)) / 2
    return float(low * spread / windows), min(float(high * spread / windows), 1.0)
