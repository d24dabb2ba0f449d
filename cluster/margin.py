"""How sure a score is, and what it is to disagree: what the cascade's promise is made of.

Training needs both to promise a rate of disagreement, serving to keep it, and the monitor to watch it.
"""

from __future__ import annotations

from bisect import bisect_right

import numpy as np
import numpy.typing as npt

from cluster.records import Record
from cluster.schema import Floats, Label, Matrix


class Sureness(Record, frozen=True, kw_only=True):
    """Regression: how often student and ensemble agree, by the student's number."""

    edges: list[float]
    """Between bins of the number, ascending; a number on an edge belongs to the bin above."""
    values: list[float]
    """One a bin, 0 to 1: the share of agreement on rows that the promise does not rest on."""


def margin(label: Label, scores: Matrix | Floats, sureness: Sureness | None = None) -> Floats:
    """How far each row is from being answered otherwise; float64 of shape (n,), 0 to 1, larger is surer.

    Binary: distance of the probability from the threshold, as a share of the room on its side. Multiclass: the
    largest probability less the second. Regression has no decision to be near: it goes by `sureness`, and without one every
    row is as sure as the next (1), so that the student answers all rows or none.

    Examples
    --------
    >>> margin(Label(name="late", classes=(0, 1), threshold=0.25), np.array([[0.25], [0.0], [0.625]])).tolist()
    [0.0, 1.0, 0.5]
    >>> margin(Label(name="price", task="regression"), np.array([[5.0], [10.0]]), Sureness(edges=[10.0], values=[0.9, 0.2])).tolist()
    [0.9, 0.2]
    """
    if label.task == "regression":
        return np.ones(len(scores)) if sureness is None else _by_bin(sureness, scores)
    if len(scores) == 1 and label.task == "binary":  # the same arithmetic, without numpy's price for one number
        return np.array([_gap(float(scores[0, 0]), label.threshold)])
    p = scores.astype(np.float64)
    if label.task == "binary":
        gap = p[:, 0] - label.threshold
        room = np.where(gap >= 0, 1 - label.threshold, label.threshold)
        return np.asarray(np.abs(gap) / room)
    top = np.partition(p, -2, axis=1)[:, -2:]
    return np.asarray(top[:, 1] - top[:, 0])


def _gap(p: float, threshold: float) -> float:
    gap = p - threshold
    return abs(gap) / (1 - threshold if gap >= 0 else threshold)


def _by_bin(sureness: Sureness, scores: Matrix | Floats) -> Floats:
    if len(scores) == 1:
        return np.array([sureness.values[bisect_right(sureness.edges, float(scores[0, 0]))]])
    bins = np.searchsorted(sureness.edges, scores[:, 0].astype(np.float64), side="right")
    return np.asarray(np.array(sureness.values)[bins])


def is_hard(label: Label, scores: Matrix | Floats, threshold: float, sureness: Sureness | None = None) -> npt.NDArray[np.bool_]:
    """Which rows the student is not sure enough of, bool of shape (n,): those go to the ensemble."""
    return np.asarray(margin(label, scores, sureness) < threshold)


def disagree(label: Label, student: Matrix | Floats, ensemble: Matrix | Floats, *, tolerance: float = 0.0) -> npt.NDArray[np.bool_]:
    """Whether the two decide differently, bool of shape (n,); for regression, whether they are further apart than `tolerance`."""
    if label.task == "binary":
        return np.asarray((student[:, 0] >= label.threshold) != (ensemble[:, 0] >= label.threshold))
    if label.task == "multiclass":
        return np.asarray(student.argmax(axis=1) != ensemble.argmax(axis=1))
    return np.asarray(np.abs(student[:, 0].astype(np.float64) - ensemble[:, 0]) > tolerance)
