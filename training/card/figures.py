"""Figures of a bundle as SVG, drawn from its stored evaluation alone: the same files give the same bytes.

What is missing from the bundle is not drawn.
"""

from __future__ import annotations

import html
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, NamedTuple

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from monitoring import wording
from monitoring.drawing import LINES, MAIN, MUTED, PAPER, RC, SECOND, Drawn, canvas, dots, to_svg
from monitoring.intervals import quantile, wilson
from training.card import evidence, explanation_figures
from training.card.evidence import Evidence
from training.judging.evaluate import Bin

FOLDER: Final = "figures"
"""In a bundle."""
_CONFIDENCE: Final = 0.95
_MOST_GROUPS: Final = 12
_GROUP_FIGURES: Final = ("selection_rate", "tpr", "fpr", "accuracy", "mean_prediction", "mae", "calibration")


class Told(NamedTuple):
    """What a figure shows, in words."""

    title: str
    description: str


def draw(folder: Path) -> dict[str, bytes]:
    """Figures by name: UTF-8 SVG with a title and a description for those who cannot see them.

    Parameters
    ----------
    folder
        A bundle's folder, sealed or not yet.

    Raises
    ------
    BundleError
        When the folder has no schema.
    """
    found = evidence.read(folder)
    made = {}
    with mpl.rc_context(RC):
        for name, make in _FIGURES.items():
            drawn = make(found)
            if drawn is not None:
                made[name] = to_svg(drawn, name)
    return made


def write(folder: Path) -> None:
    """Draw, and keep the figures in the bundle's folder.

    Raises
    ------
    BundleError
        When the folder has no schema.
    """
    (folder / FOLDER).mkdir(exist_ok=True)
    for name, content in draw(folder).items():
        (folder / FOLDER / f"{name}.svg").write_bytes(content)


def read(folder: Path) -> dict[str, bytes]:
    """The figures that a bundle keeps, by name; drawn now when it was made before there were any."""
    kept = {path.stem: path.read_bytes() for path in (folder / FOLDER).glob("*.svg")}
    return {name: kept[name] for name in _FIGURES if name in kept} if kept else draw(folder)


def told(svg: bytes) -> Told:
    """Title and description of a figure."""
    text = svg.decode()
    title, description = (re.search(rf"<{tag} [^>]*>(.*?)</{tag}>", text, re.DOTALL) for tag in ("title", "desc"))
    return Told(html.unescape(title[1]) if title else "", html.unescape(description[1]) if description else "")


def _weights(found: Evidence) -> Drawn | None:
    if found.blend is None:
        return None
    weights = dict(sorted(found.blend.weights.items(), key=lambda item: item[1]))
    figure, [axes] = canvas(6.4, 0.9 + 0.35 * len(weights))
    bars = axes.barh(list(weights), list(weights.values()), color=MAIN, height=0.6)
    axes.bar_label(bars, fmt="%.2f", padding=4)
    axes.set(xlim=(0, 1.08), xlabel="weight in the ensemble")
    told = "; ".join(f"{name} {weight:.2f}" for name, weight in reversed(weights.items()))
    return Drawn(figure, "Weight of each member", f"Bars: {told}.")


def _calibration(found: Evidence) -> Drawn | None:
    bins = {who: parts for who, parts in (found.calibration or {}).items() if parts}
    if not bins:
        return None
    figure, [axes] = canvas(6.4, 4.6)
    axes.plot([0, 1], [0, 1], color=MUTED, ls="--", lw=1, label="perfect")
    for (who, parts), colour, marker in zip(bins.items(), LINES, "os^D", strict=False):
        _reliability(axes, parts, who, colour, marker)
    whole = [value for parts in bins.values() for part in parts for value in (part.mean_score, part.rate)]
    top = min(1.0, max(whole) * 1.12 + 0.02)
    bottom = max(0.0, min(whole) - 0.05)
    axes.set(xlim=(bottom, top), ylim=(bottom, top), xlabel="predicted probability", ylabel="observed rate")
    axes.grid(visible=True)
    axes.legend(loc="upper left")
    told = "; ".join(f"the {who}'s bins run from {parts[0].rate:.3f} to {parts[-1].rate:.3f}" for who, parts in bins.items())
    return Drawn(
        figure, "Calibration on held-out rows", f"Observed rate against predicted probability in bins of equal numbers of rows: {told}."
    )


