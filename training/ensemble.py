"""The blend: non-negative weights that sum to one, then one calibration for all.

Probabilities are blended, not logits: both are convex in the weights, but a member that is wildly sure of itself
under drift can move a mean of probabilities no further than its weight. A mean of probabilities is
underconfident even when its members are calibrated (Ranjan & Gneiting 2010, JRSS B 72), and the calibration
after it mends just that.

Weights are learned on the first half of the validation rows and the calibration on the second. Rows are in
order of time, so the calibration rests on the newest: ranking ages slowly, calibration fast. It also means that
blend and single members are compared on rows the weights have not seen.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize

from cluster.errors import NotEnoughData
from cluster.records import Record
from cluster.schema import Floats, Label, Matrix

FLOOR = 1e-6
"""Probabilities are kept this far from 0 and 1 before a logarithm."""
_SLOPES, _SHIFTS = (0.2, 5.0), (-5.0, 5.0)  # on few, separable rows the best slope is infinite
_Gradient = npt.NDArray[np.float64]


class Calibration(Record, frozen=True, kw_only=True):
    """Binary: sigmoid(slope * logit(p) + intercept), Platt 1999. Multiclass: softmax(slope * log p), Guo et al. 2017."""

    slope: float = 1.0
    intercept: float = 0.0

    @property
    def is_identity(self) -> bool:
        """Whether it changes nothing."""
        return self.slope == 1.0 and self.intercept == 0.0


class Blend(Record, frozen=True, kw_only=True):
    """What was learned, and how it compares. Losses are log loss, or mean squared error for regression."""

    weights: dict[str, float]
    """By member; they sum to 1."""
    calibration: Calibration
    loss: float
    """Of the blend, calibrated, on the calibration half."""
    member_losses: dict[str, float]
    """Of each member alone on the same rows, as it is."""
    fell_back: bool
    """True when the learned blend lost to its best member, which now has all the weight."""
    learned_weights: dict[str, float]
    """Before falling back."""
    blend_rows: int
    calibration_rows: int


def learn(label: Label, y: Floats, scores: Mapping[str, Matrix]) -> Blend:
    """Learn weights and calibration from validation rows in order of time.

    Parameters
    ----------
    label
        A frozen label.
    y
        float64 of shape (n,); rows with NaN are left out.
    scores
        Each member's float32 scores of shape (n, width) on the same rows.

    Raises
    ------
    NotEnoughData
        With fewer than two labelled rows, or one class only.
    """
    known = ~np.isnan(y)
    y, members = y[known], {name: values[known].astype(np.float64) for name, values in scores.items()}
    first, second = halves(label, y)
    weights = _learn_weights(label, y[first], [p[first] for p in members.values()])
    plain = {name: loss(label, y[second], p[second]) for name, p in members.items()}
    learned = dict(zip(members, weights, strict=True))
    candidates = [learned, *({name: float(name == best) for name in members} for best in members)]
    tried = []
    for candidate in candidates:
        mixed = mix(candidate, members)
        calibration = calibrate(label, y[second], mixed[second])
        tried.append((loss(label, y[second], adjust(label, calibration, mixed[second])), calibration))
    best = min(range(len(tried)), key=lambda i: tried[i][0])  # the first of equals: the blend
    return Blend(
        weights=candidates[best],
        calibration=tried[best][1],
        loss=tried[best][0],
        member_losses=plain,
        fell_back=best != 0,
        learned_weights=learned,
        blend_rows=len(y[first]),
        calibration_rows=len(y[second]),
    )


def apply(label: Label, blend: Blend, scores: Mapping[str, Matrix]) -> Matrix:
    """The ensemble's scores, float32 of shape (n, width), from its members'."""
    return adjust(label, blend.calibration, mix(blend.weights, scores)).astype(np.float32)


def mix(weights: Mapping[str, float], scores: Mapping[str, Matrix] | Mapping[str, Floats]) -> Floats:
    """The weighted mean of scores, float64 of shape (n, width)."""
    return np.asarray(sum(weights[name] * scores[name].astype(np.float64) for name in weights))


def halves(label: Label, y: Floats) -> tuple[slice, slice]:
    """The earlier and the later half of the rows; twice all rows when a half would lack a class that the rows have.

    Raises
    ------
    NotEnoughData
        With fewer than two rows, or one class only.
    """
    if len(y) < 2 or (label.task != "regression" and len(np.unique(y)) < 2):
        raise NotEnoughData(
            f"{len(y)} labelled validation rows with {len(np.unique(y))} classes cannot weigh the members; "
            "raise training.validation_share or bring more rows"
        )
    middle = len(y) // 2
    first, second = slice(0, middle), slice(middle, len(y))
    classes = len(np.unique(y))
    if label.task != "regression" and min(len(np.unique(y[first])), len(np.unique(y[second]))) < classes:
        return slice(0, len(y)), slice(0, len(y))
    return first, second


def loss(label: Label, y: Floats, scores: Matrix | Floats) -> float:
    """What is minimised: mean log loss, or mean squared error."""
    return float(_losses(label, y, scores.astype(np.float64)).mean())


def _losses(label: Label, y: Floats, p: Floats) -> Floats:
    if label.task == "regression":
        return np.asarray((p[:, 0] - y) ** 2)
    return np.asarray(-np.log(np.maximum(_of_truth(label, y, p), FLOOR)))


def _of_truth(label: Label, y: Floats, p: Floats) -> Floats:
    """The probability that was given to what happened."""
    if label.task == "binary":
        return np.where(y == 1, p[:, 0], 1 - p[:, 0])
    return np.asarray(p[np.arange(len(y)), y.astype(int)])


def _learn_weights(label: Label, y: Floats, members: Sequence[Floats]) -> list[float]:
    """Weights on the simplex with the lowest loss: a convex problem, so the start does not matter."""
    if len(members) == 1:
        return [1.0]
    if label.task == "regression":
        given, spread = np.column_stack([p[:, 0] - y for p in members]), max(float(y.std()), 1e-12)
        given = given / spread
    else:
        given = np.column_stack([np.maximum(_of_truth(label, y, p), FLOOR) for p in members])

    def value_and_slope(w: Floats) -> tuple[float, _Gradient]:
        mixed = given @ w
        if label.task == "regression":
            return float((mixed**2).mean()), 2 * given.T @ mixed / len(y)
        return float(-np.log(mixed).mean()), -(given / mixed[:, None]).mean(axis=0)

    count = len(members)
    found = minimize(
        value_and_slope,
        np.full(count, 1 / count),
        jac=True,
        method="SLSQP",
        bounds=[(0, 1)] * count,
        constraints={"type": "eq", "fun": lambda w: w.sum() - 1, "jac": lambda w: np.ones_like(w)},
        options={"ftol": 1e-10, "maxiter": 200},
    )
    weights = np.where(found.x < 1e-3, 0, found.x)  # a member that hardly counts need not be computed
    return [float(w) for w in weights / weights.sum()]


def calibrate(label: Label, y: Floats, scores: Matrix | Floats) -> Calibration:
    """The calibration with the lowest log loss on these rows; none for regression.

    Examples
    --------
    >>> label = Label(name="late", classes=(0, 1))
    >>> from training.graphs import apply_link
    >>> rng = np.random.default_rng(0)
    >>> truth = rng.uniform(0.05, 0.95, 20_000)
    >>> y = (rng.random(20_000) < truth).astype(float)
    >>> overconfident = apply_link(label, 2 * np.log(truth / (1 - truth))[:, None])
    >>> round(calibrate(label, y, overconfident).slope, 1)
    0.5
    """
    if label.task == "regression":
        return Calibration()
    p = scores.astype(np.float64)
    free = 2 if label.task == "binary" else 1

    def value(parameters: Floats) -> float:
        slope, intercept = float(parameters[0]), float(parameters[1]) if free == 2 else 0.0
        return loss(label, y, adjust(label, Calibration(slope=slope, intercept=intercept), p))

    found = minimize(value, np.array([1.0, 0.0])[:free], method="L-BFGS-B", bounds=[_SLOPES, _SHIFTS][:free])
    if found.fun >= loss(label, y, p):
        return Calibration()
    return Calibration(slope=float(found.x[0]), intercept=float(found.x[1]) if free == 2 else 0.0)


def adjust(label: Label, calibration: Calibration, scores: Matrix | Floats) -> Floats:
    """Calibrated scores, float64 of shape (n, width)."""
    p = scores.astype(np.float64)
    if label.task == "regression" or calibration.is_identity:
        return p
    if label.task == "multiclass":
        powered = np.maximum(p, FLOOR) ** calibration.slope
        return np.asarray(powered / powered.sum(axis=1, keepdims=True))
    p = np.clip(p, FLOOR, 1 - FLOOR)
    z = calibration.slope * (np.log(p) - np.log1p(-p)) + calibration.intercept
    return np.asarray(1 / (1 + np.exp(-z)))
