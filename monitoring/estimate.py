"""How good a window's answers probably are while its labels are still to come, from the scores alone. Pure.

Classifiers say how sure they are: if a probability of 0.8 comes true in 8 of 10 cases, its expected Brier score is 0.16 (Guillory et
al. 2021, ICCV, "Predicting with confidence on unseen distributions"; NannyML calls it CBPE). Regression knows from its prediction intervals
how the error goes with the predicted value.

Assumes that what happens to rows like these is what happened to such rows on the reference: P(label | features) has not changed. A
change of that kind is **not seen here**, however large; only labels show it. So labels take over row by row as they come,
and how far past estimates were from the truth is what later ones are corrected and bounded by.
"""

from __future__ import annotations

import math
from typing import Final, NamedTuple

import numpy as np
from scipy import stats

from cluster.intervals import Intervals
from cluster.schema import Floats, Label, Matrix
from monitoring import performance
from monitoring.confidence import Course
from monitoring.profile import Profile
from monitoring.reach import Reach
from monitoring.said import Figure, Live
from monitoring.statistic import Reference

CONFIDENCE: Final = 0.95
MOST_OUTSIDE: Final = 0.25
"""With a larger share of rows where the reference hardly had any, nothing is said."""
_FEWEST: Final = 5
"""Past estimates that must have been checked against labels before they bound the next."""
_LEAST: Final = 1e-7
_WORST_FACTOR: Final = 10.0
"""Regression: a row outside may err, in squares, by up to so many times what is expected of it. A convention: nothing bounds it."""
_KEY: Final = "estimate|"
_UNSEEN: Final = "if what happens to such rows has not changed, which only labels can show"


def expected(label: Label, scores: Matrix, error: Floats | None = None) -> dict[str, float]:
    """Every metric of rows, expected over what may turn out.

    Parameters
    ----------
    scores
        float32 (n, width), n above 0.
    error
        Regression: the expected squared error of each row, float64 (n,).

    Examples
    --------
    >>> found = expected(Label(name="late", classes=(0, 1)), np.array([[0.8], [0.5]], dtype=np.float32))
    >>> round(found["brier"], 3), round(found["accuracy"], 3)
    (0.205, 0.65)
    """
    if label.task == "regression":
        return {} if error is None else {"mean_squared_error": float(error.mean()), "rmse": float(np.sqrt(error.mean()))}
    p = performance.probabilities(label, scores)
    decided = (scores[:, 0] >= label.threshold).astype(np.intp) if label.task == "binary" else p.argmax(axis=1)
    found = {
        "brier": float(row_losses(label, scores).mean()),
        "accuracy": float(p[np.arange(len(p)), decided].mean()),
        "log_loss": float(-(p * np.log(np.clip(p, _LEAST, 1.0))).sum(axis=1).mean()),
    }
    return found | ({"roc_auc": _auc(p[:, 1])} if label.task == "binary" else {})


def row_losses(label: Label, scores: Matrix) -> Floats:
    """The Brier score expected of each row, float64 (n,): p (1 - p), or 1 - sum p^2 for several classes."""
    p = performance.probabilities(label, scores)
    return np.asarray(p[:, 0] * p[:, 1] if label.task == "binary" else 1 - (p**2).sum(axis=1))


def squared_errors(profile: Profile, intervals: Intervals | None, scores: Matrix) -> Floats | None:
    """Regression: the squared error expected of each row, float64 (n,); None where the bundle does not tell.

    In proportion to the square of the prediction interval's width, so that rows like the reference's err as those did.
    """
    usual = profile.performance.get("rmse")
    if usual is None:
        return None
    widths = np.ones(len(scores)) if intervals is None else _half_widths(intervals, scores[:, 0].astype(np.float64))
    column = next((j for j, found in enumerate(profile.columns) if found.role == "prediction"), None)
    on_reference = 1.0
    if intervals is not None and column is not None:
        edges = np.array(profile.columns[column].edges)
        middles = np.concatenate([edges[:1], (edges[:-1] + edges[1:]) / 2, edges[-1:]])
        on_reference = float(_half_widths(intervals, middles) ** 2 @ np.array(profile.shares[column]))
    return np.asarray(usual**2 * widths**2 / max(on_reference, 1e-300))


def estimate(
    label: Label, profile: Profile, intervals: Intervals | None, scores: Matrix, y: Floats, reach: Reach, live: Live
) -> list[Figure]:
    """What a window's metrics probably are, with bounds that 95 % of windows fall into; or that it cannot be known.

    Parameters
    ----------
    scores, y
        float32 (n, width), float64 (n,): NaN where no label has come. Labels that have come are used.
    """
    waiting = np.isnan(y)
    if not waiting.any():
        return []
    name = performance.loss_name(label)
    error = squared_errors(profile, intervals, scores) if label.task == "regression" else row_losses(label, scores)
    asked = _Asked(label, profile, reach, live)
    why = _unknowable(reach, error, asked.reference, live.courses.get(f"{_KEY}{name}"))
    if why is not None or error is None:
        told = _usual_name(label)
        return [Figure("estimate", told, None, told, len(y), expected=profile.performance.get(told), message=f"cannot be known: {why}")]
    return [_of_loss(asked, error, scores, y), *_of_others(asked, scores, len(y))]


def checked(label: Label, profile: Profile, intervals: Intervals | None, scores: Matrix, y: Floats, live: Live) -> Live:
    """Remember how far estimates of a window's labelled rows were from what their labels said; y without NaN."""
    error = squared_errors(profile, intervals, scores) if label.task == "regression" else None
    guessed = expected(label, scores, error)
    if label.task == "regression":
        losses = performance.loss(label, scores, y)
        if guessed:
            gap = math.log(max(float(losses.mean()), 1e-12)) - math.log(max(guessed["mean_squared_error"], 1e-12))
            live = live.seen(f"{_KEY}mean_squared_error", gap)
        return live
    for name, value in performance.measure(label, scores, y).items():
        if name in guessed:
            live = live.seen(f"{_KEY}{name}", value - guessed[name])
    return live


