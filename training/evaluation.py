"""Everything that is measured of a bundle before it is sealed, by the name of the file that keeps it. Pure.

Owns which rows answer which question: promises and metrics rest on held-out rows, which nothing was fitted on or chosen by; what needs
many rows (groups, slices) also takes the validation rows, scored by fits on earlier rows. How a thing is measured is in the module named.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import numpy as np

from cluster.schema import Floats, Label, Matrix
from cluster.settings import Settings
from monitoring import fairness
from training.assembly import Assembled, scores_by_name
from training.composing import graphs
from training.composing.measure import Scorer
from training.explaining import explanation
from training.explaining.surrogate import FEWEST_ROWS
from training.judging import bootstrap, checks, evaluate, memorisation, slices, stability
from training.material import Groups, Material
from training.members import Rows

CONFIDENCE: Final = 0.95
"""Of the intervals of metrics."""


_EXPLAINED: Final = FEWEST_ROWS
"""Fewer held-out rows explain nothing."""


class Unseen(NamedTuple):
    """Rows that whoever scored them had not been fitted on: the validation rows, then the held-out ones."""

    rows: Rows
    answers: Matrix
    """What a caller would have been told."""
    times: Floats | None
    groups: Groups


def evaluate_all(settings: Settings, material: Material, made: Assembled, native: Mapping[str, bytes]) -> dict[str, Any]:
    """Measure; returns documents by file name without its ending.

    Parameters
    ----------
    native
        The final members.
    """
    seed, label, schema, held = settings.training.seed, material.schema.label, material.schema, material.held
    later = unseen(material, made)
    scorer = graphs.scorer(made.ensemble)

    def answer(matrix: Matrix) -> Matrix:
        return made.answers(label, matrix)

    found: dict[str, Any] = {
        "metrics": _metrics(material, made, np.random.default_rng(seed)),
        "evaluation/calibration": _calibration(label, held, made),
        "evaluation/slices": slices.find(
            label,
            schema,
            later.rows.X,
            later.rows.y,
            later.answers,
            rng=np.random.default_rng(seed),
            protected=later.groups,
            times=later.times,
        ),
        "evaluation/checks": checks.run(settings.checks, schema, held.X, answer, rng=np.random.default_rng(seed)),
        "evaluation/columns": memorisation.find(
            schema, material.rows.X, material.times, material.rows.y, rng=np.random.default_rng(seed), threads=settings.training.threads
        ),
        "evaluation/stability": _stability(settings, material, made, answer),
    }
    if material.groups:
        report = fairness.assess(label, later.rows.y, later.answers, later.groups, settings.fairness, rng=np.random.default_rng(seed))
        found["evaluation/fairness"] = report
    if (~np.isnan(held.y)).sum() >= _EXPLAINED:
        found["evaluation/explanation"] = explanation.explain(
            schema, scorer, held, rng=np.random.default_rng(seed), trees=native.get("xgboost")
        )
    return found


def unseen(material: Material, made: Assembled) -> Unseen:
    """The validation rows and the held-out rows, with what would have been answered about them."""
    valid, held, label = material.rows[material.validation], material.held, material.schema.label
    times = (
        None
        if material.times is None or material.held_times is None
        else np.concatenate([material.times[material.validation], material.held_times])
    )
    groups = {name: np.concatenate([values[material.validation], material.held_groups[name]]) for name, values in material.groups.items()}
    return Unseen(
        Rows(np.concatenate([valid.X, held.X]), np.concatenate([valid.y, held.y])),
        np.concatenate([made.out_of_fold["answered"], made.answers(label, held.X)]),
        times,
        groups,
    )


def _metrics(material: Material, made: Assembled, rng: np.random.Generator) -> dict[str, Any]:
    """By who answers: on held-out rows with intervals, and forward, on rows later than any that the scoring fits had seen."""
    label, held, valid = material.schema.label, material.held, material.rows[material.validation]
    scored = scores_by_name(made, held.X)
    known = ~np.isnan(held.y)
    times = None if material.held_times is None else material.held_times[known]
    intervals = {who: _intervals(label, held.y[known], scores[known], times, rng) for who, scores in scored.items()} if known.any() else {}
    return {
        "held_out": {who: evaluate.measure(label, held.y, scores) for who, scores in scored.items()},
        "intervals": intervals,
        "interval_confidence": CONFIDENCE,
        "forward": {who: evaluate.measure(label, valid.y, scores) for who, scores in made.out_of_fold.items()},
        "parity": made.parity,
        "rows": material.counts,
    }


def _intervals(label: Label, y: Floats, scores: Matrix, times: Floats | None, rng: np.random.Generator) -> dict[str, tuple[float, float]]:
    measured = {name for name in evaluate.measure(label, y, scores) if name in bootstrap.WEIGHTABLE}
    found = {name: bootstrap.interval(label, name, y, scores, times, confidence=CONFIDENCE, rng=rng) for name in sorted(measured)}
    return {name: (bounds.lower, bounds.upper) for name, bounds in found.items() if bounds is not None and math.isfinite(bounds.lower)}


def _calibration(label: Label, held: Rows, made: Assembled) -> dict[str, list[evaluate.Bin]]:
    asked = {"ensemble": graphs.run(made.ensemble, held.X), "student": graphs.run(made.student.graph, held.X)}
    return {who: evaluate.reliability(label, held.y, scores) for who, scores in asked.items()}


def _stability(settings: Settings, material: Material, made: Assembled, answer: Scorer) -> dict[str, Any]:
    """How the finished model takes disturbed rows, and how much figures spread over folds, groups and seeds."""
    label, seed, threads, held = material.schema.label, settings.training.seed, settings.training.threads, material.held
    start = material.folds[0].train
    folds = [
        (material.rows.y[fold.train : fold.until], made.out_of_fold["ensemble"][fold.train - start : fold.until - start])
        for fold in material.folds
    ]
    return {
        "stress": stability.stress(label, material.schema, held.X, held.y, answer, rng=np.random.default_rng(seed)),
        "time": stability.spread(label, folds),
        "groups": stability.group_spread(label, material.rows, material.belongs, seed=seed, threads=threads),
        "seeds": stability.seeds(label, material.rows[:start], material.rows[material.validation], threads=threads),
    }
