"""The cascade's promise, held against audited rows: a sequential test of "the student disagrees with the ensemble on more than was promised".

The promise was made with a confidence over the held-out rows; what is tested is the promise itself: the rate is at most `most`.
Each bet is a likelihood ratio of a higher rate q against it,

    L_n = prod (q / most)^x ((1 - q) / (1 - most))^(1 - x),

a wager of constant size on every audited row (Waudby-Smith & Ramdas 2024, "Estimating means of bounded random variables by
betting", section 4). While the promise is kept, its mean is at most 1 whenever one stops (Ville 1939). The bets run as the
e-detectors of `monitoring.drift` do, each window a factor, so that a change years later is found as well.

Assumes that audited rows are chosen by chance, and that each is answered otherwise with a chance of at most `most`, given all before it;
not that rows are independent. Audits that were dropped must not have been dropped for what they would have said. Pure.
"""

from __future__ import annotations

import datetime as dt
from typing import Final, Literal

import msgspec
import numpy as np
from scipy.optimize import brentq
from scipy.special import betaln, xlogy

from cluster.bundle import CascadeRule
from cluster.records import Interval, Record
from cluster.schema import Floats, Task

ODDS: Final = (1.5, 2.0, 4.0, 8.0)
"""The rates that are betted on, as multiples of the promised odds; each has a quarter of the stake."""
CONFIDENCE: Final = 0.95
_PRIOR: Final = (0.5, 5.0)
_NEAR: Final = 1e-9
_LARGEST: Final = 700.0
"""Of the logarithm of an e-value; a larger one is no float."""


class Promise(Record, frozen=True, kw_only=True):
    """What the cascade says of itself."""

    most: float
    """Share of the rows the student answers on which the ensemble may decide otherwise."""
    tolerance: float = 0.0
    """Regression: how far apart two answers are that differ, in units of the label."""
    kind: Literal["cascade"] = "cascade"
    name: str = "agreement"

    @property
    def key(self) -> str:
        """Names the test among a profile's metrics."""
        return f"{self.kind}:{self.name}"


class Audits(Record, frozen=True, kw_only=True):
    """Audited rows, counted."""

    rows: int = 0
    differ: int = 0
    """Of them, rows on which the two disagreed."""

    def __add__(self, other: Audits) -> Audits:
        return Audits(rows=self.rows + other.rows, differ=self.differ + other.differ)


class Bet(Record, frozen=True, kw_only=True):
    """What one bet remembers between windows."""

    evidence: float = 0.0
    """M_n of `monitoring.drift`."""
    surge: float = 1.0
    """The largest product of its factors over any run of windows that ends here (CUSUM)."""
    began: float | None = None
    """Start of the first window of that run."""
    since: Audits = Audits()
    """What was audited in that run."""


class Watch(Record, frozen=True, kw_only=True):
    """All that the test remembers for one bundle."""

    promised: float
    counted: Audits = Audits()
    """All since the bundle began to answer, or since the last alarm that blamed the cascade."""
    bets: list[Bet] = msgspec.field(default_factory=lambda: [Bet()] * len(ODDS))
    rest: int = 0
    """Windows still to be left alone."""

    @property
    def evidence(self) -> float:
        """Against the promise, over all bets."""
        return sum(bet.evidence for bet in self.bets) / len(self.bets)

    @property
    def leader(self) -> Bet:
        """The bet that has won most."""
        return max(self.bets, key=lambda bet: bet.evidence)


def promise_of(rule: CascadeRule | None, task: Task) -> Promise | None:
    """What a bundle promises; None for one whose student answers no row, or, as older regressions, does not say when answers differ."""
    if rule is None or rule.threshold > 1 or (task == "regression" and rule.tolerance is None):
        return None
    return Promise(most=rule.max_disagreement, tolerance=rule.tolerance or 0.0)


