"""Figures of what explains a model: importance of the features, and the scores as they move."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import numpy as np

from monitoring.drawing import LINES, MAIN, MUTED, SECOND, Drawn, canvas, dots, short
from monitoring.wording import name
from training.card.evidence import Evidence
from training.explaining.dependence import Curve, Dependence
from training.explaining.explanation import Explanation

_MOST_FEATURES: Final = 15
_MOST_CURVES: Final = 4


def importance(found: Evidence) -> Drawn | None:
    """What shuffling a feature costs the ensemble, beside the contributions of the XGBoost member."""
    if found.explanation is None:
        return None
    shown = found.explanation.importance[:_MOST_FEATURES]
    columns = 1 if found.explanation.trees is None else 2
    figure, axes = canvas(8.4 if columns == 2 else 6.4, 1.1 + 0.26 * len(shown), columns)
    dots(axes[0], [(i.feature, i.loss.estimate, i.loss.lower, i.loss.upper) for i in shown], MAIN)
    axes[0].axvline(0, color=MUTED, lw=1)
    axes[0].set(title="the ensemble", xlabel=f"increase of {name(found.explanation.loss)} when shuffled")
    if columns == 2:
        _trees(axes[1], found.explanation)
    told = f"Most important to the ensemble: {', '.join(i.feature for i in shown[:5])}."
    return Drawn(figure, "Importance of the features", told)


def _trees(axes: Any, explanation: Explanation) -> None:
    trees = (explanation.trees or [])[:_MOST_FEATURES]
    dots(axes, [(t.feature, t.mean_abs.estimate, t.mean_abs.lower, t.mean_abs.upper) for t in trees], SECOND)
    axes.set(title="its XGBoost member", xlabel="mean size of the contribution")


def dependence(found: Evidence) -> Drawn | None:
    """Partial dependence, a panel a feature; the band is how rows differ in it."""
    if found.explanation is None or not found.explanation.dependence:
        return None
    parts = found.explanation.dependence
    columns = min(3, len(parts))
    rows = -(-len(parts) // columns)
    figure, axes = canvas(9.2, 2.9 * rows, columns, rows)
    chosen = _widest(parts)
    for ax, part in zip(axes, parts, strict=False):
        _curves(ax, part, chosen)
    for ax in axes[len(parts) :]:
        ax.set_axis_off()
    if len(chosen) > 1:
        figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=len(chosen))
    figure.supylabel("mean score", fontsize=10.5)
    told = " ".join(_told(part, chosen[0]) for part in parts)
    return Drawn(figure, "Partial dependence on the most important features", told)


def _widest(parts: list[Dependence]) -> list[str]:
    """The outputs that move most, at most four: twenty-six lines are a tangle."""
    moves = {
        c.output: max(np.ptp(curve.mean) for part in parts for curve in part.curves if curve.output == c.output) for c in parts[0].curves
    }
    return sorted(moves, key=lambda output: -moves[output])[:_MOST_CURVES]


def _curves(axes: Any, part: Dependence, chosen: list[str]) -> None:
    x = part.numbers if part.numbers is not None else list(range(len(part.categories or ())))
    for curve, colour in zip(_chosen(part, chosen), LINES, strict=False):
        if part.numbers is not None:
            axes.fill_between(x, curve.lower, curve.upper, color=colour, alpha=0.15, lw=0)
            axes.plot(x, curve.mean, color=colour, lw=1.6, label=curve.output)
        else:
            spread = np.maximum([np.subtract(curve.mean, curve.lower), np.subtract(curve.upper, curve.mean)], 0)
            axes.errorbar(x, curve.mean, yerr=spread, fmt="o", color=colour, ms=4, elinewidth=1, label=curve.output)
    if part.categories is not None:
        axes.set_xticks(x, [short(c, 9) for c in part.categories], rotation=60, ha="right", rotation_mode="anchor", fontsize=8.5)
    axes.set_title(short(part.feature, 30))
    axes.grid(visible=True, axis="y")


def _chosen(part: Dependence, chosen: list[str]) -> Iterator[Curve]:
    by_output = {curve.output: curve for curve in part.curves}
    return (by_output[output] for output in chosen if output in by_output)


def _told(part: Dependence, output: str) -> str:
    [curve] = list(_chosen(part, [output]))
    return f"{part.feature}: from {min(curve.mean):.3g} to {max(curve.mean):.3g}."
