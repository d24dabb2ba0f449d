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
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

import msgspec

from cluster.records import Record
from monitoring import agreement
from monitoring.agreement import Audits, Promise, Watch
from monitoring.profile import Profile
from monitoring.statistic import Reference, e_value, p_value

_BUDGET_SHARES: Final = {"feature_drift": 0.5, "prediction_drift": 0.1, "performance": 0.25, "quality": 0.15}
CASCADE_SHARE: Final = 0.1
"""Of the whole budget, where a cascade's promise is watched; the metrics of the profile share the rest."""
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
    watch: Watch | None = None
    """Of the cascade's promise; None where no row has been audited."""


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

    reference: Reference | Promise
    statistic: float
    value: float
    unit: str
    size: str
    """The change in words a person understands."""
    audits: Audits | None = None
    """What a promise is judged by; None for the metrics of the profile."""


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


def weights_of(profile: Profile, promise: Promise | None = None) -> dict[str, float]:
    """Each metric's share of the budget, by key; fixed before anything is seen, and 1 in all.

    A promise takes a tenth. Of the rest, half goes to features, a quarter to performance, what is left to quality and
    predictions; evenly within each.
    """
    kinds = [metric.kind for metric in profile.metrics]
    whole = sum(_BUDGET_SHARES[kind] for kind in set(kinds)) / (1.0 if promise is None else 1.0 - CASCADE_SHARE)
    weights = {m.key: _BUDGET_SHARES[m.kind] / whole / kinds.count(m.kind) for m in profile.metrics}
    return weights if promise is None else weights | {promise.key: CASCADE_SHARE}


def total(profile: Profile, state: State, promise: Promise | None = None) -> float:
    """The evidence that is held against the threshold."""
    return sum(_parts(weights_of(profile, promise), state.detectors, promise, state.watch).values())


def judge(
    profile: Profile, state: State, looks: Sequence[Look], *, window_start: float, threshold: float, promise: Promise | None = None
) -> tuple[State, list[Finding], Alarm | None]:
    """Take in what one window says.

    A metric's e-value is capped at sqrt(threshold / weight), so that no metric alarms on one window alone: one day of
    snow is no lasting change. After an alarm every detector begins anew and the blamed ones rest for 28 windows, so
    that a lasting change is told again, but not every week.
    """
    weights = weights_of(profile, promise)
    taken = _take(state, looks, weights, window_start, threshold)
    detectors, watch = taken.detectors, taken.watch
    parts = _parts(weights, detectors, promise, watch)
    alarm = _alarm(parts, _beginnings(detectors, promise, watch), taken.looks, threshold) if sum(parts.values()) >= threshold else None
    blamed = alarm.blamed if alarm else []
    findings = [Finding(k, e, parts[k.reference.key], k.reference.key in blamed) for k, e in zip(taken.looks, taken.e_values, strict=True)]
    if alarm:
        detectors = {key: Detector(previous=d.previous, rest=_REST if key in blamed else 0) for key, d in detectors.items()}
        if watch is not None and promise is not None:
            watch = agreement.after_alarm(watch, rest=_REST, is_blamed=promise.key in blamed)
    following = State(detectors=detectors, looks=state.looks + 1, alarms=state.alarms + bool(alarm), watch=watch)
    return following, findings, alarm


class _Taken(NamedTuple):
    """A window taken in, before anything is decided."""

    detectors: dict[str, Detector]
    watch: Watch | None
    looks: list[Look]
    e_values: list[float]


def _take(state: State, looks: Sequence[Look], weights: Mapping[str, float], window_start: float, threshold: float) -> _Taken:
    detectors, watch, seen, found = dict(state.detectors), state.watch, list[Look](), list[float]()
    for look in looks:
        reference, key = look.reference, look.reference.key
        cap = math.sqrt(threshold / weights[key])
        if isinstance(reference, Reference):
            detectors[key], e = _advance(detectors.get(key, Detector()), reference, look.statistic, window_start, cap)
        else:
            assert look.audits is not None
            watch, e = agreement.advance(watch or Watch(promised=reference.most), look.audits, window_start=window_start, cap=cap)
            look = replace(look, size=agreement.describe(watch))
        seen.append(look)
        found.append(e)
    return _Taken(detectors, watch, seen, found)


def _parts(
    weights: Mapping[str, float], detectors: Mapping[str, Detector], promise: Promise | None, watch: Watch | None
) -> dict[str, float]:
    """What each metric contributes to the evidence."""
    parts = {key: weights[key] * detector.evidence for key, detector in detectors.items()}
    return parts if promise is None or watch is None else parts | {promise.key: weights[promise.key] * watch.evidence}


def _beginnings(detectors: Mapping[str, Detector], promise: Promise | None, watch: Watch | None) -> dict[str, tuple[float | None, float]]:
    """When each metric's run of evidence began, and its last statistic, which decides between equals."""
    found = {key: (detector.began, detector.previous or 0.0) for key, detector in detectors.items()}
    return found if promise is None or watch is None else found | {promise.key: (watch.leader.began, 0.0)}


def _advance(detector: Detector, reference: Reference, statistic: float, window_start: float, cap: float) -> tuple[Detector, float]:
    p, z = p_value(reference.baseline, statistic, detector.previous)
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


def _alarm(
    parts: Mapping[str, float], beginnings: Mapping[str, tuple[float | None, float]], looks: Sequence[Look], threshold: float
) -> Alarm:
    ranked = sorted(parts, key=lambda key: (-parts[key], -beginnings[key][1]))
    blamed = [key for key in ranked[:_MOST_BLAMED] if parts[key] >= _BLAME_SHARE * parts[ranked[0]]]
    began = min(start for key in blamed if (start := beginnings[key][0]) is not None)
    sizes = {look.reference.key: look.size for look in looks}
    told = "; ".join(sizes.get(key) or f"{key.partition(':')[2]}, in earlier windows" for key in blamed)
    day = dt.datetime.fromtimestamp(began, dt.UTC).strftime("%Y-%m-%d %H:%M UTC")
    return Alarm(
        blamed=blamed, began=began, evidence=sum(parts.values()), threshold=threshold, message=f"changed since about {day}: {told}"
    )
