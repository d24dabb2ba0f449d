"""What LIME draws from: statistics of the training rows, kept as numbers so that no training row is needed; and the draws.

`explanation/lime.json` of a bundle. LIME knows neither missing values nor unknown categories. Here each number has a bin of its own
for "missing", and each category two more values, so that a neighbourhood holds them as often as the training rows do.
`training.explaining.lime_setup` counts the statistics. Pure.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Final, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from cluster.errors import BundleError
from cluster.records import Record
from cluster.schema import Floats, Matrix, Task

NAME: Final = "explanation/lime.json"
ABSENT: Final = float(np.finfo(np.float32).max)
"""Stands for a missing number inside LIME, which sorts values into bins."""
MOST_SEED: Final = 2**32 - 1
"""The largest seed that numpy's generator takes."""
Codes = npt.NDArray[np.int32]
"""Which bin of a number, or which value of a category; shape (n, features)."""


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


class Neighbours(NamedTuple):
    """Made-up rows around no row in particular: LIME draws them from the statistics alone, so all rows share them."""

    rows: Matrix
    """As the model reads them, float32 of shape (n, features)."""
    codes: Codes


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


def absent(setup: LimeSetup) -> Floats:
    """By feature, what stands for a missing value inside LIME."""
    return np.array([len(setup.categories[name].names) - 1.0 if name in setup.categories else ABSENT for name in setup.features])


def as_rows(setup: LimeSetup, rows: Floats) -> Matrix:
    """Rows of LIME's, float64 (n, features), as the model reads them."""
    return np.where(rows == absent(setup), np.nan, rows).astype(np.float32)


def outcomes(setup: LimeSetup, scores: Matrix) -> Floats:
    """Scores (n, width) as LIME wants them, float64 (n, outputs): probabilities of every class that add up to 1, or the number."""
    found = scores.astype(np.float64)
    if setup.task == "binary":
        return np.column_stack([1 - found[:, 0], found[:, 0]])
    return found if setup.task == "regression" else found / found.sum(axis=1, keepdims=True)


def codes_of(setup: LimeSetup, matrix: Matrix) -> Codes:
    """Which bin or value each cell of encoded rows, float32 (n, features), is."""
    codes = np.empty(matrix.shape, dtype=np.int32)
    for j, name in enumerate(setup.features):
        column = matrix[:, j].astype(np.float64)
        missing = np.isnan(column)
        if bins := setup.numbers.get(name):
            codes[:, j] = np.searchsorted(np.unique(bins.borders), np.where(missing, ABSENT, column))
        else:
            codes[:, j] = np.where(missing, len(setup.categories[name].names) - 1, column).astype(np.int32)
    return codes


def names_of(setup: LimeSetup, codes: Codes) -> list[str]:
    """What each code of one row, shape (features,), is called."""
    named = []
    for name, code in zip(setup.features, codes.tolist(), strict=True):
        bins = setup.numbers.get(name)
        named.append(bins.names[code] if bins else f"{name}={setup.categories[name].names[code]}")
    return named


def draw(setup: LimeSetup, *, samples: int, seed: int) -> Neighbours:
    """The made-up rows that `lime.lime_tabular` 0.2 draws with this seed, without the first, in whose place it puts the row itself.

    Each feature is drawn from its own frequencies, as if features were independent; a number then is normal within its bin,
    cut at the bin's ends (Ribeiro, Singh & Guestrin 2016, and the package). Which row is explained plays no part.

    Parameters
    ----------
    samples
        As LIME counts them, with the row itself; at least 2.
    seed
        0 to `MOST_SEED`.
    """
    rng = np.random.RandomState(seed)  # the generator that the package uses: another draws other rows from the same seed
    codes = np.column_stack([_choices(rng, _frequencies(setup, name), samples) for name in setup.features])[1:]
    rows = codes.astype(np.float64)
    for j, name in enumerate(setup.features):
        if bins := setup.numbers.get(name):
            rows[:, j] = _within(bins, codes[:, j], rng)
    return Neighbours(as_rows(setup, rows), codes)


def _choices(rng: np.random.RandomState, frequencies: Floats, samples: int) -> Codes:
    return rng.choice(len(frequencies), size=samples, replace=True, p=frequencies).astype(np.int32)


def _frequencies(setup: LimeSetup, name: str) -> Floats:
    bins = setup.numbers.get(name)
    rows = bins.rows if bins else setup.categories[name].rows
    total = math.fsum(rows)
    shares = np.array([count / total for count in rows])
    return np.asarray(shares / float(sum(shares.tolist())))  # divided twice, as there: choices hang on the last bit


def _within(bins: NumberBins, codes: Codes, rng: np.random.RandomState) -> Floats:
    """A value within the bin of each code: scipy's truncated normal by its inverse, all bins of a feature at once.

    The package asks scipy for the same, in logarithms: those matter far out in a tail, and a bin holds its own mean.
    """
    from scipy.special import ndtr, ndtri  # a gateway that never explains need not hold it

    means, deviations = np.array(bins.means), np.array(bins.deviations)
    low, high = (np.array(bins.lows) - means) / deviations, (np.array(bins.highs) - means) / deviations
    values = low[codes]
    drawn = (low != high)[codes]
    of = codes[drawn]
    below, above = ndtr(low), ndtr(high)
    quantile = below[of] + rng.uniform(size=len(of)) * (above - below)[of]
    values[drawn] = np.clip(ndtri(quantile), low[of], high[of]) * deviations[of] + means[of]
    return np.asarray(values)
