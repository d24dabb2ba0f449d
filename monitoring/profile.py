"""What the reference looked like, and how much it varied by itself. Travels in the bundle as profile.json.

Pure: arrays in, a JSON-able record out. `monitoring.statistic` says what the figures mean.
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Iterator
from itertools import chain
from typing import Final, Literal, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from cluster.errors import NotEnoughData
from cluster.records import Record
from cluster.schema import FeatureSchema, Floats, Label, Matrix
from monitoring import performance
from monitoring.columns import feature_column, score_columns
from monitoring.panel import Aspect, Panel
from monitoring.sketches import FAULTS, Column, Counts, Sketcher, Summary, prediction_columns
from monitoring.statistic import MetricKind, Reference, between_blocks, collapse, deviations, fit_baseline, inefficiency
from monitoring.usual import Given, Usual, aspects_of, learn_usual

FORMAT: Final = 4
_FEWEST_BLOCKS: Final = 8
_USUAL_BLOCKS: Final = 40
_FEWEST_ROWS: Final = 30  # a block with fewer says nothing
_LEAST_RISE: Final = 1.0  # figures of `rise` have variance 1 by construction; a calm reference earns no sharper scale
Indices = npt.NDArray[np.intp]


class Learned(NamedTuple):
    """A metric, and its figures on the reference's blocks."""

    metric: Reference
    given: Given


class Profile(Record, frozen=True, kw_only=True):
    """The reference, summarised."""

    format: int
    window_s: float
    """Length of a block where the reference has times; 0 where it was cut into equal blocks of rows."""
    rows: int
    columns: list[Column]
    means: list[float | None]
    """Mean of each number on the reference; None for categories and empty columns."""
    shares: list[list[float]]
    """Share of each cell among the present values of each column."""
    bad: list[list[float]]
    """Share of rows missing, unknown, below and above the range, and of more decimals than the reference needed, a column."""
    metrics: list[Reference]
    performance: dict[str, float]
    """Metrics on the labelled rows of the reference."""
    usual: Usual
    """What the sequential test compares windows with."""


def build_profile(
    schema: FeatureSchema,
    X: Matrix,  # noqa: N803 - the field's name
    scores: Matrix,
    times: Floats | None,
    y: Floats,
    *,
    window: dt.timedelta,
) -> Profile:
    """Summarise a reference and learn how much windows of it differ while nothing changes.

    Parameters
    ----------
    schema
        Frozen.
    X
        float32 (n, features). Long references are better: variation that the reference never showed is an alarm.
    scores
        float32 (n, width). Rows whose score is NaN are left out of the prediction's metrics: give NaN for rows the
        model was trained on, where it is surer than it will be in production.
    times
        float64 (n,), seconds since 1970; None cuts the reference into equal blocks of rows, in their order.
    y
        float64 (n,); rows that are NaN here, or in scores, are left out of the performance metric.
    window
        The monitor's window.

    Raises
    ------
    NotEnoughData
        When not even 8 blocks of 30 rows can be cut.
    """
    order = np.arange(len(X)) if times is None else np.argsort(times, kind="stable")
    X, scores, y = X[order], scores[order], y[order]
    clock = None if times is None else times[order]
    outputs = prediction_columns(schema.label.task, scores)
    columns = [feature_column(f, X[:, j]) for j, f in enumerate(schema.features)] + score_columns(schema.label, outputs)
    whole = np.column_stack([X, outputs])
    sketcher = Sketcher(columns)
    window_s = window.total_seconds()
    blocks, by_time = _blocks(len(X), clock, window_s)
    scored = ~np.isnan(outputs[:, 0])
    scored_blocks, _ = _blocks_within(scored, clock, window_s)
    known = scored & ~np.isnan(y)
    summaries = [sketcher.summarise(whole[b]) for b in blocks]
    answered = [sketcher.summarise(whole[b]) for b in scored_blocks]
    learned = list(_distances(sketcher, summaries, "feature")) + list(_distances(sketcher, answered, "prediction"))
    learned += list(_losses(schema.label, scores, y, _blocks_within(known, clock, window_s)[0]))
    total = sketcher.summarise(whole)
    aspects = aspects_of(columns, sketcher, summaries)
    untested = chain(_associations(aspects, sketcher, summaries), _rates(sketcher, summaries))
    metrics = [metric for metric, _ in chain(learned, untested)]
    usual = learn_usual(
        aspects,
        sketcher,
        summaries,
        answered,
        {metric.key: given for metric, given in learned if metric.kind == "performance"},
        fewest=_FEWEST_ROWS,
    )
    return Profile(
        format=FORMAT,
        window_s=window_s if by_time else 0.0,
        rows=len(X),
        columns=columns,
        means=[_finite(mean) for mean in sketcher.means_of(total).tolist()],
        shares=[_shares(sketcher.cells_of(total, j)).tolist() for j in range(len(columns))],
        bad=(total.quality / max(len(X), 1)).tolist(),
        metrics=metrics,
        performance=performance.measure(schema.label, scores[known], y[known]) if known.any() else {},
        usual=usual,
    )