class _Asked(NamedTuple):
    """What an estimate rests on."""

    label: Label
    profile: Profile
    reach: Reach
    live: Live

    @property
    def reference(self) -> Reference | None:
        """How the loss varied on the reference."""
        return next((metric for metric in self.profile.metrics if metric.kind == "performance"), None)

    def past(self, name: str) -> Course | None:
        """How far past estimates of a metric were off."""
        return self.live.courses.get(f"{_KEY}{name}")


def _unknowable(reach: Reach, error: Floats | None, reference: Reference | None, past: Course | None) -> str | None:
    if reach.outside > MOST_OUTSIDE:
        return f"up to {reach.outside:.0%} of the rows lie where the reference hardly had any; more than {MOST_OUTSIDE:.0%} is too many"
    if error is None:
        return "the bundle does not say how large its errors were on the reference"
    if reference is None and (past is None or past.windows < _FEWEST):
        return f"the reference had no labels, and fewer than {_FEWEST} windows have shown how far such estimates are off"
    return None


def _of_loss(asked: _Asked, error: Floats, scores: Matrix, y: Floats) -> Figure:
    """Bounds of the rows that wait for labels, shifted and widened; rows whose label is known add what they lost."""
    label, _, reach, _ = asked
    name, waiting = performance.loss_name(label), np.isnan(y)
    centre, half = _correction(asked.past(name), asked.reference, int(waiting.sum()))
    half *= 1 + reach.stretch
    guess = float(error[waiting].mean())
    if label.task == "regression":
        value, ends = guess * math.exp(centre), [guess * math.exp(centre + side * half) for side in (-1, 1)]
        worst = _WORST_FACTOR * value
    else:
        value, ends = guess + centre, [guess + centre - half, guess + centre + half]
        worst = 1.0 if label.task == "binary" else 2.0
    inside, share = 1 - reach.outside, float(waiting.mean())
    bounds = [max(inside * ends[0], 0.0), inside * min(ends[1], worst) + reach.outside * worst]
    lost = float(performance.loss(label, scores[~waiting], y[~waiting]).sum()) / len(y) if share < 1 else 0.0
    told = [lost + share * figure for figure in (max(value, 0.0), *bounds)]
    return _said(_usual_name(label), told, len(y), share, asked)


def _of_others(asked: _Asked, scores: Matrix, rows: int) -> list[Figure]:
    """Metrics that are bounded by how far past estimates of them were off, and told only then."""
    label, _, reach, _ = asked
    if label.task == "regression" or reach.outside > 0:
        return []
    found = []
    for name, guess in expected(label, scores).items():
        past = asked.past(name)
        if name == performance.loss_name(label) or past is None or past.windows < _FEWEST:
            continue
        centre, half = _correction(past, None, rows)
        half *= 1 + reach.stretch
        most = 1.0 if name in performance.HIGHER_IS_BETTER else math.inf
        told = [min(max(guess + centre + side * half, 0.0), most) for side in (0, -1, 1)]
        found.append(_said(name, told, rows, 1.0, asked))
    return found


def _correction(past: Course | None, reference: Reference | None, rows: int) -> tuple[float, float]:
    """What estimates are off by on average, and half the width that 95 % of windows fall into.

    From past estimates where enough have been checked (Student's prediction interval); until then from how much the loss of the
    reference's own blocks differed from each other, which is more, since part of that an estimate would have foreseen.
    """
    if past is not None and past.windows >= _FEWEST:
        t = past.windows
        spread = math.sqrt(past.power / (t - 1) * (1 + 1 / t))
        return past.mean, float(stats.t.ppf((1 + CONFIDENCE) / 2, t - 1)) * spread
    assert reference is not None  # _unknowable has seen to it
    spread = math.sqrt(reference.between[0] + reference.within[0] / max(rows, 1))
    return 0.0, float(stats.t.ppf((1 + CONFIDENCE) / 2, max(reference.baseline.blocks - 1, 1))) * spread


def _said(name: str, told: list[float], rows: int, share: float, asked: _Asked) -> Figure:
    value, lower, upper = [math.sqrt(figure) for figure in told] if name == "rmse" else told
    reach, usual = asked.reach, asked.profile.performance.get(name)
    labels = f"; {1 - share:.0%} of the rows have their label" if share < 1 else ""
    away = f"; up to {reach.outside:.1%} of the rows lie where the reference hardly had any" if reach.outside > 0 else ""
    message = f"{name} is probably {value:.4g} ({lower:.4g} to {upper:.4g}), {_UNSEEN}{labels}{away}"
    return Figure("estimate", name, value, name, rows, expected=usual, lower=lower, upper=upper, message=message)


def _usual_name(label: Label) -> str:
    return "rmse" if label.task == "regression" else "brier"


def _half_widths(intervals: Intervals, predicted: Floats) -> Floats:
    return np.asarray(np.asarray(intervals.half_widths)[np.searchsorted(intervals.edges, predicted, side="right")])


def _auc(p: Floats) -> float:
    """The AUC expected, as the ratio of what is expected of its parts; ties count half."""
    values, place = np.unique(p, return_inverse=True)
    up, down = np.bincount(place, weights=p), np.bincount(place, weights=1 - p)
    below = np.cumsum(down) - down
    pairs = float(up.sum() * down.sum())
    return float((up * (below + down / 2)).sum() / pairs) if len(values) and pairs else 0.5
