"""How far apart groups of people are treated, window after window: the gate's own functions on live rows. Pure.

Each pair of groups has a gap a window; its mean over windows has a confidence sequence, at levels that hold for all pairs, figures
and looks together. A gap is too wide when its whole interval lies beyond the limit of the YAML: with `fairness.confidence` that
is never said of a bundle whose gaps are within their limits.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from cluster.fairness_settings import Fairness
from cluster.records import Interval
from cluster.schema import Floats, Label, Matrix
from monitoring import confidence
from monitoring.fairness import OVERALL, Attribute, assess, kind
from monitoring.said import Figure, Live

MOST_GROUPS: Final = 8
"""Of an attribute, the largest of the window, are compared."""
WITHOUT_LABELS: Final = frozenset({"selection_rate"})
WITH_LABELS: Final = frozenset({"tpr", "fpr", "calibration"})
_KEY: Final = "gap|"


class _Pair(NamedTuple):
    """Two groups in this window and so far."""

    names: tuple[str, str]
    now: float
    """First minus second."""
    windows: int
    mean: float
    bounds: Interval | None

    @property
    def least(self) -> float:
        """The least gap the bounds allow, whichever way it points."""
        return 0.0 if self.bounds is None else max(self.bounds.lower, -self.bounds.upper, 0.0)

    @property
    def most(self) -> float | None:
        return None if self.bounds is None else max(abs(self.bounds.lower), abs(self.bounds.upper))


def gaps(
    label: Label,
    scores: Matrix,
    y: Floats,
    groups: Mapping[str, npt.NDArray[np.object_]],
    settings: Fairness,
    live: Live,
    *,
    kinds: frozenset[str],
    rng: np.random.Generator,
) -> tuple[list[Figure], Live]:
    """Take a window in; of each attribute and figure, say the pair of groups that is furthest apart.

    Parameters
    ----------
    y
        float64 (n,), NaN where unknown.
    kinds
        The figures to look at: `WITHOUT_LABELS` once a window is over, `WITH_LABELS` once its labels are due.
    """
    if not groups or not len(y):
        return [], live
    report = assess(label, y, scores, groups, settings, rng=rng)
    found = []
    for attribute in report.attributes:
        for metric, pairs in _gaps_now(attribute, kinds).items():
            told, live = _judged(f"{metric} by {attribute.name}", pairs, settings, live, settings.limits.get(kind(metric)), len(y))
            found.append(told)
    return found, live


def _gaps_now(attribute: Attribute, kinds: frozenset[str]) -> dict[str, dict[tuple[str, str], float]]:
    """By figure, the gap of each pair of the largest groups, names in alphabetical order."""
    compared = {group.name for group in attribute.groups[:MOST_GROUPS] if group.judged}
    found: dict[str, dict[tuple[str, str], float]] = {}
    for pair in attribute.comparisons:
        if pair.other != OVERALL and kind(pair.metric) in kinds and {pair.group, pair.other} <= compared:
            turned = pair.group > pair.other
            names = (pair.other, pair.group) if turned else (pair.group, pair.other)
            found.setdefault(pair.metric, {})[names] = -pair.difference.estimate if turned else pair.difference.estimate
    return found


def _judged(
    name: str, pairs: Mapping[tuple[str, str], float], settings: Fairness, live: Live, limit: float | None, rows: int
) -> tuple[Figure, Live]:
    judged = []
    for names, now in pairs.items():
        key = f"{_KEY}{name}|{names[0]}|{names[1]}"
        live = live.seen(key, now)
        begun = [other for other in live.courses if other.startswith(_KEY)]
        course = live.courses[key]
        bounds = confidence.interval(course, confidence=confidence.level(begun.index(key) + 1, confidence=settings.confidence))
        judged.append(_Pair(names, now, course.windows, course.mean, bounds))
    beyond = [pair for pair in judged if limit is not None and pair.least > limit]
    widest = max(beyond or judged, key=lambda pair: abs(pair.mean))
    figure = Figure(
        kind="fairness",
        name=name,
        value=abs(widest.mean),
        unit="gap between two groups, mean over windows",
        rows=rows,
        expected=limit,
        lower=None if widest.bounds is None else widest.least,
        upper=widest.most,
        alarm=bool(beyond),
        message=_sentence(widest, limit, is_beyond=bool(beyond)),
    )
    return figure, live


def _sentence(pair: _Pair, limit: float | None, *, is_beyond: bool) -> str:
    over = f"over {pair.windows} windows"
    bounded = "; too few windows to bound it" if pair.bounds is None else f" ({pair.least:.4f} to {pair.most:.4f})"
    judged = "" if limit is None else f"; it exceeds {limit:g}" if is_beyond else f"; it is not shown to exceed {limit:g}"
    return f"'{pair.names[0]}' and '{pair.names[1]}' are {abs(pair.now):.4f} apart in this window, {abs(pair.mean):.4f} {over}{bounded}{judged}"