def read(content: bytes) -> Profile:
    """A profile from its JSON."""
    return msgspec.json.decode(content, type=Profile)


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _shares(cells: Counts) -> Floats:
    shares: Floats = cells / max(int(cells.sum()), 1)
    return shares


def _blocks(n: int, clock: Floats | None, window_s: float) -> tuple[list[Indices], bool]:
    """Cut n rows, in order of time, into windows, or into equal blocks where that gives too few."""
    blocks: list[Indices] = []
    if clock is not None:
        starts = np.flatnonzero(np.diff(np.floor(clock / window_s), prepend=-np.inf))
        blocks = [b for b in np.split(np.arange(n), starts[1:]) if len(b) >= _FEWEST_ROWS]
    if len(blocks) >= _FEWEST_BLOCKS:
        return blocks, True
    count = min(_USUAL_BLOCKS, n // _FEWEST_ROWS)
    if count < _FEWEST_BLOCKS:
        raise NotEnoughData(
            f"the reference has {n} rows; its variation is learned from at least {_FEWEST_BLOCKS} blocks of {_FEWEST_ROWS} rows. Use a longer reference"
        )
    return list(np.array_split(np.arange(n), count)), False


def _blocks_within(mask: npt.NDArray[np.bool_], clock: Floats | None, window_s: float) -> tuple[list[Indices], bool]:
    """Blocks of the rows that a mask keeps; none where they are too few."""
    kept = np.flatnonzero(mask)
    if len(kept) < _FEWEST_BLOCKS * _FEWEST_ROWS:
        return [], False
    blocks, by_time = _blocks(len(kept), None if clock is None else clock[kept], window_s)
    return [kept[b] for b in blocks], by_time


def _distances(sketcher: Sketcher, summaries: list[Summary], role: Literal["feature", "prediction"]) -> Iterator[Learned]:
    kind: Literal["feature_drift", "prediction_drift"] = "feature_drift" if role == "feature" else "prediction_drift"
    for j, column in enumerate(sketcher.columns):
        counts = [sketcher.cells_of(s, j) for s in summaries]
        counts = [c for c in counts if c.sum() >= _FEWEST_ROWS]
        if column.role != role or column.cells < 2 or len(counts) < _FEWEST_BLOCKS:
            continue
        sizes = np.array([c.sum() for c in counts], dtype=np.float64)
        values = np.array(counts) / sizes[:, None]
        mean = np.array(counts).sum(axis=0) / sizes.sum()
        yield _reference(kind, column.name, values, sizes, mean * (1 - mean), column=j, shape="distance")


def _rates(sketcher: Sketcher, summaries: list[Summary]) -> Iterator[Learned]:
    sizes = np.array([s.rows for s in summaries], dtype=np.float64)
    for j, column in enumerate(sketcher.columns):
        if column.role == "prediction":
            continue
        for fault in column.faults:
            values = np.array([[s.quality[j, FAULTS[fault]].sum()] for s in summaries]) / sizes[:, None]
            rate = float(values[:, 0] @ sizes / sizes.sum())
            yield _reference("quality", f"{column.name}.{fault}", values, sizes, np.array([rate * (1 - rate)]), column=j, shape="rise")


def _associations(aspects: list[Aspect], sketcher: Sketcher, summaries: list[Summary]) -> Iterator[Learned]:
    pairs = [aspect for aspect in aspects if aspect.what == "joint"]
    measured = [Panel(pairs, sketcher).measure(summary, fewest=_FEWEST_ROWS) for summary in summaries]
    for place, pair in enumerate(pairs):
        values = np.tanh([[m.figures[place]] for m in measured])
        sizes = np.array([m.rows[place] for m in measured])
        name = pair.key.partition(":")[2]
        yield _reference("association", name, values, sizes, np.array([1.0]), column=pair.column, shape="rise")


def _losses(label: Label, scores: Matrix, y: Floats, blocks: list[Indices]) -> Iterator[Learned]:
    if not blocks:
        return
    losses = [performance.loss(label, scores[b], y[b]) for b in blocks]
    values = np.array([[performance.figure(label, row)] for row in losses])
    within = np.array([performance.row_variance(label, np.concatenate(losses))])
    sizes = np.array([len(b) for b in blocks], dtype=np.float64)
    yield _reference("performance", performance.loss_name(label), values, sizes, within, column=-1, shape="rise")


def _reference(
    kind: MetricKind,
    name: str,
    values: Floats,
    sizes: Floats,
    within: Floats,
    *,
    column: int,
    shape: Literal["distance", "rise"],
) -> Learned:
    mean, between = between_blocks(values, sizes, within)
    deviation = deviations(values, sizes, within, floor=0.0 if kind == "performance" else 1.0)
    least = 0.5 * math.sqrt(2 / values.shape[1]) if shape == "distance" else _LEAST_RISE
    figures = collapse(deviation, shape)
    reference = Reference(
        kind=kind,
        name=name,
        column=column,
        shape=shape,
        mean=mean.tolist(),
        between=between.tolist(),
        within=within.tolist(),
        typical=float(np.abs(values - mean).sum(axis=1).mean() / 2) if shape == "distance" else float(mean[0]),
        baseline=fit_baseline(figures, shape=shape, raw=inefficiency(values), least_scale=least),
    )
    return Learned(reference, Given(figures, least**2))
