"""Numbers, dates and metrics as figures, cards and the page name them. A number is shown to few digits and never changed otherwise."""

from __future__ import annotations

import datetime as dt
import math
from typing import Final

from cluster.records import Interval

DASH: Final = "–"
FIRST: Final = {"binary": "roc_auc", "multiclass": "log_loss", "regression": "rmse"}
"""The metric that is named first, by task."""
_NAMES: Final = {
    "roc_auc": "ROC AUC",
    "roc_auc_ovr": "ROC AUC, one against rest",
    "log_loss": "log loss",
    "squared_error": "squared error",
    "brier": "Brier score",
    "ece": "calibration error",
    "accuracy": "accuracy",
    "base_rate": "base rate",
    "rmse": "RMSE",
    "mae": "mean absolute error",
    "r2": "R²",
    "selection_rate": "answered positive",
    "tpr": "true positive rate",
    "fpr": "false positive rate",
    "mean_score": "mean score",
    "mean_prediction": "mean prediction",
    "calibration": "score less truth",
    "feature_missing": "one feature missing",
    "unknown_category": "unknown categories",
    "below_range": "below the range",
    "above_range": "above the range",
}


def name(key: str) -> str:
    """A metric, figure or kind in words.

    >>> name("roc_auc"), name("tpr[a]"), name("row_check")
    ('ROC AUC', 'true positive rate [a]', 'row check')
    """
    base, bracket, rest = key.partition("[")
    return _NAMES.get(base, base.replace("_", " ")) + (f" [{rest}" if bracket else "")


def number(value: float | None) -> str:
    """Four digits that count; whole above a thousand; a dash for none.

    >>> number(0.70312), number(12345.6), number(1.19e-07), number(None)
    ('0.7031', '12,346', '1.19e-07', '–')
    """
    if value is None or not math.isfinite(value):
        return DASH
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def count(value: int | None) -> str:
    """A whole number.

    >>> count(336776)
    '336,776'
    """
    return DASH if value is None else f"{value:,}"


def percent(value: float | None) -> str:
    """A share.

    >>> percent(0.0213)
    '2.1 %'
    """
    return DASH if value is None or not math.isfinite(value) else f"{100 * value:.1f} %"


def level(value: float) -> str:
    """A confidence, without a needless zero.

    >>> level(0.95), level(0.99167)
    ('95 %', '99.17 %')
    """
    return f"{100 * value:.4g} %"


def between(lower: float, upper: float) -> str:
    """Two bounds.

    >>> between(-0.25, 0.5)
    '-0.25 to 0.5'
    """
    return f"{number(lower)} to {number(upper)}"


def estimate(interval: Interval | None) -> str:
    """An estimate with its interval.

    >>> estimate(Interval(estimate=0.5, lower=0.25, upper=0.75))
    '0.5 (0.25 to 0.75)'
    """
    return DASH if interval is None else f"{number(interval.estimate)} ({between(interval.lower, interval.upper)})"


def day(seconds: float) -> str:
    """The day of a time in seconds since 1970 UTC.

    >>> day(1357016400)
    '2013-01-01'
    """
    return dt.datetime.fromtimestamp(seconds, dt.UTC).strftime("%Y-%m-%d")


def yes(value: bool | None, *, other: str = DASH) -> str:
    """A verdict in a table."""
    return other if value is None else "yes" if value else "no"
