"""How a model treats groups of people: figures by group, and every pair of groups compared. Pure.

The same function looks at a hold-out before a model is promoted and at a window of live rows after. What counts as too wide a
gap is `training.judging.fairness_rules`. All intervals assume independent rows, which neighbouring rows are not: read them as too narrow.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Final

import numpy as np
import numpy.typing as npt

from cluster.errors import DataError, NotEnoughData
from cluster.fairness_settings import Fairness
from cluster.records import Interval, Record
from cluster.schema import Floats, Label, Matrix, Task
from monitoring.group_figures import UNCOMPARED, calibration_error, given_and_truth, tally
from monitoring.groups import Groups, Split, cross
from monitoring.tallies import Bounds, Index, Means, Shares, Tally

OVERALL: Final = "overall"
"""All rows, as the other side of a comparison."""
MOST_GROUPS: Final = 50
"""An attribute with more values is refused: it is a number or a name, not a group."""
FEWEST_CASES: Final = 30
"""A figure of fewer rows (the positives, for a true positive rate) is shown and not compared."""


class Group(Record, frozen=True, kw_only=True):
    """One group of rows and its figures, each with an interval of its own at the report's `confidence`."""

    name: str
    rows: int
    labelled: int
    """Rows whose label is known."""
    judged: bool
    """Large enough to be compared."""
    figures: dict[str, Interval]
    """By name; one that the rows cannot tell is left out.

    Binary: selection_rate, tpr, fpr, base_rate, accuracy, mean_score, calibration (mean score minus true rate).
    Multiclass: `selection_rate[class]`, `tpr[class]`, `fpr[class]`, `base_rate[class]`, of one class against the rest; accuracy;
    mean_score and calibration of the class answered. Regression: mean_prediction, mae, calibration (mean of prediction minus truth).
    """
    ece: float | None = None
    """Expected calibration error; None for regression and without labels."""
    ece_by_chance: float | None = None
    """What a perfectly calibrated model's would stay below on these rows, at the report's `confidence`."""


class Comparison(Record, frozen=True, kw_only=True):
    """One figure of two groups; the intervals are at the report's `level`."""

    metric: str
    group: str
    other: str
    """Another group, or `overall`."""
    difference: Interval
    """Group minus other."""
    ratio: Interval | None = None
    """Group over other, for rates that are not zero there."""


class Attribute(Record, frozen=True, kw_only=True):
    """One protected attribute, or all of them crossed ("sex x race")."""

    name: str
    groups: list[Group]
    """Judged groups by number of rows, then what is left, pooled."""
    small: dict[str, int]
    """Rows of each group that is too small to be judged."""
    comparisons: list[Comparison]
    """Every judged group against every other and against all rows."""


class FairnessReport(Record, frozen=True, kw_only=True):
    """What is known about groups of people on one set of rows."""

    task: Task
    confidence: float
    level: float
    """Confidence of each comparison's interval: all that are judged hold together with `confidence`."""
    pairs: int
    """Pairs of groups compared, over all attributes."""
    min_group_rows: int
    overall: Group
    attributes: list[Attribute]
    refused: dict[str, str]
    """Attributes that were not looked at, and why."""


def assess(
    label: Label, y: Floats, scores: Matrix, groups: Mapping[str, npt.ArrayLike], settings: Fairness, *, rng: np.random.Generator
) -> FairnessReport:
    """Look at how a model treats the groups of each protected attribute.

    A group's own figures carry Wilson's intervals (rates) or Student's (means). Comparisons carry Newcombe's hybrid score intervals
    (differences of rates), Donner and Zou's (ratios) or Welch's (means), at a level by Bonferroni's inequality (Dunn 1961, JASA
    56:52-64): the differences between all pairs of groups, over all attributes and all figures that have a limit in `settings`, hold
    together with `settings.confidence`. Comparisons with `overall`, and of figures without a limit, are at the same level and not counted.

    Parameters
    ----------
    y
        float64 (n,): class index or number, NaN where unknown.
    scores
        float32 (n, width).
    groups
        By protected attribute, the group of each row: strings (n,); None, NaN and "" are the group `missing`.
    rng
        For `Group.ece_by_chance`.

    Raises
    ------
    DataError
        When lengths differ.
    NotEnoughData
        Without rows.
    """
    _fits(y, scores, groups)
    kept, refused = _attributes(groups)
    splits = [part.split(settings.min_group_rows) for part in kept]
    pairs = sum(split.pairs for split in splits)
    level = 1 - (1 - settings.confidence) / max(1, pairs * _limited(label, settings))
    answers = _Answers(label, y, scores, settings.confidence, level, rng)
    everybody = Split(OVERALL, [OVERALL], {}, np.zeros(len(y), dtype=np.intp))
    return FairnessReport(
        task=label.task,
        confidence=settings.confidence,
        level=level,
        pairs=pairs,
        min_group_rows=settings.min_group_rows,
        overall=answers.attribute(everybody).groups[0],
        attributes=[answers.attribute(split) for split in splits],
        refused=refused,
    )


def kind(metric: str) -> str:
    """What sort of figure it is, of whichever class.

    >>> kind("tpr[red]"), kind("tpr")
    ('tpr', 'tpr')
    """
    return metric.partition("[")[0]


