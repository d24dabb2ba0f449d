"""From a window's summary, or its labelled rows, to figures that the sequential test takes in. Pure."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from cluster.schema import Floats, Label, Matrix
from monitoring import performance
from monitoring.agreement import Audits, Promise
from monitoring.drift import Look
from monitoring.held import Same
from monitoring.profile import Profile
from monitoring.sketches import Sketcher, Summary
from monitoring.statistic import Reference, statistic
from monitoring.window_reader import WindowReader


def drift_figures(profile: Profile, sketcher: Sketcher, summary: Summary, *, min_rows: int) -> Floats:
    """What a window says of features, predictions, pairs of features that go together and faults, without words.

    Returns
    -------
    float64 (A,), standardised, of the aspects in the profile's `usual`; NaN where the window says nothing: of losses, and of the distribution of a column
    with fewer than `min_rows` present values.
    """
    return _reader(Same(profile), sketcher).read(summary, min_rows)[1]


def drift_looks(profile: Profile, sketcher: Sketcher, summary: Summary, *, min_rows: int) -> list[Look]:
    """The same by metric, with what a person is shown."""
    return _reader(Same(profile), sketcher).looks(summary, min_rows)


@lru_cache(maxsize=16)
def _reader(profile: Same[Profile], sketcher: Sketcher) -> WindowReader:
    return WindowReader(profile.it, sketcher)


def performance_figures(profile: Profile, label: Label, scores: Matrix, y: Floats) -> Floats:
    """What labelled rows say, scores float32 (n, width) and y float64 (n,) without NaN: float64 (A,), NaN but for losses."""
    return _loss_figures(profile, performance.figure(label, performance.loss(label, scores, y)), len(y))


def performance_looks(profile: Profile, label: Label, scores: Matrix, y: Floats) -> list[Look]:
    """The same by metric, with what a person is shown."""
    losses = performance.loss(label, scores, y)
    figures, now = _loss_figures(profile, performance.figure(label, losses), len(y)), float(losses.mean())
    looks = []
    for place, reference in _losses(Same(profile)):
        size = f"{reference.name} of predictions went from {_loss(label, reference.mean[0]):.4g} to {now:.4g}"
        looks.append(Look(reference, now, reference.name, size, {place: float(figures[place])}))
    return looks


def _loss_figures(profile: Profile, figure: float, rows: int) -> Floats:
    figures = np.full(len(profile.usual.aspects), np.nan)
    for place, reference in _losses(Same(profile)):
        figures[place] = statistic(reference, np.array([figure]), rows)
    return figures


@lru_cache(maxsize=16)
def _losses(profile: Same[Profile]) -> list[tuple[int, Reference]]:
    """Metrics of performance, each with the place of its aspect."""
    places = {aspect.key: place for place, aspect in enumerate(profile.it.usual.aspects)}
    return [(places[reference.key], reference) for reference in profile.it.metrics if reference.kind == "performance"]


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
