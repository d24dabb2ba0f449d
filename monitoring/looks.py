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
    reader = _reader(Same(profile), sketcher)
    measured, figures = reader.read(summary, min_rows)
    aspects = _by_key(profile.usual, figures)
    looks = []
    for reference in profile.metrics:
        said = aspects.get(reference.key, {})
        if reference.kind == "quality":
            looks.append(_rate(reference, summary, said))
        elif reference.kind == "association":
            looks += _association(reference, said, measured, profile.usual)
        elif reference.kind != "performance" and sketcher.cells_of(summary, reference.column).sum() >= min_rows:
            looks.append(_distance(profile, reference, sketcher, summary, said))
    return looks


class _Reader:
    """Reads summaries; of aspects without a metric nothing is said."""

    def __init__(self, profile: Profile, sketcher: Sketcher) -> None:
        self._usual, self._panel = profile.usual, Panel(profile.usual.aspects, sketcher)
        keys = {reference.key for reference in profile.metrics}
        self._is_shown = np.array([aspect.key in keys for aspect in profile.usual.aspects], dtype=bool)

    def read(self, summary: Summary, min_rows: int) -> tuple[Floats, Floats]:
        """Figures as they are, and standardised."""
        measured = self._panel.measure(summary, fewest=min_rows)
        return measured.figures, np.where(self._is_shown, self._usual.standardise(measured), np.nan)


@lru_cache(maxsize=16)
def _reader(profile: Same[Profile], sketcher: Sketcher) -> _Reader:
    return _Reader(profile.it, sketcher)


def _by_key(usual: Usual, figures: Floats) -> dict[str, dict[int, float]]:
    """The figures that say something, by metric and by the aspect's place."""
    found: dict[str, dict[int, float]] = {}
    for place, (aspect, figure) in enumerate(zip(usual.aspects, figures.tolist(), strict=True)):
        kept = found.setdefault(aspect.key, {})
        if not math.isnan(figure):
            kept[place] = figure
    return found


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


def _rate(reference: Reference, summary: Summary, figures: Mapping[int, float]) -> Look:
    column, name = reference.name.rsplit(".", 1)
    rate = rate_of(name, summary.quality[reference.column]) / max(summary.rows, 1)
    words = {"missing": "missing", "unknown": "of unknown category", "outside": "outside its range"}[name]
    size = f"{column} is {words} in {rate:.2%} of rows, usually {reference.mean[0]:.2%}"
    return Look(reference, rate, f"share of rows {name}", size, figures)


def _association(reference: Reference, figures: Mapping[int, float], measured: Floats, usual: Usual) -> list[Look]:
    """In words, whichever is the more unusual: the correlation, or how far the levels lie apart."""
    if not figures:
        return []
    places = {usual.aspects[place].what: place for place in figures}
    r, gap = float(np.tanh(measured[places["joint"]])), places.get("gap")
    size = f"the correlation of {reference.name} (of ranks) went from {reference.typical:+.2f} to {r:+.2f}"
    if gap is not None and abs(figures[gap]) > abs(figures[places["joint"]]):
        apart = abs(float(measured[gap]) - usual.mean[gap])
        size = f"{reference.name}, which go together, parted by {apart:.2f} standard deviations (of ranks)"
    return [Look(reference, r, "correlation of ranks", size, figures)]


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
