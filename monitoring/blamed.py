"""The columns that an alarm blames: which they are, and how a feature and a prediction of one name are told apart. Pure."""

from __future__ import annotations

from monitoring.drift import Alarm
from monitoring.profile import Profile
from monitoring.sketches import Column


def columns_of(alarm: Alarm, profile: Profile) -> list[int]:
    """Places of the columns that an alarm blames; a pair of features that went together names none."""
    told = [metric for metric in profile.metrics if metric.key in alarm.blamed and metric.kind != "association"]
    return sorted({metric.column for metric in told if metric.column >= 0})


def key_of(column: Column) -> str:
    """What a column is kept under: a feature may be named as predictions are.

    >>> key_of(Column(name="score", type="number")), key_of(Column(name="score", role="prediction", type="number"))
    ('feature:score', 'prediction:score')
    """
    return f"{column.role}:{column.name}"


def title_of(column: Column) -> str:
    """What a person reads.

    >>> title_of(Column(name="score", type="number")), title_of(Column(name="score", role="prediction", type="number"))
    ('score', 'score (predicted)')
    """
    return column.name if column.role == "feature" else f"{column.name} (predicted)"
