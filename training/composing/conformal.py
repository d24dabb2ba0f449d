"""When the student may answer alone: a threshold on its margin with a promise about disagreement.

Learn-then-Test (Angelopoulos, Bates, Candès, Jordan & Lei 2021, "split fixed sequence testing"): other rows than those the promise
rests on, the pilot, say which thresholds are tested and in what order. Each is tested against "the student disagrees with the
ensemble on more than `max_disagreement` of the rows it answers", and the first that fails ends the sequence. Given how
many rows a threshold lets the student answer, the disagreements among them are binomial, so the test is exact (Clopper &
Pearson 1934); that the order is known before any row is counted is what lets the last of several tests keep the level of
one. So with probability `confidence` over the held-out rows, the chosen threshold keeps its promise on rows of the same
distribution. (Conformal risk control would bound an expectation, and over all rows; this is a rate of the answered ones.)

Assumes rows are independent and identically distributed, held-out ones and future ones alike. Drift breaks the
promise, and so do rows that were used to train either model: the monitor holds it against audited rows (`monitoring.agreement`).
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.special import betaincinv
from scipy.stats import binom

from cluster import serving_settings
from cluster.bundle import CascadeRule
from cluster.errors import NotEnoughData
from cluster.margin import Sureness, disagree, margin
from cluster.schema import Floats, Label, Matrix

NEVER_ALONE: Final = 1.01
"""A threshold above every margin: the ensemble answers all rows."""
_PILOT_EVERY: Final = 5
"""Without a pilot, every fifth held-out row is one."""
_LEVELS: Final = np.linspace(1, 0, 101)
_MOST_BINS: Final = 20
_BIN_ROWS: Final = 50


class Scored(NamedTuple):
    """Scores of the same rows by both, float32 (n, width)."""

    student: Matrix | Floats
    ensemble: Matrix | Floats


def cascade_rule(
    label: Label,
    student: Matrix | Floats,
    ensemble: Matrix | Floats,
    chosen: serving_settings.Cascade,
    *,
    label_std: float | None = None,
    pilot: Scored | None = None,
) -> CascadeRule:
    """The threshold that lets the student answer most and passes; `NEVER_ALONE` when none does.

    Parameters
    ----------
    label
        A frozen label.
    student, ensemble
        Scores of the same held-out rows, float32 (n, width). Labels are not needed.
    chosen
        The promise.
    label_std
        Regression: the label's standard deviation, in whose units `tolerance` is.
    pilot
        Other rows, scored by the same two models or by ones like them, such as the fits on earlier rows. They decide where the tests begin and, for regression, for which predicted
        values the student is sure; bad ones cost share, never the promise. None: every fifth of the held-out rows is taken for it.

    Raises
    ------
    NotEnoughData
        For regression without a positive `label_std`.
    """
    tolerance = _tolerance(label, chosen, label_std)
    held, pilot = (Scored(student, ensemble), pilot) if pilot is not None else _set_aside(Scored(student, ensemble))
    known = disagree(label, *pilot, tolerance=tolerance or 0.0)
    sureness = learn_sureness(pilot.student, known) if label.task == "regression" else None
    candidates = sequence(margin(label, pilot.student, sureness), known, chosen, rows=len(held.student))
    margins, differs = margin(label, held.student, sureness), disagree(label, *held, tolerance=tolerance or 0.0)
    threshold = last_passed(candidates, margins, differs, chosen)
    alone = margins >= threshold
    rows, events = int(alone.sum()), int(differs[alone].sum())
    return CascadeRule(
        threshold=threshold,
        max_disagreement=chosen.max_disagreement,
        confidence=chosen.confidence,
        student_share=rows / len(margins) if rows else 0.0,
        disagreement=events / rows if rows else 0.0,
        rows=rows,
        upper_bound=upper_bound(events, rows, chosen.confidence) if rows else None,
        tolerance=tolerance,
        sureness=sureness if rows and threshold > 0 else None,
    )


def sequence(margins: Floats, differs: npt.NDArray[np.bool_], chosen: serving_settings.Cascade, *, rows: int) -> list[float]:
    """Thresholds in the order in which they are tested, by a pilot's margins and disagreements, both (m,).

    They are the pilot's own margins, a hundredth of its rows apart, and 0, which lets the student answer all. The first is the one
    that would pass most clearly if `rows` held-out rows were like the pilot; the others let more and more rows through.

    >>> sure = np.array([0.9] * 400 + [0.1] * 400)
    >>> sequence(sure, sure < 0.5, serving_settings.Cascade(), rows=2000)
    [0.9, 0.1, 0.0]
    """
    found = np.unique(np.quantile(margins, _LEVELS, method="lower"))[::-1] if len(margins) else np.empty(0)
    candidates: list[float] = [*found.tolist(), *([] if len(found) and found[-1] == 0 else [0.0])]
    counts, events = _count(candidates, margins, differs)
    rates = (events + 0.5) / (counts + 1)
    expected = np.floor(rows * counts / max(len(margins), 1))
    evidence = binom.logcdf(np.round(expected * rates), expected, chosen.max_disagreement)
    return candidates[int(np.argmin(evidence)) :]


def last_passed(candidates: list[float], margins: Floats, differs: npt.NDArray[np.bool_], chosen: serving_settings.Cascade) -> float:
    """The last threshold before the first that fails, on held-out margins and disagreements (n,); `NEVER_ALONE` when that is the first."""
    threshold = NEVER_ALONE
    for candidate, rows, events in zip(candidates, *_count(candidates, margins, differs), strict=True):
        if upper_bound(int(events), int(rows), chosen.confidence) > chosen.max_disagreement:
            break
        threshold = candidate
    return threshold


def learn_sureness(student: Matrix | Floats, differs: npt.NDArray[np.bool_]) -> Sureness | None:
    """How often the two agree by the student's number (m, 1): shares in bins of equally many rows; None where there are too few for two bins.

    It finds errors that grow with the number, as with prices; of the features it knows nothing (docs/decisions/013-a-number-is-as-sure-as-its-bin.md).
    """
    count = min(_MOST_BINS, len(differs) // _BIN_ROWS)
    if count < 2:
        return None
    number = student[:, 0].astype(np.float64)
    edges = np.unique(np.quantile(number, np.arange(1, count) / count))
    bins = np.searchsorted(edges, number, side="right")
    rows, events = (np.bincount(bins, weights=w, minlength=len(edges) + 1) for w in (np.ones(len(bins)), differs.astype(np.float64)))
    return Sureness(edges=edges.tolist(), values=(1 - (events + 0.5) / (rows + 1)).tolist())


def upper_bound(events: int, rows: int, confidence: float) -> float:
    """The exact one-sided upper bound of a rate after `events` in `rows` (Clopper & Pearson 1934).

    Examples
    --------
    >>> round(upper_bound(0, 300, 0.95), 4)  # the rule of three: 3 / 300
    0.0099
    """
    return 1.0 if events >= rows else float(betaincinv(events + 1, rows - events, confidence))


def _set_aside(held: Scored) -> tuple[Scored, Scored]:
    """Held-out rows without every fifth, and those."""
    is_pilot = np.arange(len(held.student)) % _PILOT_EVERY == _PILOT_EVERY - 1
    return Scored(held.student[~is_pilot], held.ensemble[~is_pilot]), Scored(held.student[is_pilot], held.ensemble[is_pilot])


def _count(candidates: list[float], margins: Floats, differs: npt.NDArray[np.bool_]) -> tuple[Floats, Floats]:
    """Rows that each threshold lets the student answer, and the disagreements among them."""
    order = np.argsort(margins)
    first = np.searchsorted(margins[order], candidates, side="left")
    below = np.concatenate([[0.0], np.cumsum(differs[order], dtype=np.float64)])
    return np.asarray(len(margins) - first, dtype=np.float64), below[-1] - below[first]


def _tolerance(label: Label, chosen: serving_settings.Cascade, label_std: float | None) -> float | None:
    if label.task != "regression":
        return None
    if label_std is None or not label_std > 0:
        raise NotEnoughData(f"the cascade's tolerance is a share of the standard deviation of '{label.name}', which is {label_std}")
    return chosen.tolerance * label_std
