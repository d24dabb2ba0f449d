"""From a window's summary, or its labelled rows, to figures that the sequential test takes in. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import lru_cache

import numpy as np

from cluster.schema import Floats, Label, Matrix
from monitoring import performance
from monitoring.agreement import Audits, Promise
from monitoring.drift import Look
from monitoring.held import Same
from monitoring.panel import Panel
from monitoring.profile import Profile, rate_of
from monitoring.sketches import Sketcher, Summary
from monitoring.statistic import Reference, statistic
from monitoring.usual import Usual


def drift_looks(profile: Profile, sketcher: Sketcher, summary: Summary, *, min_rows: int) -> list[Look]:
    """Features, predictions, pairs of features that go together, and rates of missing, unknown and out-of-range values.

    A column with fewer than `min_rows` present values says nothing about its distribution.
    """
    usual = profile.usual
    measured = _panel(Same(usual), sketcher).measure(summary, fewest=min_rows)
    aspects = _by_key(usual, usual.standardise(measured))
    looks = []
    for reference in profile.metrics:
        figures = aspects.get(reference.key, {})
        if reference.kind == "quality":
            looks.append(_rate(reference, summary, figures))
        elif reference.kind == "association":
            looks += _association(reference, figures, measured.figures)
        elif reference.kind != "performance" and sketcher.cells_of(summary, reference.column).sum() >= min_rows:
            looks.append(_distance(profile, reference, sketcher, summary, figures))
    return looks


@lru_cache(maxsize=16)
def _panel(usual: Same[Usual], sketcher: Sketcher) -> Panel:
    return Panel(usual.it.aspects, sketcher)


def _by_key(usual: Usual, figures: Floats) -> dict[str, dict[int, float]]:
    """The figures that say something, by metric and by the aspect's place."""
    found: dict[str, dict[int, float]] = {}
    for place, (aspect, figure) in enumerate(zip(usual.aspects, figures.tolist(), strict=True)):
        kept = found.setdefault(aspect.key, {})
        if not math.isnan(figure):
            kept[place] = figure
    return found


def performance_looks(profile: Profile, label: Label, scores: Matrix, y: Floats) -> list[Look]:
    """The mean loss of labelled rows: scores float32 (n, width), y float64 (n,) without NaN."""
    losses = performance.loss(label, scores, y)
    figure = performance.figure(label, losses)
    looks = []
    for reference in profile.metrics:
        if reference.kind == "performance":
            then, now = _loss(label, reference.mean[0]), float(losses.mean())
            size = f"{reference.name} of predictions went from {then:.4g} to {now:.4g}"
            place = next(i for i, aspect in enumerate(profile.usual.aspects) if aspect.key == reference.key)
            looks.append(Look(reference, now, reference.name, size, {place: statistic(reference, np.array([figure]), len(y))}))
    return looks


def agreement_looks(promise: Promise | None, audits: Audits) -> list[Look]:
    """How often student and ensemble disagreed on the rows that were audited in a window; what is said of it depends on the windows before."""
    if promise is None or not audits.rows:
        return []
    rate = audits.differ / audits.rows
    return [Look(promise, rate, "share of audited rows on which the ensemble decides otherwise", "", audits=audits)]


def expected(label: Label, reference: Reference | Promise) -> float:
    """What a look's `value` is on the reference, in the same unit; for a promise, what was promised."""
    if isinstance(reference, Promise):
        return reference.most
    return _loss(label, reference.mean[0]) if reference.kind == "performance" else reference.typical


def _loss(label: Label, figure: float) -> float:
    return float(np.exp(figure)) if label.task == "regression" else figure


def _rate(reference: Reference, summary: Summary, figures: Mapping[int, float]) -> Look:
    column, name = reference.name.rsplit(".", 1)
    rate = rate_of(name, summary.quality[reference.column]) / max(summary.rows, 1)
    words = {"missing": "missing", "unknown": "of unknown category", "outside": "outside its range"}[name]
    size = f"{column} is {words} in {rate:.2%} of rows, usually {reference.mean[0]:.2%}"
    return Look(reference, rate, f"share of rows {name}", size, figures)


def _association(reference: Reference, figures: Mapping[int, float], measured: Floats) -> list[Look]:
    said = [(place, float(np.tanh(measured[place]))) for place in figures]
    size = "the correlation of {} (of ranks) went from {:+.2f} to {:+.2f}"
    return [Look(reference, r, "correlation of ranks", size.format(reference.name, reference.typical, r), figures) for _, r in said]


def _distance(profile: Profile, reference: Reference, sketcher: Sketcher, summary: Summary, figures: Mapping[int, float]) -> Look:
    cells = sketcher.cells_of(summary, reference.column)
    shares = cells / cells.sum()
    moved = float(np.abs(shares - np.array(profile.shares[reference.column])).sum() / 2)
    size = _size(profile, reference.column, sketcher, summary, shares)
    return Look(reference, moved, "share of rows in other cells than on the reference", size, figures)


def _size(profile: Profile, index: int, sketcher: Sketcher, summary: Summary, shares: Floats) -> str:
    column, then = profile.columns[index], np.array(profile.shares[index])
    if column.type == "category":
        most = int(np.abs(shares - then).argmax())
        return f"{column.name}: '{column.categories[most]}' went from {then[most]:.1%} to {shares[most]:.1%} of rows"
    was, now = profile.means[index], sketcher.mean_of(summary, index)
    if was is None:
        return f"{column.name} was empty and now has values of mean {now:.4g}"
    return f"{column.name}: mean went from {was:.4g} to {now:.4g} ({(now - was) / column.scale:+.2f} standard deviations)"
