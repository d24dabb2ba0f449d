"""Figures and verdicts of one data set. Knows scores and labels, not where they come from.

"At least as good within noise" means: of the paired difference between the ensemble and the best single peer on the same test rows, the
95 % interval does not lie below zero. The interval is a bootstrap over blocks (`training.judging.bootstrap`), so it holds the luck of the
test rows, and not that of the training: another seed moves a tuned model as well. The best peer is picked on the test rows themselves, in
its own favour.

"Within 1 % AUC" needs a figure for every task. A concordance index is the AUC of any pair of rows (Harrell et al. 1982, JAMA 247): of rows whose labels
differ, the share that the scores put in the right order. For two classes it is the AUC itself.
"""

from __future__ import annotations

import timeit
from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import stats

from benchmarks.report import Line, Role, Target
from cluster.records import Interval
from cluster.schema import Floats, Label, Matrix
from training.judging.bootstrap import bootstrap_improvement
from training.judging.evaluate import HIGHER_IS_BETTER, measure
from training.judging.gate import DEFAULT_METRIC

SHOWN: Final = {
    "binary": ("roc_auc", "log_loss", "ece"),
    "multiclass": ("log_loss", "accuracy", "ece", "roc_auc_ovr"),
    "regression": ("rmse", "mae", "r2", "concordance"),
}
ALIKE: Final = {"binary": "roc_auc", "multiclass": "roc_auc_ovr", "regression": "concordance"}
"""On which the student is compared with the ensemble: a share of a loss would mean little."""
CONFIDENCE: Final = 0.975  # on each side: together 95 %
STUDENT_KEEPS: Final = 0.99
_DAY_S: Final = 86400.0


class Contender(NamedTuple):
    """Who was measured."""

    who: str
    role: Role
    scores: Matrix
    """On the test rows."""
    costs: Mapping[str, float]
    """`train_s`, `one_row_us`, `trials`, where they are known."""


def lines(case: str, label: Label, y: Floats, contenders: Sequence[Contender]) -> list[Line]:
    """The figures of each."""
    return [Line(who=c.who, role=c.role, case=case, figures=_figures(label, y, c.scores) | dict(c.costs)) for c in contenders]


def _figures(label: Label, y: Floats, scores: Matrix) -> dict[str, float]:
    found = measure(label, y, scores)
    if label.task == "regression":
        found = {**found, "concordance": concordance(y, scores[:, 0].astype(np.float64))}
    return {name: found[name] for name in SHOWN[label.task] if name in found}


def concordance(y: Floats, scores: Floats) -> float:
    """Of pairs of rows whose labels differ, the share that the scores put in the same order; pairs of equal scores count half.

    >>> concordance(np.array([1.0, 2.0, 2.0, 3.0]), np.array([0.1, 0.2, 0.3, 0.25]))
    0.8
    """
    told, scored = _pairs_told(y), _pairs_told(scores)
    both_ways = float(stats.kendalltau(y, scores).statistic) * np.sqrt(told * scored)  # concordant pairs less discordant ones
    return float((both_ways / told + 1) / 2)


def _pairs_told(values: Floats) -> float:
    """Pairs of different values."""
    counts = np.unique(values, return_counts=True)[1].astype(np.float64)
    return float((counts.sum() ** 2 - (counts**2).sum()) / 2)


def best_peer(label: Label, found: Sequence[Line]) -> Line:
    """The peer with the best figure of the task's main metric."""
    metric = DEFAULT_METRIC[label.task]
    sign = 1 if HIGHER_IS_BETTER[metric] else -1
    return max((line for line in found if line.role == "peer"), key=lambda line: sign * line.figures[metric])


def gain(label: Label, y: Floats, ours: Matrix, theirs: Matrix, blocks: npt.NDArray[np.intp], *, rng: np.random.Generator) -> Interval:
    """95 % interval of how much better ours is than theirs on the task's main metric; positive is better."""
    as_days = blocks.astype(np.float64) * _DAY_S  # the bootstrap draws days
    return bootstrap_improvement(label, DEFAULT_METRIC[label.task], y, theirs, ours, as_days, confidence=CONFIDENCE, rng=rng)


def targets(case: str, label: Label, found: Sequence[Line], peer: str, interval: Interval) -> list[Target]:
    """What was promised: no worse than the best peer within noise, and a student close to its ensemble."""
    figures, metric = {line.who: line.figures for line in found}, ALIKE[label.task]
    kept = figures["student"][metric] / figures["ensemble"][metric] if metric in figures["ensemble"] else None
    return [
        Target(
            what=f"{case}: ensemble better than {peer} in {DEFAULT_METRIC[label.task]} by {interval.estimate:+.4f}, "
            f"95 % interval {interval.lower:+.4f} to {interval.upper:+.4f}; its upper end",
            bound="at least",
            wanted=0.0,
            found=interval.upper,
        ),
        Target(what=f"{case}: the student's {metric} as a share of the ensemble's", bound="at least", wanted=STUDENT_KEEPS, found=kept),
    ]


def one_row_us(call: Callable[[], object], *, calls: int) -> float:
    """Microseconds of one call, best of five means."""
    call()
    return min(timeit.repeat(call, number=calls, repeat=5)) / calls * 1e6
