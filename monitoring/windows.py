"""What is held of a window until it has been judged: its sums, a sample, and the rows that wait for their labels. Plain data."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from cluster.schema import Floats, Matrix, Scalar, canonical
from monitoring.closings import Stamps
from monitoring.impossible import First
from monitoring.marks import Marks
from monitoring.samples import Sample
from monitoring.sketches import Summary
from monitoring.slices import Flags

LOOKS: Final = ("drift", "performance")
_MOST_NAMES: Final = 1000
"""Different values of a protected column that are told apart; far more than are compared."""
Index = npt.NDArray[np.intp]


class Key(NamedTuple):
    """A window of one bundle."""

    start: float
    bundle: str


@dataclass
class Window:
    """What is gathered of one window."""

    rows: int = 0
    by_ensemble: int = 0
    """Of them, rows that the ensemble answered."""
    summary: Summary | None = None
    sample: Sample | None = None
    firsts: dict[str, First] = field(default_factory=dict)
    """By rule that is broken (`monitoring.impossible`), the earliest row."""
    blocks: list[tuple[Block, Index]] = field(default_factory=list)
    """Where its rows are kept until their labels are due."""


@dataclass
class Block:
    """Rows that were encoded together; request ids point into it."""

    bundle: str
    scores: Matrix
    y: dict[str, Floats]
    """By look, each row's label as far as it was received before the row's window closed for that look."""
    received_ns: dict[str, Stamps]
    """When that label was received; the last one counts."""
    sketched: Flags
    """Which rows were there in time for the look `drift`."""
    starts: Floats
    """Start of each row's window."""
    marks: Marks
    groups: dict[str, npt.NDArray[np.int32]]
    """By protected column, the number of each row's group."""
    slices: Flags
    """Which of the bundle's slices each row is of, bool (n, slices)."""
    requests: list[str]
    windows: set[Key]


class Rows(NamedTuple):
    """The rows of one window, in the order of their marks."""

    scores: Matrix
    """float32 (n, width)."""
    y: Floats
    """float64 (n,), NaN where no label has come."""
    groups: dict[str, npt.NDArray[np.object_]]
    """By protected column, the group of each row; None where it is not known."""
    slices: Flags
    """bool (n, slices), in the order of the bundle's."""


class Names:
    """Numbers for the values of protected columns."""

    def __init__(self) -> None:
        self._known: dict[str, dict[str | None, int]] = defaultdict(dict)

    def codes(self, column: str, values: Sequence[Scalar]) -> npt.NDArray[np.int32]:
        """Of each value; beyond so many different ones, the number of the last."""
        known = self._known[column]
        codes = np.empty(len(values), np.int32)
        for i, value in enumerate(values):
            text = canonical(value)
            code = known.get(text)
            if code is None:
                code = known.setdefault(text, len(known)) if len(known) < _MOST_NAMES else _MOST_NAMES - 1
            codes[i] = code
        return codes

    def values(self, column: str, codes: npt.NDArray[np.int32]) -> npt.NDArray[np.object_]:
        """What the numbers stand for."""
        return np.array(list(self._known[column]), dtype=object)[codes]


def rows_of(window: Window, look: str, names: Names) -> Rows | None:
    """A window's rows with what was known of them when it closed for this look; None when there are none."""
    kept = window.blocks
    if look == "drift":
        kept = [(b, i[b.sketched[i]]) for b, i in kept]
    if not sum(len(i) for _, i in kept):
        return None
    order = np.argsort(np.concatenate([b.marks[i] for b, i in kept]), kind="stable")
    codes = {name: np.concatenate([b.groups[name][i] for b, i in kept])[order] for name in kept[0][0].groups}
    return Rows(
        np.concatenate([b.scores[i] for b, i in kept])[order],
        np.concatenate([b.y[look][i] for b, i in kept])[order],
        {name: names.values(name, found) for name, found in codes.items()},
        np.concatenate([b.slices[i] for b, i in kept])[order],
    )
