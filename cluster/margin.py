"""How sure a score is: the margin that decides whether the student answers alone.

Both sides need the same number: training, to promise a rate of disagreement, and serving, to keep it.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from cluster.schema import Floats, Label, Matrix


def margin(label: Label, scores: Matrix | Floats) -> Floats:
    """Distance of each row's score from the nearest change of decision; float64 of shape (n,), 0 to 1, larger is surer.

    Binary: distance of the probability from the threshold, as a share of the room on its side. Multiclass: the
    largest probability less the second. Regression has no decision to be near: every row is as sure as the next
    (1), and the cascade's threshold lets the student answer all rows or none.

    Examples
    --------
    >>> margin(Label(name="late", classes=(0, 1), threshold=0.25), np.array([[0.25], [0.0], [0.625]])).tolist()
    [0.0, 1.0, 0.5]
    """
    if len(scores) == 1 and label.task == "binary":  # the same arithmetic, without numpy's price for one number
        return np.array([_gap(float(scores[0, 0]), label.threshold)])
    p = scores.astype(np.float64)
    if label.task == "binary":
        gap = p[:, 0] - label.threshold
        room = np.where(gap >= 0, 1 - label.threshold, label.threshold)
        return np.asarray(np.abs(gap) / room)
    if label.task == "multiclass":
        top = np.partition(p, -2, axis=1)[:, -2:]
        return np.asarray(top[:, 1] - top[:, 0])
    return np.ones(len(p))


def _gap(p: float, threshold: float) -> float:
    gap = p - threshold
    return abs(gap) / (1 - threshold if gap >= 0 else threshold)


def is_hard(label: Label, scores: Matrix | Floats, threshold: float) -> npt.NDArray[np.bool_]:
    """Which rows the student is not sure enough of, bool of shape (n,): those go to the ensemble."""
    return np.asarray(margin(label, scores) < threshold)
