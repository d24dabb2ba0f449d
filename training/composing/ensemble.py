"""The blend: non-negative weights that sum to one, then one calibration for all.

Probabilities are blended, not logits: both are convex in the weights, but a member that is wildly sure of itself
under drift can move a mean of probabilities no further than its weight. A mean of probabilities is
underconfident even when its members are calibrated (Ranjan & Gneiting 2010, JRSS B 72), and the calibration
after it mends just that.

Learned on out-of-fold scores in order of time: every row was scored by members fitted on earlier rows only, and their effort
(rounds, epochs) was found on earlier rows too. Learning weights must prove itself against every single member: weights of every
other run of rows are tried on the runs between, and if the mixture is shown to lose to a member alone, by more than a standard error,
that member gets all the weight. Otherwise the weights are those of all rows, where no member can be better, for each is one of the
blends. Both rest on all validation rows: of the newest half alone, on flights, days of bad weather decided (docs/decisions/015).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize

from cluster.errors import NotEnoughData
from cluster.records import Record
from cluster.schema import Floats, Label, Matrix
from training.composing import calibration as calibrations
from training.composing.calibration import FLOOR, Calibration, adjust, alternate, loss, of_truth
from training.judging.evaluate import row_losses

_NEGLIGIBLE = 0.02
"""A member of less weight is left out: it would cost its time on every row and move no score by more."""
_RUNS = 20
_Gradient = npt.NDArray[np.float64]


class Blend(Record, frozen=True, kw_only=True):
    """What was learned, and how it compares. Losses are log loss, or mean squared error for regression."""

    weights: dict[str, float]
    """By member; they sum to 1."""
    calibration: Calibration
    calibration_losses: dict[str, float]
    """By kind, cross-fitted."""
    loss: float
    """Of the blend on all rows, before calibration."""
    crossed_loss: float
    """Of weights on rows they were not learned from, calibrated by two parameters: what the members alone were compared with."""
    member_losses: dict[str, float]
    """Of each member alone on all rows, as it is."""
    fell_back: bool
    """True when a member alone was shown to have the lower loss, which now has all the weight."""
    learned_weights: dict[str, float]
    """Before falling back."""
    rows: int


def learn(label: Label, y: Floats, scores: Mapping[str, Matrix]) -> Blend:
    """Learn weights and calibration from out-of-fold scores in order of time.

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
    need_classes(label, y)
    crossed = np.empty_like(next(iter(members.values())))
    for tried_on in alternate(len(y)):
        learned_on = ~tried_on if tried_on.any() and not tried_on.all() else tried_on
        half = _learn_weights(label, y[learned_on], [p[learned_on] for p in members.values()])
        crossed[tried_on] = mix(dict(zip(members, half, strict=True)), members)[tried_on]
    blended, alone = _tried(label, y, crossed), {name: _tried(label, y, p) for name, p in members.items()}
    best = min(alone, key=lambda name: float(alone[name].mean()))
    learned = dict(zip(members, _learn_weights(label, y, list(members.values())), strict=True))
    fell_back = _is_shown_worse(blended, alone[best])
    weights = {name: float(name == best) for name in members} if fell_back else learned
    mixed = mix(weights, members)
    chosen = calibrations.choose(label, y, mixed)
    return Blend(
        weights=weights,
        calibration=chosen.calibration,
        calibration_losses=chosen.losses,
        loss=loss(label, y, mixed),
        crossed_loss=float(blended.mean()),
        member_losses={name: loss(label, y, p) for name, p in members.items()},
        fell_back=fell_back,
        learned_weights=learned,
        rows=len(y),
    )


def _tried(label: Label, y: Floats, scores: Floats) -> Floats:
    """Each row's loss once calibrated by two parameters, alike for all that are compared."""
    kind: calibrations.Kind = "temperature" if label.task == "multiclass" else "platt"
    given = adjust(label, calibrations.fit(kind, label, y, scores), scores)
    return min(row_losses(label, y, scores), row_losses(label, y, given), key=lambda losses: float(losses.mean()))


def _is_shown_worse(losses: Floats, others: Floats) -> bool:
    """Whether the mean of the first is above that of the second by more than its standard error over runs of neighbouring rows."""
    differences = np.array([run.mean() for run in np.array_split(losses - others, min(_RUNS, len(losses)))])
    return bool(differences.mean() > differences.std(ddof=1) / np.sqrt(len(differences)))


def apply(label: Label, blend: Blend, scores: Mapping[str, Matrix]) -> Matrix:
    """The ensemble's scores, float32 of shape (n, width), from its members'."""
    return adjust(label, blend.calibration, mix(blend.weights, scores)).astype(np.float32)


def mix(weights: Mapping[str, float], scores: Mapping[str, Matrix] | Mapping[str, Floats]) -> Floats:
    """The weighted mean of scores, float64 of shape (n, width); members without weight need none."""
    return np.asarray(sum(weight * scores[name].astype(np.float64) for name, weight in weights.items() if weight > 0))


def need_classes(label: Label, y: Floats) -> None:
    """Refuse rows that can tell nothing.

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


def _learn_weights(label: Label, y: Floats, members: Sequence[Floats]) -> list[float]:
    """Weights on the simplex with the lowest loss: a convex problem, so the start does not matter."""
    if len(members) == 1:
        return [1.0]
    if label.task == "regression":
        given, spread = np.column_stack([p[:, 0] - y for p in members]), max(float(y.std()), 1e-12)
        given = given / spread
    else:
        given = np.column_stack([np.maximum(of_truth(label, y, p), FLOOR) for p in members])

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
    weights = np.where(found.x < _NEGLIGIBLE, 0, found.x)
    return [float(w) for w in weights / weights.sum()]
