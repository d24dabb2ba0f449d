"""Columns that let trees memorise dates: month, day, an index, a counter. Found and priced, never dropped. Pure.

Such a column tells a model which day a row is of; what it learns of that day is no help on days to come. Two signs: the
value is one and the same all day and hardly comes back on other days, or it rises with time almost exactly.
"""

from __future__ import annotations

from typing import Final, Literal, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt
from scipy import stats

from cluster.errors import NotEnoughData
from cluster.records import Interval, Record
from cluster.schema import Feature, FeatureSchema, Floats, Label, Matrix
from training.data import split
from training.judging import small_trees
from training.judging.bootstrap import bootstrap_improvement
from training.judging.evaluate import metric_value
from training.judging.gate import DEFAULT_METRIC
from training.members import Rows

Indices = npt.NDArray[np.intp]
Codes = npt.NDArray[np.int64]
Values = npt.NDArray[np.float32]
MOST_ROWS: Final = 100_000
"""Of more rows, as many, evenly over time, are looked at."""
FEWEST_DAYS: Final = 36
"""In five weeks a weekday comes back five times; on a shorter period it looks like a date."""
FEWEST_ROWS_A_DAY: Final = 5
"""With fewer, any value is the same all day."""
_SAME_ALL_DAY: Final = 0.95
_ONE_VALUE: Final = 0.9  # of the days: such a column is a flag for rare days, and pins no date
_FEW_STRETCHES: Final = 5
_LONG_CYCLE_DAYS: Final = 20  # a day of the month comes back after 28 to 31, a weekday after 7
_CYCLE_VALUES: Final = 20
_RISING: Final = 0.98
_LATER: Final = 0.25
_SEEDS: Final = 3
_ONE_SIDE: Final = 0.975
_DAY_S: Final = 86400.0
_HOUR_S: Final = 3600.0


class Suspect(Record, frozen=True, kw_only=True):
    """A column that knows the date."""

    feature: str
    reason: Literal["date", "counter"]
    evidence: str
    """What was found, in a sentence."""


class Columns(Record, frozen=True, kw_only=True):
    """The columns that only tell the date, and what they do to later rows."""

    rows: int
    """That were looked at."""
    days: int
    suspects: list[Suspect]
    metric: str
    with_suspects: float | None = None
    """The metric of a small XGBoost on the later rows with all columns, mean of three seeds' scores; None: not measured."""
    without_suspects: float | None = None
    gain: float | None = None
    """What leaving out all suspects gains on later rows; positive is better whatever the metric."""
    gain_interval: Interval | None = None
    """The same with its 95 % interval, by a bootstrap over days."""
    message: str


def find(schema: FeatureSchema, matrix: Matrix, times: Floats | None, y: Floats, *, rng: np.random.Generator, threads: int = 1) -> Columns:
    """Find the columns that know the date, and measure what they do.

    Parameters
    ----------
    matrix, y
        Encoded rows, float32 (n, features), and labels, float64 (n,).
    times
        Seconds since 1970, float64 (n,), in any order; None when the table has no time.
    """
    metric = DEFAULT_METRIC[schema.label.task]
    if times is None:
        return Columns(rows=len(y), days=0, suspects=[], metric=metric, message="not judged: the table has no time")
    kept = _evenly(times, MOST_ROWS)
    matrix, times, y = matrix[kept], times[kept], y[kept]
    days = len(np.unique(np.floor(times / _DAY_S)))
    can_tell = days >= FEWEST_DAYS and len(times) >= FEWEST_ROWS_A_DAY * days
    suspects = [s for j, f in enumerate(schema.features) if (s := _suspect(f, matrix[:, j], times, by_day=can_tell)) is not None]
    note = "" if can_tell else _too_little(days, len(times))
    found = Columns(rows=len(y), days=days, suspects=suspects, metric=metric, message=_told(suspects) + note)
    return _priced(found, schema, matrix, times, y, rng, threads) if suspects else found


class _Days(NamedTuple):
    """One column, day by day."""

    same: float
    """Mean over rows of the share of their day that has the day's commonest value."""
    values: Values
    """Each day's commonest value, in order of time."""
    numbers: Codes
    """Which day each is."""


def _evenly(times: Floats, most: int) -> Indices:
    order = np.argsort(times, kind="stable")
    return order if len(order) <= most else order[np.linspace(0, len(order) - 1, most).astype(np.intp)]


def _suspect(feature: Feature, values: Values, times: Floats, *, by_day: bool) -> Suspect | None:
    known = ~np.isnan(values)
    values, times = values[known], times[known]
    if len(values) < 2 or values.min() == values.max():
        return None
    evidence = _date(values, times) if by_day else None
    if evidence is not None:
        return Suspect(feature=feature.name, reason="date", evidence=evidence)
    if feature.type == "number" and times[0] < times[-1]:
        rising = float(stats.spearmanr(values, times).statistic)
        if abs(rising) > _RISING:
            told = f"{'rises' if rising > 0 else 'falls'} with time almost exactly (rank correlation {rising:+.3f})"
            return Suspect(feature=feature.name, reason="counter", evidence=told)
    return None


