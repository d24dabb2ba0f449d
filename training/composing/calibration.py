"""Calibration: a monotone map from scores to probabilities, of the kind that held-out rows prefer. Pure.

Kinds, simplest first: `none`; for binary labels `platt` (Platt 1999), `beta` (Kull, Silva Filho & Flach 2017, AISTATS) and
`isotonic` (Zadrozny & Elkan 2002, centred as by Oron & Flournoy 2017, so that no two scores become equal); for several classes
`temperature` (Guo et al. 2017, ICML) and `vector` (the same paper: a shift a class besides). Each kind is judged by
cross-fitting: fitted on every other run of rows and scored on the runs between, by log loss. Assumes that the
relation between score and truth is the one of the rows to come.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final, Literal

import msgspec
import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize
from scipy.special import expit, logsumexp, softmax
from sklearn.isotonic import IsotonicRegression

from cluster.records import Record
from cluster.schema import Floats, Label, Matrix
from training.judging.evaluate import row_losses

Kind = Literal["none", "platt", "beta", "isotonic", "temperature", "vector"]
FLOOR: Final = 1e-6
"""Probabilities are kept this far from 0 and 1 before a logarithm."""
KNOTS: Final = 64
"""Most corners of an isotonic calibration; it is a graph's node too."""
SMOOTH: Final[tuple[Kind, ...]] = ("none", "platt", "beta", "temperature", "vector")
ALL: Final[tuple[Kind, ...]] = (*SMOOTH, "isotonic")
_SLOPES, _SHIFTS = (0.05, 5.0), (-5.0, 5.0)  # on few, separable rows the best slope is infinite
_RUNS: Final = 20
_LEAST_ROWS: Final[dict[Kind, int]] = {"none": 0, "platt": 0, "temperature": 0, "beta": 200, "vector": 500, "isotonic": 1000}
"""Fewer rows than this cannot carry so many parameters."""
_LEAST_OF_A_CLASS: Final = 100
"""Isotonic steps of rarer classes would be steps of single rows."""
Mask = npt.NDArray[np.bool_]


class Calibration(Record, frozen=True, kw_only=True):
    """One calibration.

    Binary: sigmoid(a ln p - b ln(1 - p) + c), where Platt's has a = b; isotonic: straight lines between the knots. Several
    classes: softmax(a ln p + shifts).
    """

    kind: Kind = "none"
    a: float = 1.0
    b: float = 1.0
    c: float = 0.0
    shifts: list[float] = msgspec.field(default_factory=list)
    """One a class; empty for none."""
    knots: list[tuple[float, float]] = msgspec.field(default_factory=list)
    """Isotonic: score and probability, both ascending."""

    @property
    def is_identity(self) -> bool:
        """Whether it changes nothing."""
        return self.kind == "none"


def platt(slope: float, shift: float = 0.0) -> Calibration:
    """Platt's calibration: sigmoid(slope * logit(p) + shift)."""
    return Calibration(kind="platt", a=slope, b=slope, c=shift)


class Choice(Record, frozen=True, kw_only=True):
    """The chosen calibration and what each kind lost."""

    calibration: Calibration
    losses: dict[str, float]
    """Cross-fitted log loss by kind."""
    rows: int


def choose(label: Label, y: Floats, scores: Matrix | Floats, *, kinds: Sequence[Kind] = ALL) -> Choice:
    """The kind with the lowest cross-fitted log loss, fitted on all these rows; the simpler of equals. None for regression.

    Parameters
    ----------
    y
        Class indices, float64 (n,), in order of time; every one known.
    scores
        Shape (n, width).
    """
    p = scores.astype(np.float64)
    if label.task == "regression":
        return Choice(calibration=Calibration(), losses={}, rows=len(y))
    candidates = [kind for kind in kinds if _applies(kind, label, y)]
    losses: dict[str, float] = {kind: _cross_fitted(kind, label, y, p) for kind in candidates}
    best = min(candidates, key=lambda kind: losses[kind])  # the first of equals
    return Choice(calibration=fit(best, label, y, p), losses=losses, rows=len(y))


def fit(kind: Kind, label: Label, y: Floats, scores: Matrix | Floats) -> Calibration:
    """One kind, fitted by log loss on these rows.

    Examples
    --------
    >>> from training.composing.graphs import apply_link
    >>> label = Label(name="late", classes=(0, 1))
    >>> rng = np.random.default_rng(0)
    >>> truth = rng.uniform(0.05, 0.95, 20_000)
    >>> y = (rng.random(20_000) < truth).astype(float)
    >>> overconfident = apply_link(label, 2 * np.log(truth / (1 - truth))[:, None])
    >>> round(fit("platt", label, y, overconfident).a, 1)
    0.5
    """
    p = scores.astype(np.float64)
    if kind == "none" or label.task == "regression":
        return Calibration()
    if kind == "isotonic":
        return Calibration(kind=kind, knots=_knots(y, p[:, 0]))
    if label.task == "multiclass":
        return _fit_softmax(y, p, with_shifts=kind == "vector")
    p = np.clip(p[:, 0], FLOOR, 1 - FLOOR)
    log_p, log_q = np.log(p), np.log1p(-p)
    if kind == "beta":
        a, b, c = _fit_sigmoid(y, np.column_stack([log_p, -log_q, np.ones(len(y))]), [1.0, 1.0, 0.0])
        return Calibration(kind=kind, a=a, b=b, c=c)
    return platt(*_fit_sigmoid(y, np.column_stack([log_p - log_q, np.ones(len(y))]), [1.0, 0.0]))


