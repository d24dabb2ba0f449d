"""Counts what LIME needs to explain single rows, and hands it to the `lime` package for use outside the service.

What the statistics are is said in `cluster.explaining.neighbourhood`, which the service draws from itself.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from cluster.errors import NotEnoughData
from cluster.explaining.neighbourhood import ABSENT, CategoryCounts, NumberBins, absent, as_rows, outcomes, read_setup
from cluster.explaining.neighbourhood import NAME as NAME
from cluster.explaining.neighbourhood import LimeSetup as LimeSetup
from cluster.explaining.rules import MISSING, UNKNOWN
from cluster.schema import Feature, FeatureSchema, Floats, Matrix
from training.explaining.attributions import Scorer
from training.explaining.dependence import outputs

if TYPE_CHECKING:
    from lime.lime_tabular import LimeTabularExplainer

_BORDER: Final = 1e38
"""Known numbers lie below, and `ABSENT` above."""
_SPREAD: Final = 1e-11  # what LIME itself adds to the deviation within a bin


def lime_setup(schema: FeatureSchema, matrix: Matrix) -> LimeSetup:
    """Statistics of training rows (float32, (n, features); a sample does) for LIME.

    Raises
    ------
    NotEnoughData
        Without rows.
    """
    if len(matrix) == 0:
        raise NotEnoughData("LIME's statistics need rows; there are none")
    label = schema.label
    return LimeSetup(
        task=label.task,
        outputs=[str(c) for c in label.classes or ()] or outputs(label),
        features=list(schema.names),
        numbers={f.name: _bins(f, matrix[:, j]) for j, f in enumerate(schema.features) if f.categories is None},
        categories={f.name: _counts(f, matrix[:, j]) for j, f in enumerate(schema.features) if f.categories is not None},
    )


def lime_explainer(setup: LimeSetup | Path, *, seed: int = 7) -> LimeTabularExplainer:
    """LIME's explainer (Ribeiro, Singh & Guestrin 2016) without the training rows.

    Its `explain_instance` takes `lime_row(setup, row)` and `lime_scorer(setup, scorer)`. Explanations equal those of an
    explainer built on the rows themselves with the same seed, where none is missing and no bin holds one value only:
    there LIME draws the value's distance from its mean, which is 0, in place of the value.

    Parameters
    ----------
    setup
        The record, or the folder of a bundle.
    seed
        Of LIME's draws.

    Raises
    ------
    BundleError
        When the folder has no set-up.
    """
    from lime.lime_tabular import LimeTabularExplainer  # takes some seconds

    setup = read_setup(setup) if isinstance(setup, Path) else setup
    place = {name: j for j, name in enumerate(setup.features)}
    explainer = LimeTabularExplainer(
        np.zeros((1, len(setup.features))),  # only its width counts: the statistics are given
        mode="regression" if setup.task == "regression" else "classification",
        feature_names=setup.features,
        categorical_features=[place[name] for name in setup.categories],
        categorical_names={place[name]: counts.names for name, counts in setup.categories.items()},
        class_names=setup.outputs,
        training_data_stats=_statistics(setup),
        random_state=seed,
    )
    for name, bins in setup.numbers.items():
        explainer.discretizer.names[place[name]] = list(bins.names)
    return explainer


def lime_row(setup: LimeSetup, row: Matrix) -> Floats:
    """An encoded row, float32 (features,), as LIME's explainer takes it: float64 without NaN."""
    return np.where(np.isnan(row), absent(setup), row.astype(np.float64))


def lime_scorer(setup: LimeSetup, scorer: Scorer) -> Callable[[Floats], Floats]:
    """A scorer as LIME calls it: rows as `lime_row` makes them; probabilities of every class, or the numbers."""

    def score(rows: Floats) -> Floats:
        found = outcomes(setup, scorer(as_rows(setup, rows)))
        return found[:, 0] if setup.task == "regression" else found

    return score


def _bins(feature: Feature, column: Matrix) -> NumberBins:
    values = column.astype(np.float64)
    known = values[~np.isnan(values)]
    cuts = np.unique(np.percentile(known, [25, 50, 75])) if len(known) else np.zeros(1)
    within = [known[np.searchsorted(cuts, known) == i] for i in range(len(cuts) + 1)]
    ends = (float(known.min()), float(known.max())) if len(known) else (0.0, 0.0)
    lows, highs = [ends[0], *cuts.tolist()], [*cuts.tolist(), ends[1]]
    moments = [_moments(part, low, high) for part, low, high in zip(within, lows, highs, strict=True)]
    return NumberBins(
        borders=[*cuts.tolist(), _BORDER],
        means=[*(mean for mean, _ in moments), 0.0],
        deviations=[*(deviation for _, deviation in moments), 1.0],
        lows=[*lows, ABSENT],
        highs=[*highs, ABSENT],
        rows=[*(len(part) for part in within), len(values) - len(known)],
        names=_names(feature.name, cuts),
    )


def _moments(part: Floats, low: float, high: float) -> tuple[float, float]:
    """Mean and deviation within a bin; 0 and 1 for a bin of one value, so that LIME's standardised bound is that value."""
    if low == high:
        return 0.0, 1.0
    return (float(part.mean()), float(part.std()) + _SPREAD) if len(part) else (0.0, _SPREAD)


def _names(name: str, cuts: Floats) -> list[str]:
    between = [f"{low:.2f} < {name} <= {high:.2f}" for low, high in itertools.pairwise(cuts)]
    return [f"{name} <= {cuts[0]:.2f}", *between, f"{name} > {cuts[-1]:.2f}", f"{name} is missing"]


def _counts(feature: Feature, column: Matrix) -> CategoryCounts:
    names = [*(feature.categories or ()), UNKNOWN, MISSING]
    codes = np.where(np.isnan(column), len(names) - 1, column).astype(np.intp)
    return CategoryCounts(names=names, rows=np.bincount(codes, minlength=len(names)).tolist())


def _statistics(setup: LimeSetup) -> dict[str, Any]:
    """`training_data_stats` of LIME, by place of the feature."""
    made: dict[str, Any] = {key: {} for key in ("means", "stds", "mins", "maxs", "bins", "feature_values", "feature_frequencies")}
    for j, name in enumerate(setup.features):
        if bins := setup.numbers.get(name):
            parts = (bins.means, bins.deviations, bins.lows, bins.highs, bins.borders)
            for key, values in zip(("means", "stds", "mins", "maxs", "bins"), parts, strict=True):
                made[key][j] = list(values)
        rows = bins.rows if bins else setup.categories[name].rows
        made["feature_values"][j] = [float(value) for value in range(len(rows))]
        made["feature_frequencies"][j] = [count / math.fsum(rows) for count in rows]
    return made
