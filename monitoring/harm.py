"""How much worse answers probably are where an alarm was raised: the change of the expected loss, with its interval, or that nobody can know. Pure.

Where labels are in, it is measured. Before, it is what the scores themselves expect (`monitoring.estimate`, which sees no change of what happens
to such rows); and beside that, column by column of those that are blamed, what such rows lost on the reference (`monitoring.losses`).
The loss is the Brier score, or the root of the mean squared error.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Final, Literal

import msgspec
from scipy import stats

from cluster.records import Interval, Record, Verdict
from cluster.schema import Label
from monitoring.blamed import columns_of, title_of
from monitoring.drift import Alarm
from monitoring.losses import Losses, weigh
from monitoring.profile import Profile
from monitoring.sketches import Sketcher, Summary

CONFIDENCE: Final = 0.95
Source = Literal["labels", "scores"]
_SOURCES: Final[dict[Source, str]] = {
    "labels": "measured, labels are in",
    "scores": "expected by the scores; whether the same still happens to such rows, only labels can show",
}


class Harm(Record, frozen=True, kw_only=True):
    """Of one alarm; all of it about its window."""

    metric: str
    """`brier` or `rmse`; less is better."""
    before: float | None
    """On the reference."""
    source: Source
    change: Interval | None
    """Above 0 is worse. None: it cannot be known."""
    reason: str = ""
    """Why it cannot be known."""
    by_column: dict[str, Interval | None] = msgspec.field(default_factory=dict)
    """What rows with such values of one blamed column lost on the reference, less what all lost; None where the reference had hardly any such
    rows. Of the Brier score, or of the mean squared error."""

    @property
    def short(self) -> str:
        """In a few words."""
        if self.change is None:
            return "what it costs cannot be known"
        then = "" if self.before is None else f" from {self.before:.4g}"
        word = "went" if self.source == "labels" else "probably goes"
        way, change = ("up", self.change) if self.change.estimate > 0 else ("down", _turned(self.change))
        return f"{self.metric} {word} {way}{then} by {_written(change)}"

    @property
    def told(self) -> str:
        """In whole."""
        whole = f"{self.short}: {self.reason}" if self.change is None else f"{self.short}, {_SOURCES[self.source]}"
        return "; ".join([whole, *(_column(name, found) for name, found in self.by_column.items())])


def of_scores(figures: Sequence[Verdict], metric: str, *, by_column: Mapping[str, Interval | None]) -> Harm:
    """Of an alarm that was raised before labels are due.

    Parameters
    ----------
    figures
        What is said of its window; the estimate among them.
    """
    found = next((verdict for verdict in figures if verdict.kind == "estimate" and verdict.name == metric), None)
    before = None if found is None else found.expected
    columns = dict(by_column)
    if found is None:
        reason = "the window has too few rows, or labels for all of them"
    elif found.value is None or found.lower is None or found.upper is None or before is None:
        reason = found.message.removeprefix("cannot be known: ") or "the reference had no labels to compare with"
    else:
        change = Interval(estimate=found.value - before, lower=found.lower - before, upper=found.upper - before)
        return Harm(metric=metric, before=before, source="scores", change=change, by_column=columns)
    return Harm(metric=metric, before=before, source="scores", change=None, reason=reason, by_column=columns)


def of_labels(label: Label, profile: Profile, loss: float, rows: int) -> Harm:
    """Of an alarm that was raised once labels were due: the mean loss of so many labelled rows, beside the reference's.

    The interval is that of a window's mean: how much the loss of the reference's blocks differs by itself, and by its rows (Student's).
    """
    metric = metric_of(label)
    reference = next((found for found in profile.metrics if found.kind == "performance"), None)
    if reference is None:
        return Harm(metric=metric, before=None, source="labels", change=None, reason="the reference had no labels to compare with")
    quantile = float(stats.t.ppf((1 + CONFIDENCE) / 2, max(reference.baseline.blocks - 1, 1)))
    half = quantile * math.sqrt(reference.between[0] + reference.within[0] / max(rows, 1))
    if label.task == "regression":
        before = math.exp(reference.mean[0] / 2)
        now, lower, upper = (math.sqrt(max(loss, 0.0)) * math.exp(side * half / 2) for side in (0, -1, 1))
    else:
        before, now, lower, upper = reference.mean[0], loss, loss - half, loss + half
    return Harm(
        metric=metric, before=before, source="labels", change=Interval(estimate=now - before, lower=lower - before, upper=upper - before)
    )


def by_column(
    alarm: Alarm, label: Label, profile: Profile, learned: Losses | None, sketcher: Sketcher, summary: Summary
) -> dict[str, Interval | None]:
    """By blamed column, what the window would lose if nothing else had changed; nothing where the bundle does not keep it."""
    if learned is None:
        return {}
    return {title_of(profile.columns[j]): weigh(label, learned, sketcher, summary, j).change for j in columns_of(alarm, profile)}


def metric_of(label: Label) -> str:
    """The loss that harm is told in."""
    return "rmse" if label.task == "regression" else "brier"


def _column(name: str, found: Interval | None) -> str:
    if found is None:
        return f"the reference had hardly any rows with such {name}"
    return f"by {name} alone, such rows lost {_written(found, signed=True)} against all, on the reference"


def _turned(found: Interval) -> Interval:
    return Interval(estimate=-found.estimate, lower=-found.upper, upper=-found.lower)


def _written(found: Interval, *, signed: bool = False) -> str:
    sign = "+" if signed else ""
    return f"{found.estimate:{sign}.2g} ({found.lower:.2g} to {found.upper:.2g})"
