"""What LIME needs to explain single rows, kept as numbers so that no training row is needed; `explanation/lime.json` of a bundle.

LIME knows neither missing values nor unknown categories. Here each number has a bin of its own for "missing", and each
category two more values, so that a neighbourhood holds them as often as the training rows do.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec
import numpy as np

from cluster.errors import BundleError, NotEnoughData
from cluster.records import Record
from cluster.schema import Feature, FeatureSchema, Floats, Matrix, Task
from training.explaining.attributions import Scorer
from training.explaining.dependence import outputs
from training.explaining.surrogate import MISSING
from training.judging.conditions import UNKNOWN

if TYPE_CHECKING:
    from lime.lime_tabular import LimeTabularExplainer

NAME: Final = "explanation/lime.json"
_ABSENT: Final = float(np.finfo(np.float32).max)
"""Stands for a missing number inside LIME, which sorts values into bins."""
_BORDER: Final = 1e38
"""Known numbers lie below, and `_ABSENT` above."""
_SPREAD: Final = 1e-11  # what LIME itself adds to the deviation within a bin


class NumberBins(Record, frozen=True, kw_only=True):
    """A number cut at its quartiles; the last bin is "missing"."""

    borders: list[float]
    means: list[float]
    deviations: list[float]
    lows: list[float]
    highs: list[float]
    rows: list[int]
    names: list[str]


class CategoryCounts(Record, frozen=True, kw_only=True):
    """A category's values, with those for unknown and missing at the end."""

    names: list[str]
    rows: list[int]


class LimeSetup(Record, frozen=True, kw_only=True):
    """Statistics of the training rows, as LIME's tabular explainer wants them."""

    task: Task
    outputs: list[str]
    """Names of LIME's outputs: both classes, all classes, or the label."""
    features: list[str]
    numbers: dict[str, NumberBins]
    categories: dict[str, CategoryCounts]


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


def read_setup(folder: Path) -> LimeSetup:
    """The set-up in a bundle's folder.

    Raises
    ------
    BundleError
        When the bundle has none, or another form of it.
    """
    try:
        return msgspec.json.decode((folder / NAME).read_bytes(), type=LimeSetup)
    except OSError as error:
        raise BundleError(f"the bundle in '{folder}' has no {NAME}: it was made before rows could be explained; train it anew") from error
    except msgspec.MsgspecError as error:
        raise BundleError(f"{NAME} in '{folder}' cannot be read: {error}") from error


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
    return np.where(np.isnan(row), _absent(setup), row.astype(np.float64))


def lime_scorer(setup: LimeSetup, scorer: Scorer) -> Callable[[Floats], Floats]:
    """A scorer as LIME calls it: rows as `lime_row` makes them; probabilities of every class, or the numbers."""
    absent = _absent(setup)

    def score(rows: Floats) -> Floats:
        scores = scorer(np.where(rows == absent, np.nan, rows).astype(np.float32)).astype(np.float64)
        if setup.task == "binary":
            return np.column_stack([1 - scores[:, 0], scores[:, 0]])
        return scores[:, 0] if setup.task == "regression" else scores / scores.sum(axis=1, keepdims=True)

    return score


def _absent(setup: LimeSetup) -> Floats:
    """By feature, what stands for a missing value."""
    return np.array([len(setup.categories[name].names) - 1.0 if name in setup.categories else _ABSENT for name in setup.features])


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
        lows=[*lows, _ABSENT],
        highs=[*highs, _ABSENT],
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
