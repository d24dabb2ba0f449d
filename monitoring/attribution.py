"""Whether a model still comes to its answers by the same features: attributions of a window beside those of the reference. Pure.

The figure is the mean size of a feature's contributions. It moves by itself, as every figure of a window does: a day differs from another
day even when nothing is wrong. So the reference is cut into blocks as long as a window, and how much the figure differs from block to
block, beyond what the rows' own spread explains, is part of every interval here.

Assumes that windows are as long as the blocks, and that while nothing changes they vary as the blocks do: neighbouring blocks may
resemble each other (`monitoring.statistic.inefficiency`), seasons that the reference never saw may not. A block's mean is taken for
nearly normal. Contributions are the same model's on both sides: another bundle needs a reference of its own.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy import stats

from cluster.errors import DataError, NotEnoughData
from cluster.records import Interval, Record
from cluster.schema import Floats
from monitoring.statistic import Baseline, between_blocks, collapse, deviations, e_value, fit_baseline, inefficiency, p_value

FEWEST_BLOCKS: Final = 8
_FEWEST_ROWS: Final = 30  # a block with fewer says nothing
_LEAST: Final = 0.01  # of the sum over features: a feature that the reference never used is no news until it counts for something
_LEAST_SCALE: Final = 0.5 * math.sqrt(2)  # as of every single figure, see `monitoring.profile`
_FEWEST_DF: Final = 3.0
_SHAPE: Final = "distance"  # a contribution may grow or shrink
Labels = npt.NDArray[np.int64]


class AttributionReference(Record, frozen=True, kw_only=True):
    """Attributions on the reference and how they vary by themselves; lists are in the order of `features`."""

    features: list[str]
    mean: list[float]
    """Mean size of the contributions, in the unit of whatever explained."""
    between: list[float]
    """Variance between blocks beyond what their size explains."""
    within: list[float]
    """Variance of a single row."""
    blocks: int
    error: list[float]
    """Variance of `mean`: the reference is finite, and its blocks resemble their neighbours."""
    df: float
    """How many independent blocks that is worth, less one."""
    baselines: list[Baseline]
    """How the statistic of `evidence` behaves while nothing changes."""


class Change(Record, frozen=True, kw_only=True):
    """One feature in one window."""

    feature: str
    expected: float
    """On the reference."""
    value: float
    """In the window."""
    change: Interval
    """Of a window such as this one, less the reference."""
    changed: bool
    """The interval excludes 0 even when widened for looking at all features at once."""


class Drift(Record, frozen=True, kw_only=True):
    """A window beside the reference. One look: `evidence` is for watching windows for ever."""

    rows: int
    confidence: float
    """Of each interval; and that none of `changed` is wrong."""
    changes: list[Change]
    """The most surprising first."""
    rank_agreement: float
    """Spearman's correlation of the features' order in window and reference; 1 where it is the same."""


class Evidence(Record, frozen=True, kw_only=True):
    """What one window says against "this feature contributes as it did", for a test over many windows (`monitoring.drift`)."""

    feature: str
    statistic: float
    standardised: float
    """To be handed on as the next window's `previous`."""
    e_value: float


def learn(features: Sequence[str], contributions: Floats, blocks: Labels) -> AttributionReference:
    """Learn a reference.

    Parameters
    ----------
    contributions
        float64 (n, features), of rows in order of time; their signs do not count.
    blocks
        int64 (n,), the block of each row; blocks are as long as the monitor's windows. Those of fewer than 30 rows are left out.

    Raises
    ------
    DataError
        When the shapes do not fit, or a contribution is not finite.
    NotEnoughData
        When fewer than 8 blocks are left.
    """
    sizes = sizes_of(contributions, len(features))
    if len(blocks) != len(sizes):
        raise DataError(f"{len(sizes)} rows of contributions have {len(blocks)} blocks; there must be one for each row")
    parts = [sizes[blocks == block] for block in dict.fromkeys(blocks.tolist())]
    parts = [part for part in parts if len(part) >= _FEWEST_ROWS]
    if len(parts) < FEWEST_BLOCKS:
        raise NotEnoughData(
            f"attributions are compared with at least {FEWEST_BLOCKS} blocks of {_FEWEST_ROWS} rows; found {len(parts)}. Explain more rows of a longer reference"
        )
    values, rows = np.array([part.mean(axis=0) for part in parts]), np.array([len(part) for part in parts], dtype=np.float64)
    within = np.mean([part.var(axis=0, ddof=1) for part in parts], axis=0)
    within = np.maximum(within, (_LEAST * float(values.mean(axis=0).sum())) ** 2)
    mean, between = between_blocks(values, rows, within)
    worth = len(parts) / inefficiency(values)
    deviation = deviations(values, rows, within, floor=0.0)
    return AttributionReference(
        features=list(features),
        mean=mean.tolist(),
        between=between.tolist(),
        within=within.tolist(),
        blocks=len(parts),
        error=((between + within * np.mean(1 / rows)) / worth).tolist(),
        df=max(worth - 1, _FEWEST_DF),
        baselines=[
            fit_baseline(
                collapse(deviation[:, j : j + 1], _SHAPE), shape=_SHAPE, raw=inefficiency(values[:, [j]]), least_scale=_LEAST_SCALE
            )
            for j in range(len(features))
        ],
    )


