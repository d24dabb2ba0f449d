"""How groups of people are treated, from the champion's fairness report: tables and what to draw. Pure."""

from __future__ import annotations

from typing import Final, NamedTuple

from cluster.schema import Task
from monitoring.fairness import Attribute, FairnessReport
from monitoring.wording import estimate

_FIGURES: Final[dict[Task, tuple[str, ...]]] = {
    "binary": ("selection_rate", "tpr", "fpr", "calibration"),
    "multiclass": ("accuracy", "mean_score", "calibration"),
    "regression": ("mean_prediction", "mae", "calibration"),
}
_MOST_DIFFERENCES: Final = 3


class Row(NamedTuple):
    """One group."""

    name: str
    rows: int
    figures: tuple[str, ...]
    """In the order of `Treatment.figures`, with intervals; a dash for what its rows cannot tell."""


class Treatment(NamedTuple):
    """One protected attribute."""

    attribute: str
    figures: tuple[str, ...]
    groups: list[Row]
    drawn: tuple[tuple[str, float, float, float], ...]
    """The first figure of each group with its interval."""
    differences: list[tuple[str, str, str]]
    """The widest between two groups: figure, groups, difference with its interval."""


def treatments(report: FairnessReport) -> list[Treatment]:
    """All attributes."""
    return [_treatment(attribute, _FIGURES[report.task]) for attribute in report.attributes]


def _treatment(attribute: Attribute, figures: tuple[str, ...]) -> Treatment:
    first = figures[0]
    known = [(group.name, group.figures[first]) for group in attribute.groups if first in group.figures]
    pairs = [pair for pair in attribute.comparisons if pair.other != "overall" and pair.metric in figures]
    pairs.sort(key=lambda pair: -abs(pair.difference.estimate))
    return Treatment(
        attribute=attribute.name,
        figures=figures,
        groups=[Row(group.name, group.rows, tuple(estimate(group.figures.get(name)) for name in figures)) for group in attribute.groups],
        drawn=tuple((name, found.estimate, found.lower, found.upper) for name, found in known),
        differences=[(pair.metric, f"{pair.group} less {pair.other}", estimate(pair.difference)) for pair in pairs[:_MOST_DIFFERENCES]],
    )