def _reliability(axes: Any, parts: list[Bin], who: str, colour: str, marker: str) -> None:
    rows = np.array([part.rows for part in parts], dtype=np.float64)
    rate = np.array([part.rate for part in parts])
    lower, upper = wilson(rate * rows, rows, z=quantile(_CONFIDENCE))
    spread = np.maximum([rate - lower, upper - rate], 0)
    axes.errorbar(
        [part.mean_score for part in parts], rate, yerr=spread, color=colour, marker=marker, ms=5, lw=1.4, elinewidth=1, label=who
    )


def _residuals(found: Evidence) -> Drawn | None:
    bins = found.explanation.residuals if found.explanation else []
    if not bins:
        return None
    figure, [axes] = canvas(6.4, 3.8)
    x = [b.mean_score for b in bins]
    axes.fill_between(x, [b.lower for b in bins], [b.upper for b in bins], color=MAIN, alpha=0.2, lw=0, label="nine rows in ten")
    axes.plot(x, [b.median for b in bins], color=MAIN, marker="o", ms=4, label="median")
    axes.axhline(0, color=MUTED, ls="--", lw=1)
    axes.set(xlabel=f"predicted {found.schema.label.name}", ylabel="observed less predicted")
    axes.grid(visible=True)
    axes.legend(loc="best")
    told = f"Median residual {bins[0].median:.4g} at the lowest predictions, {bins[-1].median:.4g} at the highest."
    return Drawn(figure, "Residuals on held-out rows", told)


def _scores(found: Evidence) -> Drawn | None:
    if found.explanation is None:
        return None
    label, bins = found.schema.label, found.explanation.scores
    figure, [axes] = canvas(6.4, 3.2)
    edges, widths = [b.lower for b in bins], [b.upper - b.lower for b in bins]
    names = [str(c) for c in label.classes or ()]
    if label.task == "binary":
        positive = [b.positive or 0 for b in bins]
        axes.bar(edges, positive, widths, align="edge", color=SECOND, edgecolor=PAPER, lw=0.5, label=f"{label.name} is {names[1]}")
        rest = [b.rows - p for b, p in zip(bins, positive, strict=True)]
        axes.bar(edges, rest, widths, positive, align="edge", color=MAIN, edgecolor=PAPER, lw=0.5, label=f"{label.name} is {names[0]}")
        axes.axvline(label.threshold, color=MUTED, ls="--", lw=1, label=f"threshold {label.threshold:g}")
        figure.legend(loc="outside upper left", ncols=3)
    else:
        axes.bar(edges, [b.rows for b in bins], widths, align="edge", color=MAIN, edgecolor=PAPER, lw=0.5)
    what = {
        "binary": f"probability that {label.name} is {names[-1] if names else None}",
        "multiclass": "probability of the class answered",
        "regression": f"predicted {label.name}",
    }
    axes.set(xlabel=what[label.task], ylabel="rows")
    fullest = max(bins, key=lambda b: b.rows)
    told = f"Most rows, {fullest.rows}, lie between {fullest.lower:.4g} and {fullest.upper:.4g}."
    return Drawn(figure, "Scores of the ensemble on held-out rows", told)


def _fairness(found: Evidence) -> Drawn | None:
    if found.fairness is None or not found.fairness.attributes:
        return None
    attributes = found.fairness.attributes
    figures = [key for key in _GROUP_FIGURES if key in found.fairness.overall.figures][:4]
    if not figures:
        return None
    groups = [[g for g in attribute.groups if g.judged][:_MOST_GROUPS] for attribute in attributes]
    heights = [1 + 0.3 * len(part) for part in groups]
    figure = Figure(figsize=(9.2, 0.6 + sum(heights)), layout="constrained")
    panels = figure.subplots(len(attributes), len(figures), squeeze=False, gridspec_kw={"height_ratios": heights})
    for row, attribute, shown in zip(panels, attributes, groups, strict=True):
        for axes, key in zip(row, figures, strict=True):
            told = [(g.name, f.estimate, f.lower, f.upper) for g in shown if (f := g.figures.get(key))]
            if told:
                dots(axes, told, MAIN)
            axes.axvline(found.fairness.overall.figures[key].estimate, color=SECOND, ls="--", lw=1.2)
            axes.set_title(wording.name(key))
            axes.tick_params(axis="y", labelleft=axes is row[0])
        row[0].set_ylabel(attribute.name)
    by = ", ".join(attribute.name for attribute in attributes)
    return Drawn(figure, "Figures by group", f"Each group's figures with intervals, by {by}; the dashed line is all rows together.")


_FIGURES: Final[dict[str, Callable[[Evidence], Drawn | None]]] = {
    "weights": _weights,
    "calibration": _calibration,
    "residuals": _residuals,
    "scores": _scores,
    "importance": explanation_figures.importance,
    "dependence": explanation_figures.dependence,
    "fairness": _fairness,
}
