"""What scoring costs: seconds by number of rows, measured on one thread when the bundle was built. Pure reading.

Who measures is `training.composing.measure`. Absolute figures are those of the machine that trained; where it resembles the one
that serves, they decide between backends, between in-process and deployment, and how large a batch may get.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Final, Literal, NamedTuple

import numpy as np

from cluster.records import Record

Part = Literal["student", "ensemble"]
"""A bundle's two scorers."""
WORTH: Final = 0.9
"""Native trees are used from the size on where they cost at most this share of the graph."""


class Machine(Record, frozen=True, kw_only=True):
    """Where it was measured."""

    cores: int
    cpu: str
    """Model name, or the architecture where the system does not tell."""


class Curve(Record, frozen=True, kw_only=True):
    """Seconds of one call by number of rows, at two sizes or more."""

    rows: list[int]
    """Ascending."""
    seconds: list[float]

    def __post_init__(self) -> None:
        if len(self.rows) < 2 or len(self.rows) != len(self.seconds):
            raise ValueError(f"{len(self.rows)} sizes and {len(self.seconds)} costs make no curve")
        if any(a >= b for a, b in pairwise((0, *self.rows))) or min(self.seconds) <= 0:
            raise ValueError("sizes must be positive and ascending, and costs positive")

    def at(self, rows: float) -> float:
        """Seconds for any number of rows: straight lines between what was measured, the last one prolonged.

        >>> curve = Curve(rows=[1, 11, 21], seconds=[1.0, 2.0, 5.0])
        >>> curve.at(0), curve.at(6), curve.at(31)
        (0.0, 1.5, 8.0)
        """
        if rows <= 0:
            return 0.0
        if rows <= self.rows[-1]:
            return float(np.interp(rows, self.rows, self.seconds))
        slope = (self.seconds[-1] - self.seconds[-2]) / (self.rows[-1] - self.rows[-2])
        return self.seconds[-1] + slope * (rows - self.rows[-1])


class Line(NamedTuple):
    """A call's cost as a fixed part and one a row."""

    fixed_s: float
    per_row_s: float


class Costs(Record, frozen=True, kw_only=True):
    """What `costs.json` holds."""

    machine: Machine
    student: Curve
    ensemble: Curve
    native: Curve | None = None
    """The ensemble with XGBoost's own trees; None when the bundle has no such part."""

    @property
    def native_from(self) -> int | None:
        """The number of rows from which on native trees are worth it (`WORTH`); None: never."""
        if self.native is None:
            return None
        sizes = [rows for rows in self.native.rows if rows <= self.ensemble.rows[-1]]
        gains = [WORTH * self.ensemble.at(rows) - self.native.at(rows) for rows in sizes]
        losing = [i for i, gain in enumerate(gains) if gain < 0]
        if not losing:
            return sizes[0]
        last = losing[-1]
        if last == len(sizes) - 1:
            return None
        crossing = sizes[last] + (sizes[last + 1] - sizes[last]) * gains[last] / (gains[last] - gains[last + 1])
        return math.ceil(crossing)

    def seconds(self, part: Part, rows: float) -> float:
        """Seconds of one call with this many rows, by the backend that the bundle would choose."""
        if part == "student":
            return self.student.at(rows)
        native_from = self.native_from
        if self.native is not None and native_from is not None and rows >= native_from:
            return self.native.at(rows)
        return self.ensemble.at(rows)

    def line(self, part: Part) -> Line:
        """The straight line nearest to the costs, in relative error (least squares, each size weighted by 1 / seconds)."""
        sizes = np.array((self.student if part == "student" else self.ensemble).rows, dtype=np.float64)
        seconds = np.array([self.seconds(part, rows) for rows in sizes])
        per_row, fixed = np.polyfit(sizes, seconds, 1, w=1 / seconds)
        return Line(fixed_s=max(0.0, float(fixed)), per_row_s=max(0.0, float(per_row)))
