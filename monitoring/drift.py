"""The alarm: one budget of false alarms over every feature, metric and look.

Each metric of the profile has aspects (`monitoring.usual`), and each aspect detectors (`monitoring.evidence`): sums M_n whose mean after n
healthy windows is at most n, whatever the dependence between them. An alarm is raised when their mean, weighted by shares of the budget
that were fixed beforehand, reaches the threshold A. So the mean time to a false alarm is at least A windows, and the chance of
one within n windows at most n / A (Shin, Ramdas & Rinaldo 2022, "E-detectors: a nonparametric framework for sequential change detection").
A is the budget, `one_false_alarm_in`, in windows.

Who is blamed: metrics are ranked by what they add to the evidence (averages of e-values are the only admissible way to merge them: Vovk & Wang
2021); features that move together may each carry some.

Assumptions, plainly: the reference holds the variation that a healthy stream shows (a season that it never saw is a change), and what one window
says about the next is what `monitoring.evidence` assumes. Everything here is a pure function: (profile, state, looks) -> (state, findings).
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import chain
from types import MappingProxyType
from typing import Final, NamedTuple

import msgspec
import numpy as np

from cluster.records import Record
from cluster.schema import Floats
from monitoring import agreement
from monitoring.agreement import Audits, Promise, Watch
from monitoring.evidence import Flags, Memory, Packed, pack, unpack
from monitoring.held import Same
from monitoring.profile import Profile
from monitoring.statistic import Reference
from monitoring.usual import Usual

_BUDGET_SHARES: Final = {"feature_drift": 0.45, "association": 0.1, "prediction_drift": 0.1, "performance": 0.2, "quality": 0.15}
CASCADE_SHARE: Final = 0.1
"""Of the whole budget, where a cascade's promise is watched; the metrics of the profile share the rest."""
REST: Final = 28
"""Windows for which what was blamed is left alone and its alarm stands: it has been told."""
_MOST_BLAMED: Final = 2
_BLAME_SHARE: Final = 0.2
_DAY: Final = 86400.0


class State(Record, frozen=True, kw_only=True):
    """All that the test remembers for one bundle."""

    memory: Packed | None = None
    """Of the detectors; None before the first window."""
    looks: int = 0
    alarms: int = 0
    watch: Watch | None = None
    """Of the cascade's promise; None where no row has been audited."""


class Alarm(Record, frozen=True, kw_only=True):
    """Something has changed."""

    blamed: list[str]
    """Keys of the metrics that carry the evidence, the heaviest first: `feature_drift:NAME` and the like."""
    began: float
    """When the heaviest of them began to change, as far as the evidence says: seconds since 1970, the mean over windows by their evidence."""
    began_give_or_take: float | None = None
    """Standard deviation of that, seconds; None where it is not known."""
    evidence: float
    threshold: float
    message: str


class Look(NamedTuple):
    """One metric in one window, not yet judged."""

    reference: Reference | Promise
    value: float
    unit: str
    size: str
    """The change in words a person understands."""
    figures: Mapping[int, float] = MappingProxyType({})
    """Standardised figures of the metric's aspects, by their places in the profile's `usual`."""
    audits: Audits | None = None
    """What a promise is judged by; None for the metrics of the profile."""


