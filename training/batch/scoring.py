"""Answers blocks of rows as the service would: the student where it is sure, the ensemble for the rest. Pure.

What a prediction's columns are called and hold is decided here, and nowhere else.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from cluster.bundle import TREES, Bundle
from cluster.errors import BundleError
from cluster.intervals import Intervals
from cluster.margin import is_hard
from cluster.schema import Label, Matrix

ANSWERED_BY: Final = ("student", "ensemble")
REASONS: Final = 3
"""Features that `--explain` names."""
_INTERVALS: Final = "intervals.json"
_BATCH_BYTES: Final = 4 << 20
_FEWEST, _MOST = 1 << 10, 1 << 16


class Answers(NamedTuple):
    """What was made of n rows."""

    scores: Matrix
    """float32 of shape (n, width)."""
    by_ensemble: npt.NDArray[np.bool_]


def batch_rows(features: int) -> int:
    """Rows scored at a time: a matrix of at most 4 MiB; a power of two from 1,024 to 65,536.

    >>> batch_rows(24), batch_rows(1000), batch_rows(2)
    (32768, 1024, 65536)
    """
    fitting = max(1, _BATCH_BYTES // (4 * features))
    return min(_MOST, max(_FEWEST, 1 << (fitting.bit_length() - 1)))


def answer(bundle: Bundle, matrix: Matrix) -> Answers:
    """`Bundle.answer`, and who gave it."""
    scores = bundle.student(matrix)
    hard = is_hard(bundle.schema.label, scores, bundle.cascade.threshold, bundle.cascade.sureness)
    if hard.any():
        scores = scores.copy()
        scores[hard] = bundle.ensemble(matrix[hard])
    return Answers(scores, hard)


class Columns:
    """Makes the columns of predictions: prediction, probability or interval, who answered, and with `explain` the reasons.

    Parameters
    ----------
    bundle
        With both its graphs.
    explain
        Name the features that moved the score of the bundle's trees most.

    Raises
    ------
    BundleError
        When reasons are wanted and the bundle holds no trees, or its intervals cannot be read.
    """

    def __init__(self, bundle: Bundle, *, explain: bool = False) -> None:
        self._bundle, self._trees = bundle, _trees_of(bundle) if explain else None
        self._intervals = _intervals_of(bundle)
        self._version, self._names = pa.array([bundle.version]), pa.array(bundle.schema.names)

    def names(self) -> list[str]:
        """What the columns are called."""
        return list(self.blank())

    def blank(self) -> dict[str, pa.Array]:
        """The columns of no rows."""
        one = np.zeros((1, len(self._bundle.schema.features)), dtype=np.float32)  # a graph need not take no rows
        return {name: column.slice(0, 0) for name, column in self.of(one, answer(self._bundle, one)).items()}

    def of(self, matrix: Matrix, answers: Answers) -> dict[str, pa.Array]:
        """The columns of n rows and their answers."""
        label, scores = self._bundle.schema.label, answers.scores
        columns = {"prediction": _predictions(label, scores)}
        if label.task == "binary":
            columns["probability"] = pa.array(scores[:, 0])
        elif label.task == "multiclass":
            columns["probability"] = pa.array(scores.max(axis=1))
            columns |= {f"probability_{name}": pa.array(scores[:, j]) for j, name in enumerate(label.classes or ())}
        elif self._intervals is not None:
            ends = self._intervals.around(scores)
            columns |= {"lower": pa.array(ends[:, 0]), "upper": pa.array(ends[:, 1])}
        if self._trees is not None:
            columns |= self._reasons(self._trees, matrix, scores)
        columns["answered_by"] = pa.DictionaryArray.from_arrays(answers.by_ensemble.astype(np.int8), pa.array(ANSWERED_BY))
        columns["bundle"] = constant(self._version, len(matrix))
        return columns

    def _reasons(self, trees: bytes, matrix: Matrix, scores: Matrix) -> dict[str, pa.Array]:
        from training.explaining.attributions import contributions  # XGBoost's import costs two seconds

        places, values = largest(contributions(trees, matrix), scores)
        columns: dict[str, pa.Array] = {}
        for i in range(places.shape[1]):
            columns[f"reason_{i + 1}"] = pa.DictionaryArray.from_arrays(places[:, i].astype(np.int32), self._names)
            columns[f"reason_{i + 1}_contribution"] = pa.array(values[:, i])
        return columns


def largest(contributed: Matrix, scores: Matrix) -> tuple[npt.NDArray[np.intp], Matrix]:
    """Places and values of the largest contributions by size, largest first, each of shape (n, 3) or fewer.

    Parameters
    ----------
    contributed
        float32 of shape (n, features); of (n, features, classes), those to the answered class count.
    scores
        float32 of shape (n, width).
    """
    if contributed.ndim == 3:
        contributed = contributed[np.arange(len(contributed)), :, scores.argmax(axis=1)]
    places = np.argsort(-np.abs(contributed), axis=1, kind="stable")[:, :REASONS]
    return places, np.take_along_axis(contributed, places, axis=1)


def constant(value: pa.Array, n: int) -> pa.DictionaryArray:
    """One value n times; an array of one."""
    return pa.DictionaryArray.from_arrays(np.zeros(n, dtype=np.int8), value)


def _predictions(label: Label, scores: Matrix) -> pa.Array:
    """As `cluster.schema.decide`, for whole columns."""
    if label.task == "regression":
        return pa.array(scores[:, 0])
    classes: Sequence[str | int | bool] = label.classes or ()
    chosen = (scores[:, 0] >= label.threshold).astype(np.intp) if label.task == "binary" else scores.argmax(axis=1)
    if len(set(map(type, classes))) > 1:
        classes = list(map(str, classes))
    values = pa.array(list(classes))
    if pa.types.is_string(values.type):
        return pa.DictionaryArray.from_arrays(chosen.astype(np.int32), values)
    return pa.array(values.to_numpy(zero_copy_only=False)[chosen])


def _trees_of(bundle: Bundle) -> bytes:
    if TREES not in bundle.manifest.files:
        raise BundleError(f"version {bundle.version} holds no '{TREES}', whose contributions --explain shows; leave --explain out")
    return (bundle.folder / TREES).read_bytes()


def _intervals_of(bundle: Bundle) -> Intervals | None:
    if _INTERVALS not in bundle.manifest.files:
        return None
    try:
        return msgspec.convert(bundle.json(_INTERVALS), Intervals)
    except msgspec.MsgspecError as error:
        raise BundleError(f"the bundle in '{bundle.folder}' was sealed with a wrong {_INTERVALS}: {error}") from error
