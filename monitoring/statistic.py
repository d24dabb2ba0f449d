"""How far a window is from the reference, on a scale the reference itself sets.

A day differs from another day even when nothing is wrong, and neighbouring rows resemble each other, so no
formula for independent rows applies. Here the reference is cut into blocks as long as a window; each is compared
with the blocks that are not near it, and what comes out says how large the statistic is when nothing has changed.
"""

from __future__ import annotations

import math
from typing import Final, Literal

import numpy as np
from scipy.special import stdtr

from cluster.records import Record
from cluster.schema import Floats

_SOFT: Final = 0.1  # log(D + 0.1): a window that fits too well is no news
_FEWEST_DF: Final = 3.0
_MOST_DF: Final = 10.0  # tails stay heavier than normal however long the reference is
_MEMORY: Final = 3.0  # a previous window further out than this predicts no more than this
_UPPER: Final = 1.645  # normal quantile of 95 %
_KAPPA: Final = 1 / 3


MetricKind = Literal["feature_drift", "association", "prediction_drift", "performance", "quality"]


class Baseline(Record, frozen=True, kw_only=True):
    """How a statistic behaves while nothing changes: Student-t with a memory of one window."""

    center: float
    scale: float
    df: float
    memory: float
    """Correlation of neighbouring windows, 0 to 0.9."""
    blocks: int


class Reference(Record, frozen=True, kw_only=True):
    """One metric on the reference: K figures (shares of cells, a rate, a mean loss) and how they vary by themselves."""

    kind: MetricKind
    name: str
    column: int = -1
    """Which column of the sketch, where there is one."""
    shape: Literal["distance", "rise"]
    """`distance`: any change of K shares counts; `rise`: only an increase of one figure."""
    mean: list[float]
    between: list[float]
    """Variance between blocks beyond what their size explains."""
    within: list[float]
    """Variance of a single row."""
    typical: float
    """`distance`: mean total variation of a block; `rise`: the same as `mean`."""
    baseline: Baseline

    @property
    def key(self) -> str:
        """Names the metric within a profile."""
        return f"{self.kind}:{self.name}"


