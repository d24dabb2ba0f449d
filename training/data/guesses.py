"""Guesses for a table never seen: the label's task, and windows and gates of a size that fits.

Pure arithmetic over a column and its times; `training.data.starter` writes them down for a person to correct.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from cluster.errors import DataError, NotEnoughData
from cluster.schema import Floats, Scalar, Task, canonical, format_duration

_MOST_CLASSES: Final = 100
_FEW_INTEGERS: Final = 20
_YES: Final = ("1", "true", "yes", "y", "t", "positive", "pos")
_NO: Final = ("0", "false", "no", "n", "f", "negative", "neg")


class LabelFacts(NamedTuple):
    """What the label's column shows."""

    task: Task
    positive: Scalar
    """Binary: the class whose probability is answered."""
    note: str


class Sizes(NamedTuple):
    """Lengths and counts that fit the table."""

    window: str
    holdout: str
    train_window: str
    cooldown: str
    gate_rows: int
    window_rows: int


def label_facts(name: str, column: pa.ChunkedArray) -> LabelFacts:
    """The task that the label's values suggest.

    Raises
    ------
    NotEnoughData
        When there are fewer than two different values.
    DataError
        When it is a time, or text with too many different values to be classes.
    """
    kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    counts = {v["values"]: v["counts"] for v in pc.value_counts(column.drop_null()).to_pylist() if canonical(v["values"]) is not None}
    if len(counts) < 2:
        held = f"only {next(iter(counts))!r}" if counts else "nothing"
        raise NotEnoughData(f"label '{name}' holds {held}; at least two different values are needed")
    if pa.types.is_temporal(kind):
        raise DataError(f"label '{name}' is a time ({kind}); predict a duration or a class instead")
    known = sum(counts.values())
    missing = len(column) - known
    unlabelled = f"; {missing:,} rows without it are not trained on" if missing else ""
    numeric = pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)
    whole = numeric and all(float(value).is_integer() for value in counts)
    if len(counts) == 2 and (whole or not numeric):
        positive = _positive(counts)
        share = counts[positive] / known
        shown = int(positive) if isinstance(positive, float) else positive
        return LabelFacts("binary", shown, f"{share:.1%} of {known:,} rows are positive{unlabelled}")
    if numeric and not (whole and len(counts) <= _FEW_INTEGERS):
        return LabelFacts("regression", None, f"{len(counts):,} different numbers in {known:,} rows{unlabelled}")
    if len(counts) > _MOST_CLASSES:
        raise DataError(
            f"label '{name}' has {len(counts):,} different values of type {kind}; classes may be {_MOST_CLASSES} at most, group them"
        )
    advice = "; if they are amounts rather than kinds, write regression" if numeric else ""
    return LabelFacts("multiclass", None, f"{len(counts)} classes in {known:,} rows{advice}{unlabelled}")


def _positive(counts: Mapping[Any, int]) -> Scalar:
    """The class that says yes; where neither does, the rarer one."""
    words = {(canonical(value) or "").lower(): value for value in counts}
    for yes, no in zip(_YES, _NO, strict=True):
        if yes in words and no in words:
            found: Scalar = words[yes]
            return found
    rarest: Scalar = min(counts, key=lambda value: (counts[value], str(value)))
    return rarest


def fit_sizes(rows: int, times: Floats | None) -> Sizes:
    """Windows and gates for a table of so many rows, at these times (seconds, shape (rows,)).

    A window should hold a hundred rows, the gate a week and five hundred rows but at most a fifth of the table, a
    retrain ninety days and two thousand rows; the next one waits two weeks, and twice as long as the gate is.
    """
    span = float(times.max() - times.min()) if times is not None else 0.0
    if not span:
        return Sizes("1d", "7d", "90d", "14d", _clamp(rows // 20, 20, 500), _clamp(rows // 20, 10, 100))
    day = 86400.0
    fitting = [length for length in (60, 600, 3600, 6 * 3600, day, 7 * day, 28 * day) if length <= max(span / 20, 60)]
    window = next((length for length in fitting if length >= min(day, fitting[-1]) and rows * length / span >= 100), fitting[-1])
    holdout = max(min(max(7 * day, span * 500 / rows), span / 5), 60)
    train_window = max(90 * day, span * min(1.0, 2000 / rows))
    return Sizes(
        window=_duration(window),
        holdout=_duration(holdout),
        train_window=_duration(train_window),
        cooldown=_duration(max(14 * day, 2 * holdout)),
        gate_rows=_clamp(int(rows * holdout / span) // 2, 20, 500),
        window_rows=_clamp(int(rows * window / span) // 3, 10, 100),
    )


def _clamp(value: int, low: int, high: int) -> int:
    return max(low, min(high, value))


def _duration(seconds: float) -> str:
    """In whole units of a tenth or less of it, as settings write it; days rather than weeks."""
    unit = next(u for u in (86400, 3600, 60, 1) if seconds >= 5 * u or u == 1)
    whole = max(1, round(seconds / unit)) * unit
    return f"{whole // 86400}d" if whole % 86400 == 0 else format_duration(dt.timedelta(seconds=whole))