def e_values(audits: Audits, most: float) -> Floats:
    """The likelihood ratio of each bet, float64 (len(ODDS),). Their mean is an e-value against "the rate is at most `most`".

    >>> e_values(Audits(rows=50, differ=0), 0.02).round(3).tolist()
    [0.608, 0.372, 0.054, 0.001]
    """
    odds = np.array(ODDS) * most / (1 - most)
    rate = odds / (1 + odds)
    logs = xlogy(audits.differ, rate / most) + xlogy(audits.rows - audits.differ, (1 - rate) / (1 - most))
    return np.asarray(np.exp(np.minimum(logs, _LARGEST)))


def advance(watch: Watch, audits: Audits, *, window_start: float, cap: float) -> tuple[Watch, float]:
    """Take in the audits of one window; returns the window's own e-value as well.

    Parameters
    ----------
    cap
        No bet multiplies its evidence by more than this in one window.
    """
    counted = watch.counted + audits
    if watch.rest > 0:
        return msgspec.structs.replace(watch, counted=counted, rest=watch.rest - 1), 1.0
    factors = np.minimum(e_values(audits, watch.promised), cap)
    bets = [_bet(bet, float(e), audits, window_start) for bet, e in zip(watch.bets, factors, strict=True)]
    return msgspec.structs.replace(watch, counted=counted, bets=bets), float(factors.mean())


def _bet(bet: Bet, factor: float, audits: Audits, window_start: float) -> Bet:
    fresh = bet.surge <= 1.0
    return Bet(
        evidence=(bet.evidence + 1.0) * factor,
        surge=max(bet.surge, 1.0) * factor,
        began=window_start if fresh else bet.began,
        since=audits if fresh else bet.since + audits,
    )


def after_alarm(watch: Watch, *, rest: int, is_blamed: bool) -> Watch:
    """Begin anew; when the alarm was about the cascade, leave it alone for `rest` windows and count anew too; else a rest goes on."""
    return (
        Watch(promised=watch.promised, rest=rest) if is_blamed else Watch(promised=watch.promised, counted=watch.counted, rest=watch.rest)
    )


def interval(audits: Audits, *, confidence: float = CONFIDENCE) -> Interval:
    """The rate with a confidence sequence: its bounds hold for all numbers of rows together, however often one looks.

    Robbins' beta-binomial mixture (Robbins 1970; Howard, Ramdas, McAuliffe & Sekhon 2021, section 4): rates p for which
    B(k + a, n - k + b) / (B(a, b) p^k (1 - p)^(n - k)) stays below 1 / (1 - confidence). Assumes a rate that does not change.

    >>> found = interval(Audits(rows=1000, differ=40))
    >>> round(found.lower, 3), found.estimate, round(found.upper, 3)
    (0.023, 0.04, 0.064)
    """
    k, n, (a, b) = audits.differ, audits.rows, _PRIOR
    if n == 0:
        return Interval(estimate=0.0, lower=0.0, upper=1.0)
    limit = betaln(k + a, n - k + b) - betaln(a, b) + np.log(1 - confidence)

    def excess(p: float) -> float:
        return float(limit - xlogy(k, p) - xlogy(n - k, 1 - p))

    rate = k / n
    lower = brentq(excess, _NEAR, rate) if k and excess(_NEAR) > 0 else 0.0
    upper = brentq(excess, rate, 1 - _NEAR) if k < n and excess(1 - _NEAR) > 0 else 1.0
    return Interval(estimate=rate, lower=float(lower), upper=float(upper))


def describe(watch: Watch) -> str:
    """What the audits say, for people: of the run of windows that carries the evidence, or of all where there is none."""
    bet = watch.leader
    shown = bet.since if bet.surge > 1 else watch.counted
    since = f", audited since {_day(bet.began)}" if bet.surge > 1 and bet.began is not None else " audited"
    found = interval(shown)
    return (
        f"the student disagrees with the ensemble on {found.estimate:.1%} ({found.lower:.1%} to {found.upper:.1%}) of the rows it answers "
        f"({shown.rows:,}{since}); {watch.promised:.1%} was promised"
    )


def _day(began: float) -> str:
    return dt.datetime.fromtimestamp(began, dt.UTC).strftime("%Y-%m-%d")