def deviations(values: Floats, sizes: Floats, within: Floats, *, floor: float) -> Floats:
    """Standardise each block against the blocks that are not near it.

    h-block leave-out (Racine 2000): the m // 10 neighbours on each side are left out as well, because dependence
    makes a block resemble its neighbours more than it will resemble the future.

    Parameters
    ----------
    values
        float64 (m, K), in order of time.
    sizes
        float64 (m,), rows of each block.
    within
        float64 (K,), variance of one row.
    floor
        1 for shares: a cell's variance is at least that of one expected row a window, so that a single stray row
        is no evidence; 0 for means.

    Returns
    -------
    float64 (m, K), near 0 with variance near 1.
    """
    m, reach = len(values), max(1, len(values) // 10)
    low, high = np.maximum(np.arange(m) - reach, 0), np.minimum(np.arange(m) + reach + 1, m)

    def kept(x: Floats) -> Floats:
        sums = np.concatenate([np.zeros((1, x.shape[1])), np.cumsum(x, axis=0)])
        rest: Floats = sums[-1] - (sums[high] - sums[low])
        return rest

    n = sizes[:, None]
    count = kept(np.ones((m, 1)))
    mean = kept(values * n) / kept(n)
    spread = (kept(values**2) - 2 * mean * kept(values) + count * mean**2) / np.maximum(count - 1, 1)
    between = np.maximum(spread - within * kept(1 / n) / count, 0.0)
    result: Floats = (values - mean) / np.sqrt(between + _noise(within, n, floor))
    return result


def _noise(within: Floats, n: Floats, floor: float) -> Floats:
    noise: Floats = np.maximum(np.maximum(within, floor / n), 1e-12) / n
    return noise


def between_blocks(values: Floats, sizes: Floats, within: Floats) -> tuple[Floats, Floats]:
    """Mean, and variance between blocks beyond what their size explains; float64 (K,) each."""
    mean = (values * sizes[:, None]).sum(axis=0) / sizes.sum()
    spread = ((values - mean) ** 2).sum(axis=0) / (len(values) - 1)
    return mean, np.maximum(spread - within * np.mean(1 / sizes), 0.0)


def collapse(deviation: Floats, shape: str) -> Floats:
    """One figure a row of (m, K) deviations: log of their mean square, or the deviation itself."""
    result: Floats = np.log(np.mean(deviation**2, axis=1) + _SOFT) if shape == "distance" else deviation[:, 0]
    return result


def statistic(reference: Reference, values: Floats, rows: int) -> float:
    """The statistic of a window of `rows` rows with figures `values`, float64 (K,)."""
    floor = 0.0 if reference.kind == "performance" else 1.0
    noise = _noise(np.array(reference.within), np.array(float(rows)), floor)
    deviation = (values - np.array(reference.mean)) / np.sqrt(np.array(reference.between) + noise)
    return float(collapse(deviation[None, :], reference.shape)[0])


def inefficiency(values: Floats) -> float:
    """How many neighbouring blocks are worth one independent block: 1 when blocks are independent.

    The larger of what an autoregression of order one implies and the sum of the first m // 10 autocorrelations of
    float64 (m, K), pooled over the K figures in units of their own variance; at most m / 3.
    """
    m = len(values)
    around = values - values.mean(axis=0)
    around = around / np.maximum(around.std(axis=0), 1e-12)
    power = float((around**2).sum())
    if power <= 0:
        return 1.0
    lags = [min(float((around[lag:] * around[:-lag]).sum()) / power + 1 / m, 0.9) for lag in range(1, max(1, m // 10) + 1)]
    implied = (1 + lags[0]) / (1 - lags[0])
    return min(max(1.0, implied, 1 + 2 * sum(lags)), m / 3)


def fit_baseline(statistics: Floats, *, shape: str, raw: float, least_scale: float) -> Baseline:
    """Learn how the statistic varies from the reference's blocks, float64 (m,) in order of time.

    The mean of a finite reference is off by an error that every later window shares, so widening the scale would not
    do: the center is raised to its upper 95 % bound, and, for distances, by what the error of the reference's shares
    adds to them (`raw` is the `inefficiency` of the shares). The autocorrelation is corrected for its small-sample
    bias (Kendall 1954) and raised to its upper bound as well; the variance is corrected for the dependence.

    >>> fit_baseline(np.array([0.0, 1.0, 0.0, 1.0] * 5), shape="rise", raw=1.0, least_scale=0.1).memory
    0.0
    """
    m = len(statistics)
    around = statistics - statistics.mean()
    power = float(around @ around)
    first = float(around[1:] @ around[:-1]) / power if power > 0 else 0.0
    first += (1 + 3 * first) / m + _UPPER * math.sqrt(max(1 - first**2, 0.0) / m)
    memory = min(max(first, 0.0), 0.9) if power > 0 else 0.0
    share = max(inefficiency(statistics[:, None]), raw if shape == "rise" else 1.0) / m
    scale = max(math.sqrt(power / (m - 1) / (1 - share)), least_scale)
    center = float(statistics.mean()) + _UPPER * scale * math.sqrt(share)
    if shape == "distance":
        center += math.log((1 + raw / m) / (1 - raw / m))
    return Baseline(center=center, scale=scale, df=min(max(1 / share - 1, _FEWEST_DF), _MOST_DF), memory=memory, blocks=m)


def p_value(baseline: Baseline, figure: float, previous: float | None) -> tuple[float, float]:
    """One-sided p-value of a window given the one before, and the standardised figure to hand on as `previous`.

    Assumes that the standardised statistic is a stationary autoregression of order one with Student-t innovations,
    as fitted on the reference. The influence of the previous window is bounded, so that a lasting change goes on
    being evidence.

    >>> base = Baseline(center=0.0, scale=1.0, df=10.0, memory=0.0, blocks=30)
    >>> p, z = p_value(base, 1.812461, None)  # the 95 % quantile of Student-t with 10 degrees of freedom
    >>> round(p, 6), z
    (0.05, 1.812461)
    """
    z = (figure - baseline.center) / baseline.scale
    if previous is None:
        return float(stdtr(baseline.df, -z)), z
    remembered = baseline.memory * min(max(previous, -_MEMORY), _MEMORY)
    return float(stdtr(baseline.df, -(z - remembered) / math.sqrt(1 - baseline.memory**2))), z


def e_value(p: float, *, cap: float) -> float:
    """Turn a p-value into an e-value: min(k p^(k-1), cap) with k = 1/3 (Vovk & Wang 2021, section 2).

    Its mean under uniform p is at most 1, whatever the cap.

    >>> round(e_value(0.001, cap=1e9), 9), round(e_value(1.0, cap=1e9), 9)
    (33.333333333, 0.333333333)
    """
    return min(_KAPPA * float(max(p, 1e-300) ** (_KAPPA - 1)), cap)