class Finding(NamedTuple):
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

    A promise takes a tenth. The rest is shared between the kinds that the profile has, 45 parts for features, 20 for performance, 15 for quality, 10 each
    for pairs of features and for predictions; evenly within each.
    """
    kinds = {key: key.partition(":")[0] for key in dict.fromkeys(aspect.key for aspect in profile.usual.aspects)}
    counted = list(kinds.values())
    whole = sum(share for kind, share in _BUDGET_SHARES.items() if kind in counted) / (1.0 if promise is None else 1.0 - CASCADE_SHARE)
    weights = {key: _BUDGET_SHARES[kind] / whole / counted.count(kind) for key, kind in kinds.items()}
    return weights if promise is None else weights | {promise.key: CASCADE_SHARE}


def total(profile: Profile, state: State, promise: Promise | None = None) -> float:
    """The evidence that is held against the threshold."""
    test = _test(Same(profile), promise)
    return sum(test.parts(test.recall(state.memory), promise, state.watch).values())


def judge(
    profile: Profile, state: State, looks: Sequence[Look], *, window_start: float, threshold: float, promise: Promise | None = None
) -> tuple[State, list[Finding], Alarm | None]:
    """Take in what one window says, and put it into words.

    No aspect says more than four standard deviations in one window, and no promise more than sqrt(threshold / weight): one day of snow is no lasting
    change. An aspect whose tails are those of rows drawn by lot (`monitoring.evidence`) says up to seven, and may alarm at once. After an alarm every detector begins anew and the blamed ones rest for 28 windows, so
    that a lasting change is told again, but not every week.
    """
    watch, looks, promised = _audited(state.watch, looks, window_start=window_start, threshold=threshold)
    figures = np.full(len(profile.usual.aspects), np.nan)
    places = list(chain.from_iterable(look.figures for look in looks))
    figures[places] = list(chain.from_iterable(look.figures.values() for look in looks))
    state, weighed = weigh(
        profile, msgspec.structs.replace(state, watch=watch), figures, window_start=window_start, threshold=threshold, promise=promise
    )
    said, raised = weighed.e_values | promised, weighed.raised
    blamed = raised.blamed if raised else []
    findings = [Finding(look, said[key], weighed.parts[key], key in blamed) for look in looks for key in [look.reference.key]]
    return state, findings, None if raised is None else _told(raised, looks, threshold)


class Raised(NamedTuple):
    """An alarm without words: who is blamed, the heaviest first, since when, and the evidence; as in `Alarm`."""

    blamed: list[str]
    began: float
    began_give_or_take: float | None
    evidence: float


class Weighed(NamedTuple):
    """What a window is worth, by metric."""

    e_values: dict[str, float]
    parts: dict[str, float]
    """Of the total that is held against the threshold."""
    raised: Raised | None


def weigh(
    profile: Profile, state: State, figures: Floats, *, window_start: float, threshold: float, promise: Promise | None = None
) -> tuple[State, Weighed]:
    """Take in the figures of one window, float64 (A,), NaN where it says nothing; what it says of the promise is in the state already."""
    test = _test(Same(profile), promise)
    memory, e_values = test.advance(test.recall(state.memory), figures, window_start)
    watch, parts = state.watch, test.parts(memory, promise, state.watch)
    raised = test.raised(memory, parts, watch) if sum(parts.values()) >= threshold else None
    if raised:
        memory = test.detectors.after_alarm(memory, test.places(raised.blamed), REST)
        if watch is not None and promise is not None:
            watch = agreement.after_alarm(watch, rest=REST, is_blamed=promise.key in raised.blamed)
    after = State(memory=pack(memory), looks=state.looks + 1, alarms=state.alarms + bool(raised), watch=watch)
    return after, Weighed(e_values, parts, raised)


def _told(raised: Raised, looks: Sequence[Look], threshold: float) -> Alarm:
    sizes = {look.reference.key: look.size for look in looks}
    told = "; ".join(sizes.get(key) or f"{key.partition(':')[2]}, in earlier windows" for key in raised.blamed)
    day = dt.datetime.fromtimestamp(raised.began, dt.UTC).strftime("%Y-%m-%d %H:%M UTC")
    return Alarm(**raised._asdict(), threshold=threshold, message=f"changed since about {day}: {told}")


@lru_cache(maxsize=16)
def _test(profile: Same[Profile], promise: Promise | None) -> _Test:
    return _Test(profile.it.usual, weights_of(profile.it, promise))


class _Test:
    """The detectors of a profile's aspects, and whose they are."""

    def __init__(self, usual: Usual, weights: Mapping[str, float]) -> None:
        self.detectors = usual.detectors()
        self._keys = list(dict.fromkeys(aspect.key for aspect in usual.aspects))
        where = {key: place for place, key in enumerate(self._keys)}
        self._owners = np.array([where[aspect.key] for aspect in usual.aspects], dtype=np.intp)
        sizes = np.bincount(self._owners, minlength=len(self._keys))
        self._shares: Floats = np.array([weights[aspect.key] for aspect in usual.aspects]) / sizes[self._owners]
        self._sizes = sizes
        self._weights = weights

    def recall(self, packed: Packed | None) -> Memory:
        """What was remembered; of a profile's first window, nothing."""
        return self.detectors.begin() if packed is None else unpack(packed, like=self.detectors.begin())

    def advance(self, memory: Memory, figures: Floats, window_start: float) -> tuple[Memory, dict[str, float]]:
        """Returns each metric's e-value as well: the mean over its aspects."""
        memory, e_values = self.detectors.advance(memory, figures, window_start / _DAY)
        return memory, dict(zip(self._keys, (np.bincount(self._owners, e_values) / self._sizes).tolist(), strict=True))

    def parts(self, memory: Memory, promise: Promise | None, watch: Watch | None) -> dict[str, float]:
        """What each metric contributes to the evidence."""
        weighted = self.detectors.evidence(memory) * self._shares
        parts = dict(zip(self._keys, np.bincount(self._owners, weighted, minlength=len(self._keys)).tolist(), strict=True))
        return parts if promise is None or watch is None else parts | {promise.key: self._weights[promise.key] * watch.evidence}

    def places(self, keys: Sequence[str]) -> Flags:
        """Which aspects are those of some metrics, bool (A,)."""
        return np.isin(self._owners, [place for place, key in enumerate(self._keys) if key in keys])

    def raised(self, memory: Memory, parts: Mapping[str, float], watch: Watch | None) -> Raised:
        """Who is blamed, and since when."""
        ranked = sorted(parts, key=lambda key: -parts[key])
        blamed = [key for key in ranked[:_MOST_BLAMED] if parts[key] >= _BLAME_SHARE * parts[ranked[0]]]
        return Raised(blamed, *self._began(memory, blamed[0], watch), evidence=sum(parts.values()))

    def _began(self, memory: Memory, key: str, watch: Watch | None) -> tuple[float, float | None]:
        if key not in self._keys:
            assert watch is not None
            assert watch.leader.began is not None
            return watch.leader.began, None
        weighted = np.where(self.places([key]), self.detectors.evidence(memory), 0.0)
        mean, spread = self.detectors.began(memory, int(weighted.argmax()))
        return mean * _DAY, spread * _DAY


def _audited(
    watch: Watch | None, looks: Sequence[Look], *, window_start: float, threshold: float
) -> tuple[Watch | None, list[Look], dict[str, float]]:
    """Take in what a window's audits say of the promise; returns the looks with that in words."""
    told, e_values = list[Look](), dict[str, float]()
    for look in looks:
        if isinstance(look.reference, Promise):
            assert look.audits is not None
            before = watch or Watch(promised=look.reference.most)
            watch, e_values[look.reference.key] = agreement.advance(
                before, look.audits, window_start=window_start, cap=math.sqrt(threshold / CASCADE_SHARE)
            )
            look = look._replace(size=agreement.describe(watch))
        told.append(look)
    return watch, told, e_values