def _fits(y: Floats, scores: Matrix, groups: Mapping[str, npt.ArrayLike]) -> None:
    if len(y) == 0:
        raise NotEnoughData("fairness cannot be looked at without rows")
    lengths = {"scores": len(scores)} | {
        f"the groups of '{name}'": len(np.asarray(values, dtype=object)) for name, values in groups.items()
    }
    for what, length in lengths.items():
        if length != len(y):
            raise DataError(f"{what} are of {length} rows and the labels of {len(y)}; give one a row")


def _attributes(groups: Mapping[str, npt.ArrayLike]) -> tuple[list[Groups], dict[str, str]]:
    """Each attribute, and all of them crossed; and those refused, with the reason."""
    found = [Groups.of(name, values) for name, values in groups.items()]
    kept = [part for part in found if len(part.names) <= MOST_GROUPS]
    if len(kept) > 1:
        found.append(cross(kept))
        kept += [part for part in found[-1:] if len(part.names) <= MOST_GROUPS]
    return kept, {part.name: _too_many(len(part.names)) for part in found if len(part.names) > MOST_GROUPS}


def _too_many(count: int) -> str:
    return f"{count} different values, and at most {MOST_GROUPS} are groups: put ranges or classes of it into a column and protect that"


def _limited(label: Label, settings: Fairness) -> int:
    """How many figures have a limit, at least 1."""
    classes = len(label.classes or ()) if label.task == "multiclass" else 1
    return max(1, sum(1 if name == "calibration" else classes for name in settings.limits))


@dataclass(frozen=True)
class _Answers:
    """What a model answered, and how sure the report has to be."""

    label: Label
    y: Floats
    scores: Matrix
    confidence: float
    level: float
    rng: np.random.Generator

    def attribute(self, split: Split) -> Attribute:
        tallies = tally(self.label, self.y, self.scores, split.codes, len(split.names))
        groups = [self.group(name, tallies, i, split) for i, name in enumerate(split.names)]
        compared = {metric: found for metric, found in tallies.items() if kind(metric) not in UNCOMPARED}
        comparisons = [c for metric, found in compared.items() for c in _compare(metric, found, split, self.level)]
        return Attribute(name=split.name, groups=groups, small=split.small, comparisons=comparisons)

    def group(self, name: str, tallies: Mapping[str, Tally], place: int, split: Split) -> Group:
        members = split.codes == place
        y = self.y[members]
        figures = {}
        for metric, found in tallies.items():
            one = found.pick(np.array([place]))
            if one.rows[0] > isinstance(one, Means):  # the mean of a single row has no interval
                figures[metric] = _intervals(one.figures(confidence=self.confidence))[0]
        labelled = int((~np.isnan(y)).sum())
        error = chance = None
        if labelled and self.label.task != "regression":
            given, truth = given_and_truth(self.label, y, self.scores[members])
            error, chance = calibration_error(given, truth, confidence=self.confidence, rng=self.rng)
        judged = place < len(split.judged)
        return Group(name=name, rows=len(y), labelled=labelled, judged=judged, figures=figures, ece=error, ece_by_chance=chance)


def _compare(metric: str, found: Tally, split: Split, level: float) -> list[Comparison]:
    enough = [i for i in range(len(split.judged)) if found.rows[i] >= FEWEST_CASES]
    pairs = list(combinations(enough, 2))
    a, b = (np.array([pair[side] for pair in pairs], dtype=np.intp) for side in (0, 1))
    named = [(split.names[i], split.names[j]) for i, j in pairs]
    these, those = found.pick(a), found.pick(b)
    made = _comparisons(metric, named, these.minus(those, confidence=level), _ratios(these, those, level))
    some = np.array([i for i in enough if found.rows.sum() - found.rows[i] > 1], dtype=np.intp)
    others = [(split.names[i], OVERALL) for i in some]
    return made + _comparisons(metric, others, *_against_all(found, some, level))


def _against_all(found: Tally, index: Index, level: float) -> tuple[Bounds, Bounds | None]:
    """Groups against all rows, themselves included: with w the group's share of them, group - all = (1 - w) (group - rest).

    And with x = group / rest, group / all = x / (w x + 1 - w). Both take w as given.
    """
    groups, rest = found.pick(index), found.rest(index)
    share = groups.rows / found.rows.sum()
    gap, ratio = groups.minus(rest, confidence=level).scaled(1 - share), _ratios(groups, rest, level)
    return gap, None if ratio is None else Bounds(*(x / (share * x + 1 - share) for x in ratio))


def _ratios(these: Tally, those: Tally, level: float) -> Bounds | None:
    """None for what may be negative, and has no ratio."""
    return these.over(those, confidence=level) if isinstance(these, Shares) and isinstance(those, Shares) else None


def _comparisons(metric: str, named: Sequence[tuple[str, str]], gaps: Bounds, ratios: Bounds | None) -> list[Comparison]:
    over = [None] * len(named) if ratios is None else [None if np.isnan(r.estimate) else r for r in _intervals(ratios)]
    return [
        Comparison(metric=metric, group=group, other=other, difference=gap, ratio=ratio)
        for (group, other), gap, ratio in zip(named, _intervals(gaps), over, strict=True)
    ]


def _intervals(bounds: Bounds) -> list[Interval]:
    return [Interval(estimate=float(e), lower=float(low), upper=float(high)) for e, low, high in zip(*bounds, strict=True)]
