"""How good a bundle has been since it began to answer: loss and calibration over its labelled windows, also by group and by slice.

Every figure is a mean over windows with a confidence sequence (`monitoring.confidence`), so that it may be read after each window.
Each holds by itself, not all of them together: of twenty groups one may lie outside. Pure.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from cluster.schema import Floats, Label, Matrix
from monitoring import confidence, performance
from monitoring.fairness import FEWEST_CASES
from monitoring.group_figures import calibration_error, given_and_truth
from monitoring.groups import MISSING
from monitoring.said import Figure, Live
from monitoring.slices import Flags

CONFIDENCE: Final = 0.95
MOST_GROUPS: Final = 8
"""Of a protected column, the largest of the window."""


def so_far(
    label: Label,
    scores: Matrix,
    y: Floats,
    groups: Mapping[str, npt.NDArray[np.object_]],
    slices: Mapping[str, Flags],
    live: Live,
    *,
    usual: Mapping[str, float],
) -> tuple[list[Figure], Live]:
    """Take a window's labelled rows in and say how the bundle has done up to now.

    Parameters
    ----------
    scores, y
        float32 (n, width), float64 (n,) without NaN.
    groups, slices
        By protected column the group of each row, (n,); by condition, which rows it means, bool (n,).
    usual
        The metrics on the reference.
    """
    found = []
    for part, rows in _parts(groups, slices, len(y)):
        if rows.sum() < FEWEST_CASES:
            continue
        for metric, figure in _figures(label, scores[rows], y[rows]).items():
            name = f"{metric}[{part}]" if part else metric
            live = live.seen(f"so_far|{name}", figure)
            found.append(_said(metric, name, int(rows.sum()), live, usual.get(metric)))
    return found, live


def expected_calibration_errors(label: Label, scores: Matrix, y: Floats, *, rng: np.random.Generator) -> list[Figure]:
    """The window's ECE, and what a calibrated model's would stay below by chance; nothing for regression."""
    if label.task == "regression":
        return []
    given, truth = given_and_truth(label, y, scores)
    error, by_chance = calibration_error(given, truth, confidence=CONFIDENCE, rng=rng)
    told = f"{error:.4f}; a calibrated model's stays below {by_chance:.4f} in {CONFIDENCE:.0%} of such windows"
    return [
        Figure("performance", "ece", error, "ece", len(y), message=told),
        Figure("performance", "ece_by_chance", by_chance, "ece", len(y)),
    ]


def largest(values: npt.NDArray[np.object_], most: int = MOST_GROUPS) -> list[str]:
    """Names of the largest groups, by rows and then by name; what is not known is `missing`."""
    sizes = Counter(value or MISSING for value in values.tolist())
    return sorted(sizes, key=lambda name: (-sizes[name], name))[:most]


def _parts(groups: Mapping[str, npt.NDArray[np.object_]], slices: Mapping[str, Flags], count: int) -> Iterator[tuple[str, Flags]]:
    yield "", np.ones(count, dtype=np.bool_)
    for attribute, values in groups.items():
        named = np.array([value or MISSING for value in values.tolist()], dtype=object)
        for group in largest(values):
            yield f"{attribute}={group}", np.asarray(named == group)
    yield from slices.items()


def _figures(label: Label, scores: Matrix, y: Floats) -> dict[str, float]:
    """What is averaged over windows: the loss, for regression its logarithm, and answer minus truth."""
    loss = performance.figure(label, performance.loss(label, scores, y))
    if label.task == "regression":
        return {"rmse": loss, "calibration": float((scores[:, 0].astype(np.float64) - y).mean())}
    given, truth = given_and_truth(label, y, scores)
    return {"brier": loss, "calibration": float((given - truth).mean())}


def _said(metric: str, name: str, rows: int, live: Live, usual: float | None) -> Figure:
    course = live.courses[f"so_far|{name}"]
    bounds = confidence.interval(course, confidence=CONFIDENCE)
    value, *ends = _shown(metric, [course.mean] if bounds is None else [course.mean, bounds.lower, bounds.upper])
    over = f"over {course.windows} windows"
    told = f"{value:.4g} {over}; too few to bound it" if bounds is None else f"{value:.4g} ({ends[0]:.4g} to {ends[1]:.4g}) {over}"
    lower, upper = ends or (None, None)
    expected = 0.0 if metric == "calibration" else usual
    return Figure("performance_so_far", name, value, metric, rows, expected=expected, lower=lower, upper=upper, message=told)


def _shown(metric: str, figures: Sequence[float]) -> list[float]:
    """In the metric's own unit: the mean of logarithms of squared errors becomes a root."""
    return [float(np.exp(figure / 2)) for figure in figures] if metric == "rmse" else list(figures)
