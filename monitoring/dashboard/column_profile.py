"""A profile of rows that can be exported as JSON and added up: counts, moments, quantiles and frequent items of each column. Pure.

Two profiles of disjoint rows merge into that of all of them. Quantiles go by bins of equal ratio (DDSketch: Masson, Rim & Lee 2019, VLDB 12:2195),
off by at most 1 % of the value; frequent items by Misra and Gries's counters (Agarwal et al. 2013, "Mergeable summaries"), each too low by at most
`undercount`. It is whylogs in kind and not in format: whylogs does not run with numpy 2.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Final

import msgspec
import numpy as np
import pyarrow as pa

from cluster.errors import DataError
from cluster.records import Record
from cluster.schema import FeatureSchema, Floats

FORMAT: Final = "homeostat-profile/1"
ACCURACY: Final = 0.01
MOST_ITEMS: Final = 200
_LOG_RATIO: Final = math.log((1 + ACCURACY) / (1 - ACCURACY))
_QUANTILES: Final = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)


class Numbers(Record, frozen=True, kw_only=True):
    """A column of numbers, of those present."""

    count: int
    missing: int
    mean: float
    squares: float
    """Sum of squared distances from the mean."""
    least: float | None
    most: float | None
    zeros: int
    positive: dict[int, int]
    """Bin i holds r^(i-1) < x <= r^i, r = 1.01 / 0.99."""
    negative: dict[int, int]
    """The same of -x."""

    @property
    def quantiles(self) -> dict[str, float]:
        """Some of them, by share."""
        return {str(share): value for share in _QUANTILES if (value := quantile(self, share)) is not None}


class Items(Record, frozen=True, kw_only=True):
    """A column of categories, of those present."""

    count: int
    missing: int
    items: dict[str, int]
    """The most frequent."""
    undercount: int = 0
    """Each count, and that of an item which is not named, may be too low by this."""


class RowsProfile(Record, frozen=True, kw_only=True):
    """Rows, summarised."""

    format: str = FORMAT
    model: str
    rows: int
    first: float | None
    """Event times of the first and last row, seconds since 1970 UTC."""
    last: float | None
    numbers: dict[str, Numbers]
    categories: dict[str, Items]


def of(rows: pa.Table, schema: FeatureSchema, *, model: str) -> RowsProfile:
    """Profile a history (`cluster.history.read_history`): features and, where it is known, the label."""
    kinds = {feature.name: feature.type for feature in schema.features}
    kinds[schema.label.name] = "number" if schema.label.task == "regression" else "category"
    times = rows.column("event_time").to_numpy()
    return RowsProfile(
        model=model,
        rows=rows.num_rows,
        first=float(times.min()) if len(times) else None,
        last=float(times.max()) if len(times) else None,
        numbers={name: numbers(_floats(rows.column(name))) for name, kind in kinds.items() if kind == "number"},
        categories={name: items(Counter(rows.column(name).to_pylist())) for name, kind in kinds.items() if kind == "category"},
    )


def merge(a: RowsProfile, b: RowsProfile) -> RowsProfile:
    """Both profiles' rows together.

    Raises
    ------
    DataError
        When they have other columns.
    """
    if a.numbers.keys() != b.numbers.keys() or a.categories.keys() != b.categories.keys():
        raise DataError("the two profiles have different columns, so they cannot be merged; profile rows of one schema")
    return RowsProfile(
        model=a.model,
        rows=a.rows + b.rows,
        first=_outer(min, a.first, b.first),
        last=_outer(max, a.last, b.last),
        numbers={name: _add_numbers(one, b.numbers[name]) for name, one in a.numbers.items()},
        categories={name: _add_items(one, b.categories[name]) for name, one in a.categories.items()},
    )


def encode(profile: RowsProfile) -> bytes:
    """As JSON, with quantiles beside the bins they are read from."""
    plain = msgspec.to_builtins(profile, str_keys=True)
    for name, column in profile.numbers.items():
        plain["numbers"][name]["quantiles"] = column.quantiles
    return msgspec.json.format(msgspec.json.encode(plain), indent=1)


def decode(content: bytes) -> RowsProfile:
    """A profile from its JSON.

    Raises
    ------
    DataError
        When it is none of this format.
    """
    try:
        plain = msgspec.json.decode(content)
        for column in plain["numbers"].values():
            column.pop("quantiles", None)
        found = msgspec.convert(plain, RowsProfile, str_keys=True)
    except (msgspec.MsgspecError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"this is no profile of the format {FORMAT}: {error}") from error
    if found.format != FORMAT:
        raise DataError(f"this profile has the format '{found.format}'; this version reads {FORMAT}")
    return found


def numbers(values: Floats) -> Numbers:
    """Summarise float64 (n,); NaN is missing."""
    present = values[np.isfinite(values)]
    mean = float(present.mean()) if len(present) else 0.0
    return Numbers(
        count=len(present),
        missing=len(values) - len(present),
        mean=mean,
        squares=float(((present - mean) ** 2).sum()),
        least=float(present.min()) if len(present) else None,
        most=float(present.max()) if len(present) else None,
        zeros=int((present == 0).sum()),
        positive=_bins(present[present > 0]),
        negative=_bins(-present[present < 0]),
    )


def items(counts: Mapping[str | None, int]) -> Items:
    """Summarise counted values; None is missing."""
    present = {str(value): count for value, count in counts.items() if value is not None}
    return _few(Items(count=sum(present.values()), missing=counts.get(None, 0), items=present))


def quantile(column: Numbers, share: float) -> float | None:
    """The value that this share of the present rows does not exceed, off by at most 1 %; None for an empty column.

    >>> round(quantile(numbers(np.arange(1, 1001, dtype=float)), 0.5) / 500, 2)
    1.0
    """
    rank, seen = share * (column.count - 1), 0
    for value, count in _ordered(column):
        seen += count
        if seen > rank:
            return min(max(value, column.least or value), column.most or value)
    return None


def _ordered(column: Numbers) -> list[tuple[float, int]]:
    """The middle of each bin with its count, by size."""
    below = [(-_middle(i), column.negative[i]) for i in sorted(column.negative, reverse=True)]
    above = [(_middle(i), column.positive[i]) for i in sorted(column.positive)]
    return [*below, (0.0, column.zeros), *above]


def _middle(place: int) -> float:
    """Off by at most `ACCURACY` from each value of the bin."""
    return 2 * math.exp(place * _LOG_RATIO) / (1 + math.exp(_LOG_RATIO))


def _bins(values: Floats) -> dict[int, int]:
    places, counts = np.unique(np.ceil(np.log(values) / _LOG_RATIO).astype(np.int64), return_counts=True)
    return dict(zip(places.tolist(), counts.tolist(), strict=True))


def _add_numbers(a: Numbers, b: Numbers) -> Numbers:
    """Moments by Chan, Golub & LeVeque (1979)."""
    count, gap = a.count + b.count, b.mean - a.mean
    return Numbers(
        count=count,
        missing=a.missing + b.missing,
        mean=a.mean + gap * b.count / max(count, 1),
        squares=a.squares + b.squares + gap**2 * a.count * b.count / max(count, 1),
        least=_outer(min, a.least, b.least),
        most=_outer(max, a.most, b.most),
        zeros=a.zeros + b.zeros,
        positive=dict(Counter(a.positive) + Counter(b.positive)),
        negative=dict(Counter(a.negative) + Counter(b.negative)),
    )


def _add_items(a: Items, b: Items) -> Items:
    both = dict(Counter(a.items) + Counter(b.items))
    return _few(Items(count=a.count + b.count, missing=a.missing + b.missing, items=both, undercount=a.undercount + b.undercount))


def _few(column: Items) -> Items:
    """At most `MOST_ITEMS`: what the first that is left out counts is taken from all."""
    ranked = sorted(column.items.items(), key=lambda item: (-item[1], item[0]))
    if len(ranked) <= MOST_ITEMS:
        return msgspec.structs.replace(column, items=dict(ranked))
    cut = ranked[MOST_ITEMS][1]
    kept = {value: count - cut for value, count in ranked[:MOST_ITEMS] if count > cut}
    return msgspec.structs.replace(column, items=kept, undercount=column.undercount + cut)


def _outer(choose: Callable[[float, float], float], a: float | None, b: float | None) -> float | None:
    return b if a is None else a if b is None else choose(a, b)


def _floats(column: pa.ChunkedArray) -> Floats:
    values: Floats = column.cast(pa.float64()).to_numpy()
    return values