def compare(reference: AttributionReference, contributions: Floats, *, confidence: float = 0.95) -> Drift:
    """A window's attributions beside the reference's.

    Intervals are Student's, of the difference of two means that vary between blocks and by their rows; `changed` is at
    1 - (1 - confidence) / features for each (Bonferroni), so that a window in which nothing has changed blames any feature
    in at most 1 - confidence of cases.

    Parameters
    ----------
    contributions
        float64 (n, features) of the window's rows, or of a sample of them that was drawn by chance.

    Raises
    ------
    DataError
        When there is no row, or they do not fit the reference.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> def day(wind):
    ...     return np.column_stack([rng.normal(0, wind, 100), rng.normal(0, 0.3, 100)])
    >>> reference = learn(["wind", "carrier"], np.vstack([day(1.0) for _ in range(20)]), np.repeat(np.arange(20), 100))
    >>> [(c.feature, c.changed) for c in compare(reference, day(1.0)).changes]
    [('carrier', False), ('wind', False)]
    >>> worst = compare(reference, day(2.0)).changes[0]
    >>> worst.feature, worst.changed, round(worst.value / worst.expected, 1)
    ('wind', True, 2.1)
    """
    sizes = sizes_of(contributions, len(reference.features))
    if not len(sizes):
        raise DataError("the window holds no row whose contributions could be compared")
    mean, value = np.array(reference.mean), sizes.mean(axis=0)
    error = np.sqrt(np.array(reference.between) + np.array(reference.within) / len(sizes) + np.array(reference.error))
    alone, together = (
        float(stats.t.ppf(1 - (1 - confidence) / (2 * looks), reference.df)) * error for looks in (1, len(reference.features))
    )
    gap = value - mean
    changes = [
        Change(
            feature=name,
            expected=float(mean[j]),
            value=float(value[j]),
            change=Interval(estimate=float(gap[j]), lower=float(gap[j] - alone[j]), upper=float(gap[j] + alone[j])),
            changed=bool(abs(gap[j]) > together[j]),
        )
        for j, name in enumerate(reference.features)
    ]
    order = np.argsort(-np.abs(gap) / np.maximum(error, 1e-300), kind="stable")
    return Drift(
        rows=len(sizes),
        confidence=confidence,
        changes=[changes[j] for j in order],
        rank_agreement=rank_agreement(mean[None], value[None])[0],
    )


def evidence(
    reference: AttributionReference, contributions: Floats, previous: Sequence[float | None] | None = None, *, cap: float
) -> list[Evidence]:
    """What a window says against each feature's contributing as before, for `monitoring.drift`'s e-detectors.

    The reference's own error is the same in every window, so here it does not widen the scale: it raises the center, as
    `monitoring.statistic.fit_baseline` does for every metric.

    Parameters
    ----------
    previous
        `standardised` of the window before, by feature; None: there was none.
    cap
        Most that an e-value may be.
    """
    sizes = sizes_of(contributions, len(reference.features))
    spread = np.sqrt(
        np.maximum(np.array(reference.between) + np.array(reference.within) / len(sizes), 1e-300)
    )  # trees without a split use nothing
    deviation = (sizes.mean(axis=0) - np.array(reference.mean)) / spread
    made = []
    for j, name in enumerate(reference.features):
        figure = float(collapse(deviation[None, j : j + 1], _SHAPE)[0])
        p, standardised = p_value(reference.baselines[j], figure, None if previous is None else previous[j])
        made.append(Evidence(feature=name, statistic=figure, standardised=standardised, e_value=e_value(p, cap=cap)))
    return made


def sizes_of(contributions: Floats, features: int) -> Floats:
    """Sizes of contributions, float64 (n, features).

    Raises
    ------
    DataError
        When they have another shape, or one is not finite.
    """
    if contributions.ndim != 2 or contributions.shape[1] != features:
        raise DataError(f"contributions of shape {contributions.shape} do not fit {features} features; expected (rows, {features})")
    if not np.isfinite(contributions).all():
        raise DataError("some contributions are not finite; leave those rows out and count them")
    return np.abs(contributions.astype(np.float64))


def rank_agreement(before: Floats, after: Floats) -> list[float]:
    """Spearman's correlation of two rankings of the features, row by row; where one side ranks nothing: 1 if neither does, else 0.

    >>> rank_agreement(np.array([[3.0, 2.0, 1.0], [1.0, 1.0, 1.0]]), np.array([[1.0, 2.0, 3.0], [3.0, 2.0, 1.0]]))
    [-1.0, 0.0]
    """
    old, new = (stats.rankdata(side, axis=1) for side in (before, after))
    old, new = old - old.mean(axis=1, keepdims=True), new - new.mean(axis=1, keepdims=True)
    power = np.sqrt((old**2).sum(axis=1) * (new**2).sum(axis=1))
    flat = ((old**2).sum(axis=1) == 0) & ((new**2).sum(axis=1) == 0)
    found = np.divide((old * new).sum(axis=1), power, out=flat.astype(np.float64), where=power > 0)
    return [float(value) for value in found]
