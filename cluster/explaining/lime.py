"""LIME for many rows at once (Ribeiro, Singh & Guestrin 2016): the numbers of the `lime` package, without its loops.

The package explains a row at a time and calls a predictor for each. Its made-up rows depend on the seed alone, so here all rows share
them: they are drawn and scored once, in one call; what is left for each row is a weighted ridge regression on zeros and ones. A
row's explanation is therefore the same whatever rows are explained beside it. Pure.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from cluster.explaining.neighbourhood import Codes, LimeSetup, Neighbours, codes_of, draw, outcomes
from cluster.schema import Floats, Matrix

Scorer = Callable[[Matrix], Matrix]
"""Encoded rows, float32 (n, features), to scores, float32 (n, width)."""
Choice = Callable[[Matrix], Sequence[int]]
"""From the rows' own scores, float32 (n, width), to the output of each that is explained."""
_WIDTH: Final = 0.75  # the package's kernel width, times the root of the number of features
_PENALTY: Final = 1.0  # its ridge penalty


class Around(NamedTuple):
    """Made-up rows and what the explained model says of them: all that rows share."""

    neighbours: Neighbours
    outcomes: Floats
    """float64 of shape (n, outputs)."""


class Local(NamedTuple):
    """A linear model of one output around one row: base + sum(contributions) is nearly the row's score."""

    output: int
    score: float
    """What the explained model says of the row."""
    base: float
    """The intercept: what is left when every feature has another value than the row's."""
    contributions: Floats
    """By feature, float64 of shape (features,): what it adds to the score that the feature has the row's value, or is in its bin."""
    fidelity: float | None
    """R² of the linear model on the made-up rows, weighted by their nearness; None where the scores don't vary."""
    codes: Codes
    """The row's own, of shape (features,)."""


def surround(setup: LimeSetup, scorer: Scorer, *, samples: int, seed: int) -> Around:
    """Draw made-up rows and score them, in one call.

    Parameters
    ----------
    scorer
        Of the model that is explained.
    samples
        As LIME counts them, with the explained row itself.
    """
    neighbours = draw(setup, samples=samples, seed=seed)
    return Around(neighbours, outcomes(setup, scorer(neighbours.rows)))


def explain(setup: LimeSetup, around: Around, matrix: Matrix, scorer: Scorer, choose: Choice) -> list[Local]:
    """Explain encoded rows, float32 of shape (n, features).

    The package's `explain_instance` with the same seed, the same samples and all features (`num_features` no smaller than their
    number) gives these numbers.

    Parameters
    ----------
    around
        Of the same set-up and scorer.
    scorer
        Called once, for the rows themselves.
    choose
        Which output is explained; see `cluster.explaining.neighbourhood.outcomes` for their order.
    """
    scores = scorer(matrix)
    found, own, made = outcomes(setup, scores), codes_of(setup, matrix), []
    for i, output in enumerate(choose(scores)):
        outcome = np.concatenate([found[i : i + 1, output], around.outcomes[:, output]])
        same = np.vstack([np.ones((1, len(own[i])), dtype=np.bool_), around.neighbours.codes == own[i]])
        base, contributions, fidelity = fit(same, outcome)
        made.append(Local(output, float(outcome[0]), base, contributions, fidelity, own[i]))
    return made


def fit(same: npt.NDArray[np.bool_], outcome: Floats) -> tuple[float, Floats, float | None]:
    """Intercept, slopes and weighted R² of LIME's linear model.

    Weights fall with the distance to the first row: the root of the number of features that differ, in a Gaussian kernel.

    Parameters
    ----------
    same
        Shape (n, features): which made-up rows share the first row's value or bin.
    outcome
        float64 of shape (n,).

    Examples
    --------
    >>> same = np.array([[True, True], [True, False], [False, True], [False, False]] * 50)
    >>> base, slopes, fidelity = fit(same, 1.0 + 2.0 * same[:, 0])
    >>> round(base, 2), abs(slopes.round(2)).tolist(), round(fidelity or 0, 3)
    (1.04, [1.94, 0.0], 0.999)
    """
    weights = _nearness(same)
    total = weights.sum()
    x = same.astype(np.float64)
    x_mean, y_mean = weights @ x / total, float(weights @ outcome / total)
    x -= x_mean
    y = outcome - y_mean
    weighted = x * weights[:, None]
    slopes: Floats = np.linalg.solve(x.T @ weighted + _PENALTY * np.eye(x.shape[1]), weighted.T @ y).astype(np.float64)
    spread, missed = float(weights @ y**2), float(weights @ (y - x @ slopes) ** 2)
    varies = np.ptp(outcome) > 0
    return y_mean - float(x_mean @ slopes), slopes, 1 - missed / spread if varies and spread > 0 else None


def _nearness(same: npt.NDArray[np.bool_]) -> Floats:
    features = same.shape[1]
    table = [math.sqrt(math.exp(-differing / (_WIDTH**2 * features))) for differing in range(features + 1)]
    return np.asarray(np.array(table)[features - same.sum(axis=1)])
