"""Training towards equal treatment: rows relabelled and reweighted once, so that every member learns the fairer problem.

By the reductions approach (Agarwal et al. 2018, ICML, PMLR 80:60-69), with Fairlearn's grid search over Lagrange multipliers on a
sample: the chosen multipliers make each row's label and weight depend on its group and its label alone. Does not know the members.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
from fairlearn.reductions import DemographicParity, EqualizedOdds, ErrorRate, GridSearch, Moment, UtilityParity
from xgboost import XGBClassifier

from cluster.errors import ConfigError, NotEnoughData
from cluster.fairness_settings import Fairness
from cluster.records import Record
from cluster.schema import Label, Matrix
from monitoring.groups import Groups, cross
from training.members import Rows

SAMPLE_ROWS: Final = 30_000
STEPS: Final = (0.02, 0.04, 0.08, 0.15, 0.3, 0.6)
"""How far the decision threshold of the group that is worst off is moved, in units of probability."""
ROUNDS: Final = 3
"""The direction is taken anew from what each round found best."""
FINER: Final = 6
"""Places looked at between the last step that leaves too wide a gap and the first that does not, those two included."""


class Mitigation(Record, frozen=True, kw_only=True):
    """What was chosen, and what it did to a small model: trained on half of a sample, measured on the other half."""

    constraint: str
    attribute: str
    """The protected attribute, or several crossed."""
    rows: int
    """Rows of the sample, both halves."""
    groups: dict[str, tuple[float, float]]
    """By group, the signed weights of its negative and positive rows: trained as positive where above 0."""
    neutral: tuple[float, float]
    """The signed weights of rows in no such group, and of all rows without mitigation."""
    gap_before: float
    """Between the rates of the two groups furthest apart: of positive answers, or of true or false positives."""
    gap: float
    cost_before: float
    """Mean cost of errors: 2 threshold for a false positive, 2 (1 - threshold) for a false negative; at 0.5 the error rate."""
    cost: float


def reweigh(label: Label, rows: Rows, groups: Mapping[str, npt.ArrayLike], settings: Fairness, *, seed: int) -> Rows:
    """The same rows with labels and weights of the fairer problem; the rows themselves when `mitigation` is `none`.

    Unknown labels stay unknown. Weights that were there before are multiplied. For what was chosen, call `choose` and `apply`.

    Parameters
    ----------
    groups
        By protected attribute, the group of each row: strings (n,). They need not be features.

    Raises
    ------
    ConfigError
        When the task is not binary, or an attribute is absent.
    NotEnoughData
        When there are not two groups of `min_group_rows` sampled rows with both labels.
    """
    if settings.mitigation == "none":
        return rows
    return apply(choose(label, rows, groups, settings, seed=seed), label, rows, groups, settings)


def choose(label: Label, rows: Rows, groups: Mapping[str, npt.ArrayLike], settings: Fairness, *, seed: int) -> Mitigation:
    """Look for multipliers. Parameters and errors as of `reweigh`.

    Where `settings` limits the gap in question, those nearest to no mitigation that keep to it are chosen; otherwise, or where none do,
    those with the best trade-off: (1 - mitigation_weight) cost + mitigation_weight (furthest distance of a group's rate from that of all).
    """
    problem = settings.misfit(label.task, tuple(groups))
    if problem or settings.mitigation == "none":
        raise ConfigError(problem or "fairness.mitigation is none: there is nothing to choose")
    people = _people(groups, settings)
    halves = _halves(rows, people, settings, seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Fairlearn 0.15 sets items in ways that pandas 3 only just allows
        first, best = _search(label, halves, settings, seed)
        weights = _signed_weights(label, halves.fitted, settings, best.multipliers)
    return Mitigation(
        constraint=settings.mitigation,
        attribute=people.name,
        rows=len(halves.fitted.y) + len(halves.judged.y),
        groups=weights,
        neutral=_neutral(label),
        gap_before=first.gap,
        gap=best.gap,
        cost_before=first.cost,
        cost=best.cost,
    )


def apply(choice: Mitigation, label: Label, rows: Rows, groups: Mapping[str, npt.ArrayLike], settings: Fairness) -> Rows:
    """Rows as the choice wants them; their mean weight stays what it was.

    A reduced problem decides at the sign of a cost, members decide at `label.threshold`: so positives weigh threshold times as much, and
    negatives 1 - threshold. Where nothing is evened out all weigh the same.
    """
    people = _people(groups, settings)
    table = np.array([choice.groups.get(name, choice.neutral) for name in people.names])
    known = ~np.isnan(rows.y)
    signed = table[people.codes[known], rows.y[known].astype(np.intp)]
    before = np.ones(len(rows)) if rows.weight is None else rows.weight
    y, weight = rows.y.copy(), before.copy()
    y[known] = signed > 0
    weight[known] *= np.abs(signed) * np.where(signed > 0, label.threshold, 1 - label.threshold)
    weight[known] *= before[known].sum() / weight[known].sum()
    return Rows(rows.X, y, weight)


@dataclass(frozen=True)
class _Sample:
    X: Matrix
    y: npt.NDArray[np.intp]
    people: pd.Series

    def load(self, moment: Moment) -> Moment:
        moment.load_data(self.X, self.y, sensitive_features=self.people)
        return moment


class _Halves(NamedTuple):
    fitted: _Sample
    """What small models are trained on."""
    judged: _Sample
    """What their gap and cost are measured on: on rows it knows a model looks fairer than it is."""


class _Tried(NamedTuple):
    """Multipliers, and what a small model trained by them does."""

    multipliers: pd.Series
    uneven: pd.Series
    """By event and group, the group's rate less that of all."""
    cost: float

    def loss(self, weight: float) -> float:
        """The trade-off of Fairlearn's grid search."""
        return (1 - weight) * self.cost + weight * float(self.uneven.abs().max())

    @property
    def gap(self) -> float:
        """Between the groups furthest apart."""
        by_event = self.uneven.groupby(level=0)
        return float((by_event.max() - by_event.min()).max())


class _Costs:
    """Fairlearn's moments, with errors that cost what the label's threshold says they do."""

    def __init__(self, threshold: float) -> None:
        super().__init__()
        self._threshold = threshold

    def default_objective(self) -> ErrorRate:
        return _objective(self._threshold)


class _DemographicParity(_Costs, DemographicParity):  # type: ignore[misc]
    pass


class _EqualizedOdds(_Costs, EqualizedOdds):  # type: ignore[misc]
    pass


def _objective(threshold: float) -> ErrorRate:
    """A row is answered positive at the threshold or above where that is cheapest: the two costs are as 1 - threshold to threshold."""
    return ErrorRate(costs={"fp": 2 * threshold, "fn": 2 * (1 - threshold)})


def _neutral(label: Label) -> tuple[float, float]:
    return -2 * label.threshold, 2 * (1 - label.threshold)


def _people(groups: Mapping[str, npt.ArrayLike], settings: Fairness) -> Groups:
    return cross([Groups.of(name, groups[name]) for name in settings.mitigation_attributes or groups])


def _halves(rows: Rows, people: Groups, settings: Fairness, seed: int) -> _Halves:
    """Labelled rows of groups that are large enough and have both labels in both halves."""
    chosen = np.random.default_rng(seed).permutation(np.flatnonzero(~np.isnan(rows.y)))[:SAMPLE_ROWS]
    split = Groups(people.name, people.names, people.codes[chosen]).split(settings.min_group_rows)
    y, half = rows.y[chosen].astype(np.intp), np.arange(len(chosen)) % 2
    seen = np.zeros((len(split.names), 2, 2))
    np.add.at(seen, (split.codes, half, y), 1)
    usable = np.flatnonzero((seen[: len(split.judged)] > 0).all(axis=(1, 2)))
    if len(usable) < 2:
        raise NotEnoughData(
            f"fairness.mitigation needs two groups of '{people.name}' with {settings.min_group_rows:,} rows and both labels in a sample of "
            f"{len(chosen):,}; found {len(usable)}: lower fairness.min_group_rows, or set mitigation to none"
        )
    names = np.array(split.names, dtype=object)[split.codes]
    parts = [np.flatnonzero(np.isin(split.codes, usable) & (half == k)) for k in (0, 1)]
    return _Halves(*(_Sample(rows.X[chosen[part]], y[part], pd.Series(names[part], name="group")) for part in parts))


def _search(label: Label, halves: _Halves, settings: Fairness, seed: int) -> tuple[_Tried, _Tried]:
    """What no mitigation does, and what is chosen: step by step against what is uneven, from the best of the last round."""
    moment = halves.fitted.load(_moment(label, settings))
    here = first = _grid(label, halves, settings, seed, [pd.Series(0.0, index=moment.index)])[0]
    goal = _goal(settings)
    for _ in range(ROUNDS):
        ahead, steps = _against(here.uneven, moment), [0.0, *STEPS]
        tried = [here, *_grid(label, halves, settings, seed, [here.multipliers + step * ahead for step in STEPS])]
        enough = next((i for i, one in enumerate(tried) if one.gap <= goal), None)
        if enough is not None:
            between = np.linspace(steps[max(enough - 1, 0)], steps[enough], FINER)[1:-1]
            finer = _grid(label, halves, settings, seed, [here.multipliers + step * ahead for step in between]) if enough else []
            return first, min((one for one in (tried[enough], *finer) if one.gap <= goal), key=lambda one: one.cost)
        best = min(tried, key=lambda one: one.loss(settings.mitigation_weight))
        if best is here:
            break
        here = best
    return first, here


def _goal(settings: Fairness) -> float:
    """The gap that is asked for: the gate's limit on what the mitigation evens out, the lower one of two; below 0 when there is none."""
    bounded = ("selection_rate",) if settings.mitigation == "demographic_parity" else ("tpr", "fpr")
    return min((limit for name, limit in settings.limits.items() if name in bounded), default=-1.0)


def _against(uneven: pd.Series, moment: UtilityParity) -> pd.Series:
    """Multipliers that take 2 off the signed weight of the rows that are furthest from all, and from or to others in proportion.

    A multiplier of v P(group, event) takes v off the weight of the group's rows of that event, and nothing off others: v sums to 0.
    """
    signed = 2 * uneven / max(float(uneven.abs().max()), 1e-9) * moment.prob_group_event
    pair = [signed.clip(lower=0), (-signed).clip(lower=0)]
    return pd.concat(pair, keys=["+", "-"], names=moment.index.names).reindex(moment.index)


def _grid(label: Label, halves: _Halves, settings: Fairness, seed: int, multipliers: list[pd.Series]) -> list[_Tried]:
    """A small model by each of these multipliers."""
    search = GridSearch(
        XGBClassifier(n_estimators=50, max_depth=4, learning_rate=0.2, min_child_weight=5, tree_method="hist", n_jobs=1, random_state=seed),
        _moment(label, settings),
        grid=pd.DataFrame(dict(enumerate(multipliers))),
    )
    search.fit(halves.fitted.X, halves.fitted.y, sensitive_features=halves.fitted.people)
    moment, objective = halves.judged.load(_moment(label, settings)), halves.judged.load(_objective(label.threshold))
    measured = [(moment.gamma(model.predict)["+"], float(objective.gamma(model.predict).iloc[0])) for model in search.predictors_]
    return [_Tried(m, uneven, cost) for m, (uneven, cost) in zip(multipliers, measured, strict=True)]


def _moment(label: Label, settings: Fairness) -> UtilityParity:
    return (_DemographicParity if settings.mitigation == "demographic_parity" else _EqualizedOdds)(label.threshold)


def _signed_weights(label: Label, sample: _Sample, settings: Fairness, multipliers: pd.Series) -> dict[str, tuple[float, float]]:
    """Of each group's negative and positive rows; they depend on nothing else."""
    moment, objective = sample.load(_moment(label, settings)), sample.load(_objective(label.threshold))
    weights = (moment.signed_weights(multipliers) + objective.signed_weights()).to_numpy()
    found = {}
    for name in sorted(sample.people.unique()):
        of_group = (sample.people == name).to_numpy()
        negative, positive = (float(weights[of_group & (sample.y == k)][0]) for k in (0, 1))
        found[str(name)] = (negative, positive)
    return found
