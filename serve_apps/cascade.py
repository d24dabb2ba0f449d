"""The cascade: the student answers the rows it is sure of, the ensemble the rest. Pure."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from cluster.bundle import Bundle, CascadeRule
from cluster.errors import Unavailable
from cluster.margin import is_hard
from cluster.schema import Label, Matrix

AskEnsemble = Callable[[str, Matrix], Awaitable[Matrix]]
"""Scores rows by the ensemble of a version; raises `Unavailable` when it cannot in time."""

STUDENT, ENSEMBLE, UNANSWERED = 0, 1, 2
"""Who answered a row; `UNANSWERED` rows were hard, and the student stood in for an ensemble that did not answer."""


class Answer(NamedTuple):
    """Scores of all rows and who gave them."""

    scores: Matrix
    answered_by: npt.NDArray[np.uint8]


def needs_ensemble(label: Label, rule: CascadeRule, student_scores: Matrix) -> npt.NDArray[np.bool_]:
    """Which rows the student is not sure enough of; bool of shape (n,)."""
    return is_hard(label, student_scores, rule.threshold)


async def answer(bundle: Bundle, matrix: Matrix, ask_ensemble: AskEnsemble) -> Answer:
    """Score rows: first the student, then the ensemble for the hard ones.

    An ensemble that does not answer in time costs accuracy, not the answer: the student's stands, and says so.
    """
    scores = bundle.student(matrix)
    answered_by = np.zeros(len(scores), dtype=np.uint8)
    hard = needs_ensemble(bundle.schema.label, bundle.cascade, scores)
    if hard.any():
        try:
            scores = scores.copy()
            scores[hard] = await ask_ensemble(bundle.version, matrix[hard])
            answered_by[hard] = ENSEMBLE
        except Unavailable:
            answered_by[hard] = UNANSWERED
    return Answer(scores, answered_by)
