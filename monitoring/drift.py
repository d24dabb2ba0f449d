"""The sequential test: one budget of false alarms over every feature, metric and look.

Each metric of the profile has a detector. A window gives it an e-value: a figure whose mean is at most 1 while
nothing changes, given all windows before. Detectors are Shiryaev-Roberts e-detectors (Shin, Ramdas & Rinaldo 2022,
"E-detectors: a nonparametric framework for sequential change detection"):

    M_n = (M_{n-1} + 1) * e_n,    alarm when the weighted mean of all M_n reaches the threshold A.

While nothing changes, mean(M_n) - n is a supermartingale whatever the dependence between metrics, so the mean time to
an alarm is at least A windows. A is the budget, `one_false_alarm_in`, in windows.

Assumptions, plainly: the reference holds the variation that a healthy stream shows (a season that it never saw is a
change), and what one window says about the next is what `monitoring.statistic.p_value` assumes. Everything here is a
pure function: (profile, state, looks) -> (state, findings).

So the guarantee is as good as the p-values, which are fitted, not exact. In simulation it holds for correlations of
neighbouring windows up to 0.5 with 20 or more blocks in the reference; at 0.8, 20 blocks are worth about two and the
budget is overspent about twofold. Give such models a longer reference.
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from cluster.records import Record
from monitoring.profile import Profile
from monitoring.statistic import Reference, e_value, p_value

_BUDGET_SHARES: Final = {"feature_drift": 0.5, "prediction_drift": 0.1, "performance": 0.25, "quality": 0.15}
_REST: Final = 28  # windows for which a metric that was blamed is left alone: the alarm has been raised
_MOST_BLAMED: Final = 3
_BLAME_SHARE: Final = 0.2


class Detector(Record, frozen=True, kw_only=True):
    """What one metric remembers between windows."""

    evidence: float = 0.0
    """M_n."""
    surge: float = 1.0
    """The largest product of e-values over any run of windows that ends here (CUSUM)."""
    began: float | None = None
    """Start of the first window of that run: the likeliest beginning of a change."""
    previous: float | None = None
    """The last window's standardised statistic."""
    rest: int = 0
    """Windows still to be left alone."""


class State(Record, frozen=True, kw_only=True):
    """All that the test remembers for one bundle."""

    detectors: dict[str, Detector] = msgspec.field(default_factory=dict)
    looks: int = 0
    alarms: int = 0


class Alarm(Record, frozen=True, kw_only=True):
    """Something has changed."""

    blamed: list[str]
    """Keys of the metrics that carry the evidence, the heaviest first: `feature_drift:NAME` and the like."""
    began: float
    """When the first of them began to change, as far as the evidence says: start of a window."""
    evidence: float
    threshold: float
    message: str


@dataclass(frozen=True)
class Look:
    """One metric in one window, not yet judged."""

    reference: Reference
    statistic: float
    value: float
    unit: str
    size: str
    """The change in words a person understands."""


@dataclass(frozen=True)
class Finding:
    """One metric in one window, judged."""

    look: Look
    e_value: float
    evidence: float
    """The metric's part of the total that is held against the threshold."""
    blamed: bool


def threshold_of(one_false_alarm_in: dt.timedelta, window: dt.timedelta) -> float:
    """The budget in windows; at least 2.

    >>> threshold_of(dt.timedelta(days=180), dt.timedelta(days=1))
    180.0
    """
    return max(one_false_alarm_in / window, 2.0)


def weights_of(profile: Profile) -> dict[str, float]:
    """Each metric's share of the budget, by key; fixed before anything is seen, and 1 in all.

    Half goes to features, a quarter to performance, the rest to quality and predictions; evenly within each.
    """
    kinds = [metric.kind for metric in profile.metrics]
    present = sum(_BUDGET_SHARES[kind] for kind in set(kinds))
    return {m.key: _BUDGET_SHARES[m.kind] / present / kinds.count(m.kind) for m in profile.metrics}


def total(profile: Profile, state: State) -> float:
    """The evidence that is held against the threshold."""
    weights = weights_of(profile)
    return sum(weights[key] * detector.evidence for key, detector in state.detectors.items())


def judge(
    profile: Profile, state: State, looks: Sequence[Look], *, window_start: float, threshold: float
) -> tuple[State, list[Finding], Alarm | None]:
    """Take in what one window says.

    A metric's e-value is capped at sqrt(threshold / weight), so that no metric alarms on one window alone: one day of
    snow is no lasting change. After an alarm every detector begins anew and the blamed ones rest for 28 windows, so
    that a lasting change is told again, but not every week.
    """
    weights = weights_of(profile)
    detectors = dict(state.detectors)
    evidences = {}
    for look in looks:
        key = look.reference.key
        cap = math.sqrt(threshold / weights[key])
        detectors[key], evidences[key] = _advance(detectors.get(key, Detector()), look, window_start, cap)
    parts = {key: weights[key] * detector.evidence for key, detector in detectors.items()}
    alarm = _alarm(parts, detectors, looks, threshold) if sum(parts.values()) >= threshold else None
    blamed = alarm.blamed if alarm else []
    findings = [Finding(look, evidences[look.reference.key], parts[look.reference.key], look.reference.key in blamed) for look in looks]
    if alarm:
        detectors = {key: Detector(previous=d.previous, rest=_REST if key in blamed else 0) for key, d in detectors.items()}
    return State(detectors=detectors, looks=state.looks + 1, alarms=state.alarms + bool(alarm)), findings, alarm


def _advance(detector: Detector, look: Look, window_start: float, cap: float) -> tuple[Detector, float]:
    p, z = p_value(look.reference.baseline, look.statistic, detector.previous)
    if detector.rest > 0:
        return Detector(previous=z, rest=detector.rest - 1), 1.0
    e = e_value(p, cap=cap)
    fresh = detector.surge <= 1.0
    following = Detector(
        evidence=(detector.evidence + 1.0) * e,
        surge=max(detector.surge, 1.0) * e,
        began=window_start if fresh else detector.began,
        previous=z,
    )
    return following, e


def _alarm(parts: dict[str, float], detectors: dict[str, Detector], looks: Sequence[Look], threshold: float) -> Alarm:
    ranked = sorted(parts, key=lambda key: (-parts[key], -(detectors[key].previous or 0.0)))
    blamed = [key for key in ranked[:_MOST_BLAMED] if parts[key] >= _BLAME_SHARE * parts[ranked[0]]]
    began = min(start for key in blamed if (start := detectors[key].began) is not None)
    sizes = {look.reference.key: look.size for look in looks}
    told = "; ".join(sizes.get(key) or f"{key.partition(':')[2]}, in earlier windows" for key in blamed)
    day = dt.datetime.fromtimestamp(began, dt.UTC).strftime("%Y-%m-%d %H:%M UTC")
    return Alarm(
        blamed=blamed, began=began, evidence=sum(parts.values()), threshold=threshold, message=f"changed since about {day}: {told}"
    )
