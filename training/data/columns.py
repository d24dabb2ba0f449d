"""Looks at the columns of a table never seen before: which a model can read, as what, and why not the others.

Every rule errs towards leaving a column out with its reason, which a person reads and may overrule. Knows
nothing of YAML or files.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from cluster.arrow import as_strings, numbers_of
from cluster.schema import Feature, Floats
from training.data.frame import LARGEST

_MIN_COUNT: Final = 20  # as cluster.schema.freeze learns categories
_MAX_CATEGORIES: Final = 1000
_PROOF_ROWS: Final = 10  # fewer rows of a class than this cannot prove that a column gives it away
_SAMPLE: Final = 1000
_ID_NAME: Final = re.compile(
    r"^(?i:(id|uuid|guid|index|key|rowid|row_?number|unnamed: \d+)?)$|(?i:[_ .-](id|uuid|guid|key))$|[a-z](Id|ID|UUID)$"
)
_TIME_NAME: Final = re.compile(r"(time|date|timestamp|epoch)|(^|_)(ts|at)$", re.IGNORECASE)
_CALENDAR_NAME: Final = re.compile(r"^(year|month|day|week|quarter|date)$", re.IGNORECASE)
_DATE_TEXT: Final = re.compile(r"^\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4}([ T].*)?$")
_COMMA_NUMBER: Final = re.compile(r"^[+-]?(\d{1,3}(\.\d{3})+|\d+)(,\d+)?$")
_Int = npt.NDArray[np.int64]


class Judged(NamedTuple):
    """What became of a column."""

    name: str
    feature: Feature | None
    """None: left out."""
    note: str
    """What was seen, or why it is left out."""


class Target(NamedTuple):
    """The label, as far as finding columns that give it away needs it."""

    codes: _Int
    """Index of each row's label among the different ones; -1 where it is missing. Shape (n,)."""
    numbers: Floats | None
    """The label itself for regression, NaN where missing; else None."""


def target_of(column: pa.ChunkedArray, *, regression: bool) -> Target:
    """The label's column, prepared."""
    numbers = numbers_of(column, "label") if regression else None
    return Target(_codes(column), numbers)


def judge(table: pa.Table, target: Target, *, skip: frozenset[str]) -> list[Judged]:
    """Judge each column of a table, in its order, but those in `skip`."""
    return [_judge(name, table.column(name), target) for name in table.column_names if name not in skip]


def is_time(name: str, column: pa.ChunkedArray) -> bool:
    """Whether a column looks like moments: by its type, as text, or as seconds or milliseconds since 1970."""
    if pa.types.is_temporal(column.type):
        return True
    if _is_text(column.type):
        sample = [value for value in _sample(column) if value is not None]
        return bool(sample) and all(_DATE_TEXT.match(value) for value in sample)
    if not (pa.types.is_integer(column.type) and _TIME_NAME.search(name)):
        return False
    low, high = (bound.as_py() for bound in pc.min_max(column).values())
    return low is not None and any(1e8 * unit <= low and high <= 5e9 * unit for unit in (1, 1e3, 1e6, 1e9))


def comma_number(column: pa.ChunkedArray | pa.Array) -> str | None:
    """The first number that can only have a decimal comma, in a column of text that seems to hold such numbers; None in any other.

    Where all have three digits after it, the comma may part thousands.

    >>> comma_number(pa.chunked_array([["12", "1.234,5", None]])), comma_number(pa.chunked_array([["1,5", "a, b"]]))
    ('1.234,5', None)
    >>> comma_number(pa.chunked_array([["1,234", "12,500"]]))
    """
    if not _is_text(column.type):
        return None
    sample = [value.strip() for value in _sample(column) if value]
    decimal = (v for v in sample if "," in v and len(v.rpartition(",")[2]) != _THOUSAND_DIGITS)
    return next(decimal, None) if all(map(_COMMA_NUMBER.match, sample)) else None


_THOUSAND_DIGITS: Final = 3


