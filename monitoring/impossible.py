"""Values that cannot be: numbers outside the range that the YAML states, categories that it does not list. Told at once, window by window.

This is no test, and no part of the alarm budget: where the training rows held no such value, one row is enough. Where they held some,
they are told, and a rise is for the alarm to find (`quality`). A value of another type never comes here: the gateway refuses its row.
A category that was learned, and not listed, may be new without being impossible. Pure.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Final, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from cluster.records import Verdict
from cluster.schema import FeatureSchema, Floats, Matrix
from monitoring.drift import REST
from monitoring.profile import Profile
from monitoring.said import Figure, Live
from monitoring.sketches import ABOVE, BELOW, UNKNOWN, Counts

KIND: Final = "data_quality"
Fault = Literal["below", "above", "unknown"]
_COUNTED: Final[dict[Fault, int]] = {"below": BELOW, "above": ABOVE, "unknown": UNKNOWN}
_WORDS: Final[dict[Fault, str]] = {
    "below": "share of rows below its range",
    "above": "share of rows above its range",
    "unknown": "share of rows with a category that is not listed",
}


class Rule(NamedTuple):
    """What one column must not hold."""

    column: int
    feature: str
    fault: Fault
    limit: float
    """The end of the range; the number of listed categories."""

    @property
    def name(self) -> str:
        """Of its verdict."""
        return f"{self.feature}.{self.fault}"

    @property
    def said(self) -> str:
        """What is broken, in words."""
        side = "is of none of the listed categories" if self.fault == "unknown" else f"is {self.fault} {self.limit:g}"
        return f"{self.feature} {side}"

    def count(self, quality: Counts) -> int:
        """Rows that break it, of int64 (columns, 4) of a summary."""
        return int(quality[self.column, _COUNTED[self.fault]])

    def broken(self, values: Matrix) -> npt.NDArray[np.intp]:
        """Which rows of its column, float32 (n,), break it."""
        limit = np.float32(self.limit)
        return np.flatnonzero({"below": values < limit, "above": values > limit, "unknown": values >= limit}[self.fault])


class First(NamedTuple):
    """A row; the smallest is the earliest by its own time, whoever reads first."""

    time: float
    request_id: str
    row: int


class Requests(NamedTuple):
    """Whose rows a batch's are, end to end."""

    ids: Sequence[str]
    sizes: Sequence[int]
    times: Floats
    """Of each row."""

    def earliest(self, rows: npt.NDArray[np.intp]) -> First:
        """Of some rows, at least one."""
        ends = np.cumsum(self.sizes)
        owners = np.searchsorted(ends, rows, side="right")
        starts = ends - np.asarray(self.sizes)
        return min(First(float(self.times[i]), self.ids[owner], int(i - starts[owner])) for i, owner in zip(rows, owners, strict=True))


def rules_of(schema: FeatureSchema, stated: FeatureSchema) -> tuple[Rule, ...]:
    """Of a bundle.

    Parameters
    ----------
    schema
        The bundle's, frozen.
    stated
        The YAML's: only what it says itself makes a value impossible.
    """
    listed = {feature.name for feature in stated.features if feature.categories is not None}
    found = list[Rule]()
    for j, feature in enumerate(schema.features):
        if feature.range is not None:
            found += [Rule(j, feature.name, "below", feature.range[0]), Rule(j, feature.name, "above", feature.range[1])]
        if feature.categories is not None and feature.name in listed:
            found.append(Rule(j, feature.name, "unknown", float(len(feature.categories))))
    return tuple(found)


def firsts(rules: Sequence[Rule], quality: Counts, matrix: Matrix, rows: npt.NDArray[np.intp], requests: Requests) -> dict[str, First]:
    """By rule that is broken, the earliest row.

    Parameters
    ----------
    quality
        Of the summary of these rows: where it counts none, no row is looked at.
    matrix
        Encoded, float32 (n, features), of all rows of the batch.
    rows
        The rows that are meant.
    """
    return {rule.name: requests.earliest(rows[rule.broken(matrix[rows, rule.column])]) for rule in rules if rule.count(quality)}


def merged(one: dict[str, First], other: dict[str, First]) -> dict[str, First]:
    """The earliest of both."""
    return {name: min(found[name] for found in (one, other) if name in found) for name in one | other}


def judge(
    rules: Sequence[Rule],
    profile: Profile,
    quality: Counts,
    earliest: dict[str, First],
    rows: int,
    live: Live,
    *,
    start: float,
    window_s: float,
) -> tuple[list[Figure], list[str], Live]:
    """Verdicts on a window, one a rule that is broken; the names of those that are news; and what is remembered.

    Parameters
    ----------
    quality
        Of the window's summary.
    earliest
        From `firsts`.
    start
        Of the window.
    """
    found, news = list[Figure](), list[str]()
    for rule in rules:
        if (count := rule.count(quality)) == 0:
            continue
        usual = profile.bad[rule.column][_COUNTED[rule.fault]]
        figure = _figure(rule, count, rows, usual, earliest[rule.name])
        found.append(figure)
        if figure.alarm:
            last = live.faults.get(rule.name)
            news += [rule.name] if last is None or start - last > REST * window_s else []
            live = live.faulted(rule.name, start)
    return found, news, live


def values_of(verdicts: Sequence[Verdict]) -> dict[str, int]:
    """How many impossible values verdicts tell of, by rule, where the training rows had none."""
    return {v.name: round(v.value * v.rows) for v in verdicts if v.kind == KIND and v.alarm and v.value is not None}


def _figure(rule: Rule, count: int, rows: int, usual: float, first: First) -> Figure:
    at = dt.datetime.fromtimestamp(first.time, dt.UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    known = f"; so were {usual:.2%} of the training rows, so it is no finding by itself" if usual else ""
    message = f"{rule.said} in {count:,} of {rows:,} rows; the first at {at}: request {first.request_id}, row {first.row}{known}"
    return Figure(KIND, rule.name, count / rows, _WORDS[rule.fault], rows, expected=usual, alarm=not usual, message=message)
