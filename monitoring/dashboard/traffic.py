"""How much was answered, and how fast, a minute at a time: counts and latencies of the access log that can be added up. Pure.

Latencies are kept as counts in bins, twenty to a decade, so that a quantile is off by at most 6 %.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

_MINUTE: Final = 60
_LEAST_S: Final = 1e-5
_A_DECADE: Final = 20
_BINS: Final = 7 * _A_DECADE  # up to 100 s
_ANSWERED, _REFUSED, _FAILED, _KINDS = 0, 1, 2, 3
Counts = npt.NDArray[np.int64]


class Line(msgspec.Struct):
    """What is read of a line of the access log; it holds more."""

    time: float
    status: int
    seconds: float
    bundle: str = ""


class Minute(NamedTuple):
    """One minute, or several."""

    start: float
    """Seconds since 1970."""
    answered: int
    """Requests whose rows were answered."""
    refused: int
    """Statuses 400 to 499: the caller's fault."""
    failed: int
    """Statuses from 500: ours."""
    p50_s: float | None
    p99_s: float | None


@dataclass
class Traffic:
    """Minutes that can be added up.

    >>> traffic = Traffic()
    >>> traffic.take([Line(time=61.0, status=200, seconds=0.004, bundle="1"), Line(time=62.0, status=503, seconds=0.1)])
    >>> [(m.start, m.answered, m.failed) for m in traffic.minutes(0, 180)]
    [(0, 0, 0), (60, 1, 1), (120, 0, 0)]
    """

    counts: dict[int, Counts] = field(default_factory=dict)
    """By minute since 1970: answered, refused and failed requests, then the bins of the answered ones' latency."""

    def take(self, lines: Iterable[Line]) -> None:
        """Count lines; requests that answered no row and failed at nothing (health, pages) are none of a model's traffic."""
        for line in lines:
            kind = _FAILED if line.status >= 500 else _REFUSED if line.status >= 400 else _ANSWERED if line.bundle else None
            if kind is None:
                continue
            minute = int(line.time // _MINUTE)
            if minute not in self.counts:
                self.counts[minute] = np.zeros(_KINDS + _BINS, np.int64)
            self.counts[minute][kind] += 1
            if kind == _ANSWERED:
                self.counts[minute][_KINDS + _bin(line.seconds)] += 1

    def forget(self, before: float) -> None:
        """Drop the minutes that ended before a time."""
        for minute in [minute for minute in self.counts if (minute + 1) * _MINUTE <= before]:
            del self.counts[minute]

    def minutes(self, since: float, until: float, *, step: int = 1) -> list[Minute]:
        """All minutes from `since` to `until`, `step` of them together, those without requests as well."""
        first, last = int(since // _MINUTE), math.ceil(until / _MINUTE)
        return [_minute(start * _MINUTE, self._sum(start, min(start + step, last))) for start in range(first, last, step)]

    def total(self, since: float, until: float) -> Minute:
        """All of a span as one."""
        if not self.counts:
            return _minute(0.0, np.zeros(_KINDS + _BINS, np.int64))
        first, last = (
            int(max(since, min(self.counts) * _MINUTE) // _MINUTE),
            math.ceil(min(until, (max(self.counts) + 1) * _MINUTE) / _MINUTE),
        )
        return _minute(first * _MINUTE, self._sum(first, last))

    def span(self) -> tuple[float, float] | None:
        """From the first minute to the end of the last; None without any."""
        return (min(self.counts) * _MINUTE, (max(self.counts) + 1) * _MINUTE) if self.counts else None

    def _sum(self, first: int, last: int) -> Counts:
        whole = np.zeros(_KINDS + _BINS, np.int64)
        inside = range(first, last) if last - first < len(self.counts) else [m for m in self.counts if first <= m < last]
        for minute in inside:
            if minute in self.counts:
                whole += self.counts[minute]
        return whole


def _bin(seconds: float) -> int:
    place = math.log10(max(seconds, _LEAST_S) / _LEAST_S) * _A_DECADE
    return min(int(place), _BINS - 1)


def _minute(start: float, counts: Counts) -> Minute:
    bins = counts[_KINDS:]
    answered, refused, failed = (int(n) for n in counts[:_KINDS])
    return Minute(start, answered, refused, failed, _quantile(bins, 0.5), _quantile(bins, 0.99))


def _quantile(bins: Counts, share: float) -> float | None:
    """The middle of the bin that holds a quantile."""
    if not (total := int(bins.sum())):
        return None
    place = int(np.searchsorted(np.cumsum(bins), share * total))
    return float(_LEAST_S * 10 ** ((place + 0.5) / _A_DECADE))