def _judge(name: str, column: pa.ChunkedArray, target: Target) -> Judged:
    kind = column.type
    if column.null_count == len(column):
        return Judged(name, None, _empty(len(column)))
    if is_time(name, column):
        return Judged(name, None, "a time; trees would memorise dates. Derive a feature from it, such as the hour or the weekday")
    if pa.types.is_dictionary(kind) or _is_text(kind) or pa.types.is_boolean(kind):
        return _judge_category(name, column, target)
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        return _judge_number(name, column, target)
    return Judged(name, None, f"its type, {kind}, is neither number, text nor boolean")


def _judge_category(name: str, column: pa.ChunkedArray, target: Target) -> Judged:
    strings = as_strings(column)
    if example := comma_number(strings):
        return Judged(name, None, f"numbers with a decimal comma, such as {example!r}, read as text: write them with a point")
    counts = np.sort(pc.value_counts(strings.drop_null()).field("counts").to_numpy())[::-1]
    missing = strings.null_count
    seen = f"{len(counts):,} {'value' if len(counts) == 1 else 'values'}{_missing(missing, len(strings))}"
    if len(counts) == 1 and not missing:
        return Judged(name, None, "constant: every row holds the same")
    common = min(_MIN_COUNT, max(1, len(strings) // 50))
    frequent = counts[counts >= common]
    # twice as often, because the rows that train are fewer than the table's
    if counts[0] < 2 * common or frequent.sum() < counts.sum() / 2:
        numbers = _is_text(strings.type) and all(_is_number(v) for v in _sample(strings) if v is not None)
        cause = "numbers stored as text: convert it" if numbers else "an identifier or free text"
        return Judged(name, None, f"{seen}, most of them rare: {cause}")
    if len(frequent) > _MAX_CATEGORIES:
        return Judged(name, None, f"{seen}: more than {_MAX_CATEGORIES} frequent ones; group them")
    if leak := _leak(_codes(column), None, target):
        return Judged(name, None, leak)
    return Judged(name, Feature(name=name, type="category"), seen)


def _judge_number(name: str, column: pa.ChunkedArray, target: Target) -> Judged:
    values = numbers_of(column, name)
    known = values[~np.isnan(values)]
    if len(known) == 0:
        return Judged(name, None, _empty(len(values)))
    if (np.abs(known) > LARGEST).any():
        return Judged(name, None, "holds infinite numbers, or ones too large for 32 bits")
    low, high = float(known.min()), float(known.max())
    missing = len(values) - len(known)
    if low == high and not missing:
        return Judged(name, None, f"constant: every row holds {low:g}")
    if pa.types.is_integer(column.type) and _is_identifier(name, known):
        return Judged(name, None, "an identifier: every row has its own number")
    if leak := _leak(_codes(column), values, target):
        return Judged(name, None, leak)
    whole = pa.types.is_integer(column.type)
    note = f"seen {_show(low)} to {_show(high)}{_missing(missing, len(values))}"
    if _CALENDAR_NAME.match(name):
        note += "; a part of the calendar: trees may memorise dates by it, consider leaving it out"
    return Judged(name, Feature(name=name, type="number", range=_readable(widen(low, high, whole=whole))), note)


def widen(low: float, high: float, *, whole: bool) -> tuple[float, float]:
    """A credible range around what was seen: a quarter of its width more on both sides, to two digits of that quarter.

    Numbers that were never negative stay so, and two neighbouring whole numbers (a flag) are the range themselves.

    >>> widen(80.0, 4983.0, whole=True), widen(0.0, 1.0, whole=True), widen(-1.5, 2.5, whole=False)
    ((0.0, 6300.0), (0.0, 1.0), (-2.5, 3.5))
    """
    slack = (high - low) / 4
    if slack < 1e-30 or (whole and high - low <= 1):
        return low, high
    digits = 1 - math.floor(math.log10(slack))
    if whole:
        digits = min(digits, 0)
    wide = _round_out(low - slack, digits, math.floor), _round_out(high + slack, digits, math.ceil)
    below, above = min(wide[0], low), max(wide[1], high)  # a slack smaller than the numbers' own precision may round to nothing
    return (max(below, 0.0) if low >= 0 else below), (min(above, 0.0) if high <= 0 else above)


def _readable(wide: tuple[float, float]) -> tuple[float, float]:
    """A range without the numbers that no model can read."""
    return max(wide[0], -LARGEST), min(wide[1], LARGEST)


def _round_out(value: float, digits: int, towards: Callable[[float], int]) -> float:
    steps = towards(round(value * 10.0**digits, 6))  # 0.1 + 0.2 is three steps of 0.1, not four
    return float(steps / 10.0**digits if digits > 0 else steps * 10.0**-digits)


def _is_identifier(name: str, known: Floats) -> bool:
    if len(np.unique(known)) < len(known) or len(known) < _PROOF_ROWS:
        return False
    return bool(_ID_NAME.search(name)) or known.max() - known.min() + 1 == len(known)


def _leak(codes: _Int, values: Floats | None, target: Target) -> str | None:
    """Why a column gives the label away, or None.

    Nothing is claimed where chance could do it: a class with few rows, or about as many values as rows.
    """
    labelled = target.codes >= 0
    codes, y = codes[labelled], target.codes[labelled]
    classes = np.bincount(y)
    if target.numbers is not None:
        if values is not None and _same_order(values[labelled], target.numbers[labelled]):
            return "leak? it rises and falls exactly with the label"
    elif np.sort(classes)[-2] < _PROOF_ROWS:
        return None
    known = codes >= 0
    if len(classes) == 2 and target.numbers is None and (np.array_equal(known, y == 1) or np.array_equal(known, y == 0)):
        return "leak? it is filled in for one class of the label only"
    codes, y = codes[known], y[known]
    different = len(np.unique(codes))
    if different <= len(codes) / 10 and len(np.unique(y)) > 1 and len(np.unique(codes * len(classes) + y)) == different:
        return "leak? each of its values goes with one value of the label only"
    if target.numbers is None and values is not None and _separates(values[labelled][known], y):
        return "leak? thresholds on it separate the label's classes without an error"
    return None


def _same_order(values: Floats, numbers: Floats) -> bool:
    """Whether one is a strictly monotone function of the other."""
    both = ~np.isnan(values) & ~np.isnan(numbers)
    ranks, label_ranks = (np.unique(side[both], return_inverse=True)[1] for side in (values, numbers))
    if both.sum() < 2 * _PROOF_ROWS or ranks.max() < _PROOF_ROWS or ranks.max() != label_ranks.max():
        return False
    return np.array_equal(ranks, label_ranks) or np.array_equal(ranks, label_ranks.max() - label_ranks)


def _separates(values: Floats, y: _Int) -> bool:
    """Whether sorting by the value leaves each class in one piece."""
    counts = np.bincount(y)
    if np.sort(counts)[-2:].min() < _PROOF_ROWS or (counts > 0).sum() < 2:
        return False
    ordered = y[np.lexsort((y, values))]
    return int((ordered[1:] != ordered[:-1]).sum()) == int((counts > 0).sum()) - 1


def _codes(column: pa.ChunkedArray) -> _Int:
    """Index of each value among the different ones, -1 where missing; int64 of shape (n,)."""
    array = column.combine_chunks()
    if pa.types.is_floating(array.type):
        array = pc.if_else(pc.is_nan(array), None, array)
    if not pa.types.is_dictionary(array.type):
        array = array.dictionary_encode()
    return np.asarray(pc.fill_null(array.indices.cast(pa.int64()), -1).to_numpy(zero_copy_only=False), dtype=np.int64)


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _sample(column: pa.ChunkedArray | pa.Array) -> list[str | None]:
    return list(column.drop_null().slice(0, _SAMPLE).to_pylist())


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _show(value: float) -> str:
    return str(int(value)) if value.is_integer() and abs(value) < 1e15 else f"{value:.6g}"


def _empty(rows: int) -> str:
    return f"missing in all {rows:,} rows: fill it to use it"


def _missing(missing: int, rows: int) -> str:
    if not missing:
        return ""
    share = 100 * missing / rows
    return f", {share:.1f} % missing" if share >= 0.1 else ", a few missing"