def _date(values: Values, times: Floats) -> str | None:
    """Why a column tells the date; None when it does not."""
    found = _by_day(values, times)
    distinct, counts = np.unique(found.values, return_counts=True)
    if found.same < _SAME_ALL_DAY or len(distinct) < 2 or counts.max() > _ONE_VALUE * len(found.values):
        return None
    starts = np.r_[True, found.values[1:] != found.values[:-1]]
    stretches = float(starts.sum() / len(distinct))
    told = f"{found.same:.1%} of a day's rows share its value, and each of {len(distinct)} values fills {stretches:.1f} separate stretches of days"
    if stretches < _FEW_STRETCHES:
        return told
    cycle = _cycle(found.values[starts], found.numbers[starts])
    if len(distinct) >= _CYCLE_VALUES and cycle >= _LONG_CYCLE_DAYS:
        return f"{told}, {cycle:.0f} days apart"
    return None


def _by_day(values: Values, times: Floats) -> _Days:
    """Days may begin at any hour of UTC: the one that suits the column best is taken."""
    codes = np.unique(values, return_inverse=True)[1].astype(np.int64)
    best: tuple[float, Floats] = (-1.0, times)
    for hour in range(24):
        days = np.floor((times + hour * _HOUR_S) / _DAY_S)
        same = _commonest(codes, days)[0]
        if same > best[0]:
            best = same, days
        if hour == 0 and same < _SAME_ALL_DAY / 2:
            break  # no other hour can make a day of this
    same, days = best
    at, numbers = _commonest(codes, days)[1:]
    return _Days(same, values[at], numbers)


def _commonest(codes: Codes, days: Floats) -> tuple[float, Indices, Codes]:
    """The share of rows that have their day's commonest value, a row of each day that has it, and the days."""
    numbers, day = np.unique(days, return_inverse=True)
    pairs, first, counts = np.unique(day * (int(codes.max()) + 1) + codes, return_index=True, return_counts=True)
    day_of_pair = pairs // (int(codes.max()) + 1)
    order = np.lexsort((-counts, day_of_pair))
    leads = order[np.r_[True, np.diff(day_of_pair[order]) > 0]]
    return float(counts[leads].sum() / len(codes)), first[leads], numbers.astype(np.int64)


def _cycle(values: Values, days: Codes) -> float:
    """Median number of days until a value comes back; infinite when none does."""
    order = np.lexsort((days, values))
    again = values[order][1:] == values[order][:-1]
    gaps = np.diff(days[order])[again]
    return float(np.median(gaps)) if len(gaps) else float("inf")


def _priced(
    found: Columns, schema: FeatureSchema, matrix: Matrix, times: Floats, y: Floats, rng: np.random.Generator, threads: int
) -> Columns:
    """The same, with the metric on later rows with and without the suspects together."""
    names = {suspect.feature for suspect in found.suspects}
    others = [j for j, name in enumerate(schema.names) if name not in names]
    if not others:
        return msgspec.structs.replace(found, message=f"{found.message}; not measured: no other column is left")
    known = np.flatnonzero(~np.isnan(y))
    try:
        sides = [known[side] for side in split.by_time(times[known], _LATER, rng=rng)]
        early, late = (side[_evenly(times[side], small_trees.MOST_ROWS)] for side in sides)
        seeds = [int(seed) for seed in rng.integers(0, 2**31, _SEEDS)]
        everything = _later(schema.label, matrix, y, early, late, seeds, threads)
        without = _later(schema.label, matrix[:, others], y, early, late, seeds, threads)
        return _compared(found, schema.label, y[late], (everything, without), times[late], rng)
    except NotEnoughData as error:
        return msgspec.structs.replace(found, message=f"{found.message}; not measured: {error.message}")


def _later(label: Label, matrix: Matrix, y: Floats, early: Indices, late: Indices, seeds: list[int], threads: int) -> Matrix:
    """Mean scores of a few seeds on the later rows, fitted on the earlier."""
    rows = Rows(matrix[early], y[early])
    scores = [small_trees.fit(label, rows, seed=seed, threads=threads)(matrix[late]) for seed in seeds]
    return np.asarray(np.mean(scores, axis=0), dtype=np.float32)


def _compared(found: Columns, label: Label, y: Floats, scored: tuple[Matrix, Matrix], times: Floats, rng: np.random.Generator) -> Columns:
    before, after = (metric_value(label, found.metric, y, scores) for scores in scored)
    interval = bootstrap_improvement(label, found.metric, y, scored[0], scored[1], times, confidence=_ONE_SIDE, rng=rng)
    effect = "gains" if interval.estimate >= 0 else "costs"
    sure = "" if interval.lower > 0 or interval.upper < 0 else "; the interval holds 0, so this may be luck"
    told = (
        f"{found.message}; leaving out all of them {effect} {abs(interval.estimate):.4f} {found.metric} on {len(y):,} later rows "
        f"({before:.4f} with, {after:.4f} without; 95 % interval {interval.lower:+.4f} to {interval.upper:+.4f}){sure}"
    )
    return msgspec.structs.replace(
        found, with_suspects=before, without_suspects=after, gain=interval.estimate, gain_interval=interval, message=told
    )


def _told(suspects: list[Suspect]) -> str:
    if not suspects:
        return "no column is seen to tell the date"
    return f"{', '.join(s.feature for s in suspects)} {'tells' if len(suspects) == 1 else 'tell'} the date"


def _too_little(days: int, rows: int) -> str:
    if days < FEWEST_DAYS:
        return f"; dates by day not judged: {days} days, {FEWEST_DAYS} are needed"
    return f"; dates by day not judged: {rows / days:.1f} rows a day, {FEWEST_ROWS_A_DAY} are needed"
