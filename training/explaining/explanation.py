"""How a model comes to its answers, measured on rows it was not fitted on; `evaluation/explanation.json` of a bundle.

Owns the record and the order of work; what a part means is said in `attributions`, `surrogate` and `dependence`. A single
row is explained by LIME when somebody asks (`training.explaining.lime_setup`).
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from cluster.errors import NotEnoughData
from cluster.records import Record
from cluster.schema import FeatureSchema, Floats, Matrix, score_width
from training.composing.trees import load
from training.explaining.attributions import Attribution, Importance, Scorer, attribute, permute
from training.explaining.dependence import Dependence, depend
from training.explaining.surrogate import FEWEST_ROWS, Surrogate, imitate
from training.judging.evaluate import row_losses
from training.members import Rows

NAME: Final = "explanation.json"
"""The file in a bundle's `evaluation/`."""
_ROWS: Final = 2000
_CURVE_ROWS: Final = 500
_TREE_ROWS: Final = (50, 500)
_TREE_WORK: Final = 150_000  # rows times trees: about a second on one core at depth 6
_CURVES: Final = 6
_BINS: Final = 20
_RESIDUAL_BINS: Final = 15


class ScoreBin(Record, frozen=True, kw_only=True):
    """Rows whose score is in [lower, upper): the probability of the positive class, of the answered class, or the number."""

    lower: float
    upper: float
    rows: int
    positive: int | None
    """Binary: how many of them were of the positive class."""


class ResidualBin(Record, frozen=True, kw_only=True):
    """Rows of similar predictions, and quantiles of observed less predicted among them."""

    rows: int
    mean_score: float
    lower: float
    """5 % quantile."""
    median: float
    upper: float
    """95 % quantile."""


class Explanation(Record, frozen=True, kw_only=True):
    """What explains the ensemble."""

    rows: int
    """Labelled rows that were looked at."""
    confidence: float
    """Of the intervals."""
    loss: str
    """The loss of `importance`: `log_loss` or `squared_error`."""
    loss_before: float
    """Of the ensemble on these rows as they are."""
    importance: list[Importance]
    """Of the ensemble, the most important first."""
    trees: list[Attribution] | None
    """Of the XGBoost member; None without one."""
    tree_rows: int
    """Rows whose contributions were computed: they cost most."""
    surrogate: Surrogate
    dependence: list[Dependence]
    """Of the most important features."""
    scores: list[ScoreBin]
    residuals: list[ResidualBin]
    """Regression only."""


def explain(
    schema: FeatureSchema, scorer: Scorer, rows: Rows, *, rng: np.random.Generator, trees: bytes | None = None, confidence: float = 0.9
) -> Explanation:
    """Explain a scorer on at most 2,000 of the rows; the same generator gives the same record.

    Parameters
    ----------
    schema
        Frozen.
    scorer
        The ensemble: float32 (n, features) to float32 (n, width).
    rows
        Held-out rows: what a model does on rows it was fitted on explains its memory too.
    trees
        The XGBoost member's booster as UBJ.

    Raises
    ------
    NotEnoughData
        With fewer than 40 labelled rows.
    """
    rows = rows.labelled()
    if len(rows) < FEWEST_ROWS:
        raise NotEnoughData(f"an explanation needs at least {FEWEST_ROWS} labelled rows; found {len(rows)}")
    rows = rows[_chosen(len(rows), _ROWS, rng)]
    scores = scorer(rows.X)
    importance = permute(schema, scorer, rows, rng=rng, confidence=confidence)
    few = _some(rows.X, _CURVE_ROWS, rng)
    looked = None if trees is None else _some(rows.X, _affordable(schema, trees), rng)
    regression = schema.label.task == "regression"
    return Explanation(
        rows=len(rows),
        confidence=confidence,
        loss="squared_error" if regression else "log_loss",
        loss_before=float(row_losses(schema.label, rows.y, scores).mean()),
        importance=importance,
        trees=None if trees is None or looked is None else attribute(schema, trees, looked, rng=rng, confidence=confidence),
        tree_rows=0 if looked is None else len(looked),
        surrogate=imitate(schema, rows.X, scores, rng=rng),
        dependence=depend(schema, scorer, few, [i.feature for i in importance[:_CURVES]]),
        scores=_spread(schema, rows.y, scores),
        residuals=_residuals(rows.y, scores[:, 0].astype(np.float64)) if regression else [],
    )


def _chosen(rows: int, most: int, rng: np.random.Generator) -> npt.NDArray[np.intp]:
    """Places of at most so many rows, in their order."""
    return np.sort(rng.choice(rows, most, replace=False)) if rows > most else np.arange(rows)


def _some(matrix: Matrix, most: int, rng: np.random.Generator) -> Matrix:
    return matrix[_chosen(len(matrix), most, rng)]


def _affordable(schema: FeatureSchema, native: bytes) -> int:
    count = load(native).num_boosted_rounds() * score_width(schema.label)
    return int(np.clip(_TREE_WORK // max(count, 1), *_TREE_ROWS))


def _spread(schema: FeatureSchema, y: Floats, scores: Matrix) -> list[ScoreBin]:
    task = schema.label.task
    told = scores.max(axis=1) if task == "multiclass" else scores[:, 0]
    bounds = (float(told.min()), float(told.max())) if task == "regression" else (0.0, 1.0)
    counts, edges = np.histogram(told, bins=_BINS, range=bounds)
    positive = np.histogram(told[y == 1], bins=edges)[0] if task == "binary" else None
    return [
        ScoreBin(
            lower=float(edges[i]),
            upper=float(edges[i + 1]),
            rows=int(counts[i]),
            positive=None if positive is None else int(positive[i]),
        )
        for i in range(_BINS)
    ]


def _residuals(y: Floats, given: Floats) -> list[ResidualBin]:
    """Bins of equal numbers of rows, from the lowest prediction up."""
    made = []
    for part in np.array_split(np.argsort(given, kind="stable"), _RESIDUAL_BINS):
        if len(part):
            lower, median, upper = np.quantile(y[part] - given[part], [0.05, 0.5, 0.95])
            made.append(
                ResidualBin(
                    rows=len(part), mean_score=float(given[part].mean()), lower=float(lower), median=float(median), upper=float(upper)
                )
            )
    return made
