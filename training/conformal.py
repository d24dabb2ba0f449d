"""When the student may answer alone: a threshold on its margin with a promise about disagreement.

Learn-then-Test (Angelopoulos, Bates, Candès, Jordan & Lei 2021): thresholds are tested in a fixed order, from the
strictest down, each against "the student disagrees with the ensemble on more than `max_disagreement` of the rows
it answers". The test is exact binomial (as Clopper & Pearson 1934), and the first threshold that fails ends the
sequence. So with probability `confidence` over the held-out rows, the chosen threshold keeps its promise on
rows of the same distribution.

Assumes rows are independent and identically distributed, held-out ones and future ones alike. Drift breaks the
promise, and so do rows that were used to train either model; the demo's report measures agreement for that reason.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from scipy.special import betaincinv

from cluster import serving_settings
from cluster.bundle import CascadeRule
from cluster.errors import NotEnoughData
from cluster.margin import margin
from cluster.schema import Floats, Label, Matrix

NEVER_ALONE = 1.01
"""A threshold above every margin: the ensemble answers all rows."""
GRID = tuple(float(v) for v in np.linspace(1, 0, 201))
"""Thresholds in the order in which they are tested; fixed before any row is seen, which the guarantee needs."""


def cascade_rule(
    label: Label, student: Matrix | Floats, ensemble: Matrix | Floats, chosen: serving_settings.Cascade, *, label_std: float | None = None
) -> CascadeRule:
    """The lowest threshold that passes; `NEVER_ALONE` when none does.

    Parameters
    ----------
    label
        A frozen label.
    student, ensemble
        Scores of the same held-out rows, float32 (n, width). Labels are not needed.
    chosen
        The promise.
    label_std
        Regression: the label's standard deviation, in whose units `tolerance` is. There the student answers all
        rows or none.

    Raises
    ------
    NotEnoughData
        For regression without a positive `label_std`.
    """
    margins, differs = margin(label, student), disagree(label, student, ensemble, tolerance=_tolerance(label, chosen, label_std))
    threshold = NEVER_ALONE
    for candidate in GRID:
        alone = margins >= candidate
        rows = int(alone.sum())
        if rows < _least_rows(chosen):
            continue  # could not pass even without a single disagreement; depends on margins alone
        if upper_bound(int(differs[alone].sum()), rows, chosen.confidence) > chosen.max_disagreement:
            break
        threshold = candidate
    alone = margins >= threshold
    return CascadeRule(
        threshold=threshold,
        max_disagreement=chosen.max_disagreement,
        confidence=chosen.confidence,
        student_share=float(alone.mean()) if len(alone) else 0.0,
        disagreement=float(differs[alone].mean()) if alone.any() else 0.0,
    )


def disagree(label: Label, student: Matrix | Floats, ensemble: Matrix | Floats, *, tolerance: float = 0.0) -> npt.NDArray[np.bool_]:
    """Whether the two decide differently, row by row; for regression, whether they are further apart than `tolerance`."""
    if label.task == "binary":
        return np.asarray((student[:, 0] >= label.threshold) != (ensemble[:, 0] >= label.threshold))
    if label.task == "multiclass":
        return np.asarray(student.argmax(axis=1) != ensemble.argmax(axis=1))
    return np.asarray(np.abs(student[:, 0].astype(np.float64) - ensemble[:, 0]) > tolerance)


def upper_bound(events: int, rows: int, confidence: float) -> float:
    """The exact one-sided upper bound of a rate after `events` in `rows` (Clopper & Pearson 1934).

    Examples
    --------
    >>> round(upper_bound(0, 300, 0.95), 4)  # the rule of three: 3 / 300
    0.0099
    """
    return 1.0 if events >= rows else float(betaincinv(events + 1, rows - events, confidence))


def _least_rows(chosen: serving_settings.Cascade) -> int:
    return math.ceil(math.log(1 - chosen.confidence) / math.log1p(-chosen.max_disagreement))


def _tolerance(label: Label, chosen: serving_settings.Cascade, label_std: float | None) -> float:
    if label.task != "regression":
        return 0.0
    if label_std is None or not label_std > 0:
        raise NotEnoughData(f"the cascade's tolerance is a share of the standard deviation of '{label.name}', which is {label_std}")
    return chosen.tolerance * label_std