def adjust(label: Label, calibration: Calibration, scores: Matrix | Floats) -> Floats:
    """Calibrated scores, float64 of shape (n, width)."""
    p = scores.astype(np.float64)
    if label.task == "regression" or calibration.is_identity:
        return p
    if label.task == "multiclass":
        z = calibration.a * np.log(np.clip(p, FLOOR, 1)) + (np.asarray(calibration.shifts) if calibration.shifts else 0.0)
        e = np.exp(z - z.max(axis=1, keepdims=True))
        return np.asarray(e / e.sum(axis=1, keepdims=True))
    if calibration.kind == "isotonic":
        x, levels = np.array(calibration.knots).T
        return np.asarray(np.interp(p, x, levels))
    p = np.clip(p, FLOOR, 1 - FLOOR)
    z = calibration.a * np.log(p) - calibration.b * np.log1p(-p) + calibration.c
    return np.asarray(1 / (1 + np.exp(-z)))


def loss(label: Label, y: Floats, scores: Matrix | Floats) -> float:
    """Mean log loss, or mean squared error for regression."""
    return float(row_losses(label, y, scores).mean())


def of_truth(label: Label, y: Floats, p: Floats) -> Floats:
    """The probability that was given to what happened, float64 (n,)."""
    if label.task == "binary":
        return np.where(y == 1, p[:, 0], 1 - p[:, 0])
    return np.asarray(p[np.arange(len(y)), y.astype(int)])


def _applies(kind: Kind, label: Label, y: Floats) -> bool:
    if kind == "none":
        return True
    if (kind in ("temperature", "vector")) != (label.task == "multiclass") or len(y) < _LEAST_ROWS[kind]:
        return False
    return kind != "isotonic" or min(y.sum(), len(y) - y.sum()) >= _LEAST_OF_A_CLASS


def alternate(rows: int) -> tuple[Mask, Mask]:
    """Every other run of rows in their order, and the runs between; bool of shape (rows,). Both span the whole time."""
    odd = np.arange(rows) * _RUNS // max(1, rows) % 2 == 1
    return ~odd, odd


def _cross_fitted(kind: Kind, label: Label, y: Floats, p: Floats) -> float:
    given = p.copy()
    for part in alternate(len(y)):
        other = ~part
        if part.any() and other.any():
            given[part] = adjust(label, fit(kind, label, y[other], p[other]), p[part])
    return loss(label, y, given)


def _fit_sigmoid(y: Floats, design: Floats, start: list[float]) -> list[float]:
    """Logistic regression with bounded weights: slopes, then the shift."""

    def value_and_slope(weights: Floats) -> tuple[float, Floats]:
        z = design @ weights
        return float((np.logaddexp(0, z) - y * z).mean()), design.T @ (expit(z) - y) / len(y)

    found = minimize(value_and_slope, start, jac=True, method="L-BFGS-B", bounds=[_SLOPES] * (len(start) - 1) + [_SHIFTS])
    return [float(v) for v in (found.x if found.fun < value_and_slope(np.array(start))[0] else start)]


def _fit_softmax(y: Floats, p: Floats, *, with_shifts: bool) -> Calibration:
    """The temperature, and a shift a class where wanted."""
    log_p, truth = np.log(np.clip(p, FLOOR, 1)), np.eye(p.shape[1])[y.astype(int)]
    width = p.shape[1] if with_shifts else 0

    def value_and_slope(weights: Floats) -> tuple[float, Floats]:
        z = weights[0] * log_p + (weights[1:] if width else 0.0)
        excess = softmax(z, axis=1) - truth
        value = float((logsumexp(z, axis=1) - (z * truth).sum(axis=1)).mean())
        return value, np.r_[(excess * log_p).sum(axis=1).mean(), excess.mean(axis=0) if width else []]

    start = np.array([1.0] + [0.0] * width)
    found = minimize(value_and_slope, start, jac=True, method="L-BFGS-B", bounds=[_SLOPES] + [_SHIFTS] * width)
    best = found.x if found.fun < value_and_slope(start)[0] else start
    return Calibration(kind="vector" if with_shifts else "temperature", a=float(best[0]), shifts=[float(v) for v in best[1:]])


def _knots(y: Floats, p: Floats) -> list[tuple[float, float]]:
    """Centres of the level pieces of an isotonic fit: straight lines between them rise strictly.

    Ends keep half a row's doubt: no probability of exactly 0 or 1 comes from a finite table.
    """
    order = np.argsort(p, kind="stable")
    x, fitted = p[order], IsotonicRegression(y_min=0, y_max=1).fit_transform(p[order], y[order])
    starts = np.flatnonzero(np.r_[True, np.diff(fitted) > 0])
    counts = np.diff(np.r_[starts, len(x)])
    centres = np.add.reduceat(x, starts) / counts
    levels = np.clip(fitted[starts], 0.5 / (counts + 1), 1 - 0.5 / (counts + 1))
    keep = _spread(counts, KNOTS)
    rising = np.maximum.accumulate(levels[keep])
    return [(float(a), float(b)) for a, b in zip(centres[keep], rising, strict=True)]


def _spread(counts: npt.NDArray[np.intp], most: int) -> npt.NDArray[np.intp]:
    """At most so many pieces, spread evenly over the rows."""
    if len(counts) <= most:
        return np.arange(len(counts))
    middle = np.cumsum(counts) - counts / 2
    wanted = np.linspace(middle[0], middle[-1], most)
    return np.unique(np.searchsorted(middle, wanted).clip(0, len(counts) - 1))


def logit_bounds() -> tuple[float, float]:
    """The logits of `FLOOR` and of 1 - `FLOOR`."""
    low = math.log(FLOOR / (1 - FLOOR))
    return low, -low
