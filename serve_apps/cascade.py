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

AskEnsemble = Callable[[Bundle, Matrix, float], Awaitable[Matrix]]
"""Scores rows by the ensemble of a bundle within so many seconds; raises `Unavailable` when it cannot."""

STUDENT, ENSEMBLE, UNANSWERED = 0, 1, 2
"""Who answered a row; `UNANSWERED` rows were hard, and the student stood in for an ensemble that did not answer."""


class Answer(NamedTuple):
    """Scores of all rows and who gave them."""

    scores: Matrix
    answered_by: npt.NDArray[np.uint8]


def needs_ensemble(label: Label, rule: CascadeRule, student_scores: Matrix) -> npt.NDArray[np.bool_]:
    """Which rows the student is not sure enough of; bool of shape (n,)."""
    return is_hard(label, student_scores, rule.threshold, rule.sureness)


async def answer(bundle: Bundle, student_scores: Matrix, matrix: Matrix, ask: AskEnsemble, *, budget_s: float, degrade: bool) -> Answer:
    """Take the student's scores where it is sure, and ask the ensemble for the other rows.

    Parameters
    ----------
    student_scores
        Shape (n, width).
    matrix
        The rows, shape (n, features).
    budget_s
        How long the ensemble may take.
    degrade
        What an ensemble that does not answer costs: accuracy (the student's score stands, and says so), or the answer.

    Raises
    ------
    Unavailable
        When the ensemble does not answer and `degrade` is false.
    """
    answered_by = np.zeros(len(student_scores), dtype=np.uint8)
    hard = needs_ensemble(bundle.schema.label, bundle.cascade, student_scores)
    if not (hard[0] if len(hard) == 1 else hard.any()):
        return Answer(student_scores, answered_by)
    try:
        asked = await ask(bundle, matrix[hard], budget_s)
    except Unavailable:
        if not degrade:
            raise
        answered_by[hard] = UNANSWERED
        return Answer(student_scores, answered_by)
    scores = student_scores.copy()
    scores[hard] = asked
    answered_by[hard] = ENSEMBLE
    return Answer(scores, answered_by)
