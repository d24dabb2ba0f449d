"""The weak slices that a bundle's evaluation found, read back from the sentence that states them. Pure.

`training.judging.slice_search` writes the sentences. One that it shortened ("and 3 more") cannot be read back, and is not watched.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from cluster.schema import FeatureSchema, Matrix

Flags = npt.NDArray[np.bool_]
Test = Callable[[Matrix], Flags]
MOST: Final = 5
"""Slices of a bundle that are watched: the costliest, as its evaluation orders them."""
_NUMBER: Final = r"[-+0-9.e]+"


class Slice(NamedTuple):
    """A condition on encoded rows."""

    where: str
    """For a person: "carrier in {HA, F9} and visib <= 3.2"."""
    tests: tuple[Test, ...]

    def holds(self, matrix: Matrix) -> Flags:
        """Which rows of float32 (n, features) it means, bool of shape (n,)."""
        return np.asarray(np.logical_and.reduce([test(matrix) for test in self.tests]))


def parse(where: str, schema: FeatureSchema) -> Slice | None:
    """A slice from its sentence; None when it cannot be read, or speaks of a column the model does not see.

    >>> from cluster.schema import Feature, Label
    >>> schema = FeatureSchema(features=(Feature(name="visib", type="number"),), label=Label(name="late", classes=(0, 1)))
    >>> parse("1.5 < visib <= 3.2 or missing", schema).holds(np.array([[1.5], [3.0], [np.nan]], dtype=np.float32)).tolist()
    [False, True, True]
    """
    tests = [_test(part.removeprefix("(").removesuffix(")") if part.startswith("(") else part, schema) for part in where.split(" and ")]
    known = tuple(test for test in tests if test is not None)
    return Slice(where, known) if len(known) == len(tests) else None


def parse_all(found: Iterable[str], schema: FeatureSchema) -> tuple[Slice, ...]:
    """The first few that can be read."""
    return tuple(slice_ for where in found if (slice_ := parse(where, schema)) is not None)[:MOST]


def _test(part: str, schema: FeatureSchema) -> Test | None:
    for j, feature in enumerate(schema.features):
        name = re.escape(feature.name)
        if feature.categories is not None:
            if match := re.fullmatch(rf"{name} (not )?in \{{(.*)\}}", part):
                return partial(_listed, j, _codes(match[2], feature.categories), bool(match[1]))
        elif match := re.fullmatch(rf"(?:({_NUMBER}) < )?{name} <= ({_NUMBER})( or missing)?", part):
            return partial(_between, j, float(match[1] or "-inf"), float(match[2]), bool(match[3]))
        elif match := re.fullmatch(rf"{name} > ({_NUMBER})( or missing)?", part):
            return partial(_between, j, float(match[1]), np.inf, bool(match[2]))
        elif match := re.fullmatch(rf"{name} is (known|anything|missing)", part):
            return partial(_between, j, np.inf if match[1] == "missing" else -np.inf, np.inf, match[1] != "known")
    return None


def _codes(listed: str, categories: tuple[str, ...]) -> tuple[float, ...]:
    names = {name: float(code) for code, name in enumerate(categories)} | {"(unknown)": float(len(categories)), "(missing)": np.nan}
    return tuple(code for name, code in names.items() if f", {name}, " in f", {listed}, ")


def _listed(j: int, codes: tuple[float, ...], is_turned: bool, matrix: Matrix) -> Flags:
    values = matrix[:, j]
    inside = np.isin(values, np.array(codes, dtype=np.float32)) | (np.isnan(values) & np.isnan(codes).any())
    return np.asarray(inside != is_turned)


def _between(j: int, low: float, high: float, with_missing: bool, matrix: Matrix) -> Flags:
    values = matrix[:, j]
    return np.asarray(((values > low) & (values <= high)) | (np.isnan(values) & with_missing))


def flags(slices: Sequence[Slice], matrix: Matrix) -> Flags:
    """Which rows of float32 (n, features) are of which slice, bool (n, slices)."""
    return np.column_stack([slice_.holds(matrix) for slice_ in slices]) if slices else np.zeros((len(matrix), 0), np.bool_)
