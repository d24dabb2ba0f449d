"""Groups of rows by protected attributes: their names, and which are large enough to speak of. Pure; knows no model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Final

import numpy as np
import numpy.typing as npt
import pandas as pd

from cluster.schema import canonical
from monitoring.tallies import Index

MISSING: Final = "missing"
"""The group of rows whose attribute is not known."""
POOLED: Final = "(small groups)"
"""All groups that are too small, together."""


@dataclass(frozen=True)
class Groups:
    """One attribute, or several crossed."""

    name: str
    names: list[str]
    codes: Index
    """Of shape (n,): which of `names` a row is of."""

    @classmethod
    def of(cls, name: str, values: npt.ArrayLike) -> Groups:
        """The groups of an attribute given as strings (n,); None, NaN and "" are `missing`.

        >>> Groups.of("sex", ["f", None, "m", "f", ""]).names
        ['f', 'm', 'missing']
        """
        codes, uniques = pd.factorize(np.asarray(values, dtype=object))
        found = [canonical(value) or MISSING for value in uniques] + [MISSING] * int((codes < 0).any())  # a missing value's code is -1
        names = sorted(set(found), key=lambda text: (text == MISSING, text))
        return cls(name, names, np.array([names.index(text) for text in found], dtype=np.intp)[codes])

    def crossed(self, other: Groups) -> Groups:
        """The combinations that occur: "sex x race", with "female & black"."""
        cells, codes = np.unique(self.codes * len(other.names) + other.codes, return_inverse=True)
        pairs = [divmod(int(cell), len(other.names)) for cell in cells]
        names = [f"{self.names[i]} & {other.names[j]}" for i, j in pairs]
        return Groups(f"{self.name} x {other.name}", names, np.asarray(codes, dtype=np.intp))

    def split(self, least: int) -> Split:
        """Groups of at least that many rows by size, and the others pooled."""
        sizes = np.bincount(self.codes, minlength=len(self.names))
        order = np.argsort(-sizes, kind="stable")
        judged = [int(i) for i in order if sizes[i] >= least]
        small = {self.names[i]: int(sizes[i]) for i in order if sizes[i] < least}
        place = np.full(len(self.names), len(judged), dtype=np.intp)
        place[judged] = range(len(judged))
        return Split(self.name, [self.names[i] for i in judged], small, place[self.codes])


@dataclass(frozen=True)
class Split:
    """Groups that are large enough, and the rest."""

    name: str
    judged: list[str]
    """By number of rows, the largest first."""
    small: dict[str, int]
    """Rows of each of the others."""
    codes: Index
    """Of shape (n,): which of `names` a row is of."""

    @property
    def names(self) -> list[str]:
        """Judged groups, and the pooled rest where there is one."""
        return [*self.judged, POOLED] if self.small else self.judged

    @property
    def pairs(self) -> int:
        """Pairs of judged groups."""
        return len(self.judged) * (len(self.judged) - 1) // 2


def cross(parts: Sequence[Groups]) -> Groups:
    """All of them crossed; at least one."""
    return reduce(Groups.crossed, parts)
