"""Answers row by row, for the protocols that have no shape of their own for them."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import repeat

import msgspec

from cluster.schema import decide
from serve_apps.cascade import ENSEMBLE, UNANSWERED
from serve_apps.protocols.plane import Answered


class RowAnswer(msgspec.Struct, frozen=True, omit_defaults=True):
    """The answer for one row."""

    prediction: str | int | float | bool
    answered_by: str
    """`student` or `ensemble`."""
    probability: float | None = None
    """Binary: of the positive class; multiclass: of the predicted class."""
    probabilities: dict[str, float] | None = None
    """Multiclass: of each class."""
    interval: tuple[float, float] | None = None
    """Regression: the truth lies between these ends as often as the bundle's `intervals.json` says."""
    degraded: bool = False
    """True when the ensemble was asked and could not answer in time, so that the student did."""


def row_answers(answered: Answered) -> Iterator[RowAnswer]:
    """The answer for each row, in order."""
    label = answered.label
    predictions = decide(label, answered.scores)
    names = [str(c) for c in label.classes or ()]
    ends = repeat(None) if answered.intervals is None else map(tuple, answered.intervals.tolist())
    for prediction, row, by, interval in zip(predictions, answered.scores.tolist(), answered.answered_by.tolist(), ends, strict=False):
        who = "ensemble" if by == ENSEMBLE else "student"
        degraded = by == UNANSWERED
        if label.task == "binary":
            yield RowAnswer(prediction, who, row[0], degraded=degraded)
        elif label.task == "multiclass":
            yield RowAnswer(prediction, who, max(row), dict(zip(names, row, strict=True)), degraded=degraded)
        else:
            yield RowAnswer(prediction, who, interval=interval, degraded=degraded)
