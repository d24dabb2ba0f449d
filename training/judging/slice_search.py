"""Candidate slices: conditions on features under which losses are high, from shallow trees and single categories.

Only suggests; `training.judging.slices` tests what is suggested on other rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt
from sklearn.tree import DecisionTreeRegressor

from cluster.schema import Feature, FeatureSchema, Floats, Matrix
from training.judging.conditions import UNKNOWN, Flags

Texts = npt.NDArray[np.str_] | npt.NDArray[np.object_]
Source = Literal["tree", "category", "protected"]
_DEPTH: Final = 3
_TREES: Final = 4
_ALIKE: Final = 0.8  # Jaccard: two slices that share so many rows are one
_MOST_NAMES: Final = 12  # of a category, in a condition
MISSING: Final = "(missing)"
"""How a missing category is shown."""
_LIMIT: Final = float(np.finfo(np.float32).max)


@dataclass(frozen=True)
class Bound:
    """A feature's value lies in (low, high], or is missing where that counts as inside."""

    column: int
    low: float
    high: float
    missing: bool

    def holds(self, matrix: Matrix) -> Flags:
        """Which rows it means, bool of shape (n,)."""
        values = matrix[:, self.column]
        return np.asarray(((values > self.low) & (values <= self.high)) | (np.isnan(values) & self.missing))

    def text(self, feature: Feature) -> str:
        """In a person's words.

        >>> Bound(0, -np.inf, 3.2, True).text(Feature(name="visib", type="number"))
        'visib <= 3.2 or missing'
        """
        if feature.categories is not None:
            return self._categories(feature.name, [*feature.categories, UNKNOWN])
        low, high = f"{self.low:.6g}", f"{self.high:.6g}"
        if self.low == -np.inf and self.high == np.inf:
            return f"{feature.name} is {'anything' if self.missing else 'known'}"
        shown = f"{feature.name} <= {high}" if self.low == -np.inf else f"{feature.name} > {low}"
        shown = f"{low} < {feature.name} <= {high}" if self.low > -np.inf and self.high < np.inf else shown
        return f"{shown} or missing" if self.missing else shown

    def _categories(self, feature: str, names: list[str]) -> str:
        """The shorter of what is inside and what is not."""
        within = [self.low < code <= self.high for code in range(len(names))]
        inside = [name for name, is_in in zip(names, within, strict=True) if is_in] + [MISSING] * self.missing
        outside = [name for name, is_in in zip(names, within, strict=True) if not is_in] + [MISSING] * (not self.missing)
        listed, word = (inside, "in") if len(inside) <= len(outside) else (outside, "not in")
        more = [f"and {len(listed) - _MOST_NAMES} more"] if len(listed) > _MOST_NAMES else []
        return f"{feature} {word} {{{', '.join([*listed[:_MOST_NAMES], *more])}}}"


@dataclass(frozen=True)
class Candidate:
    """A slice that may be weak."""

    where: str
    features: tuple[str, ...]
    source: Source
    rows: Flags
    """Which of all rows it means, bool of shape (n,)."""


def from_trees(schema: FeatureSchema, matrix: Matrix, losses: Floats, half: Flags, *, least: int, seed: int) -> list[Candidate]:
    """Nodes of shallow trees fitted on the losses of one half; each tree lacks the features that earlier ones split first.

    Parameters
    ----------
    matrix
        float32 of shape (n, features).
    losses
        float64 of shape (n,).
    half
        The rows to fit on, bool of shape (n,).
    least
        Rows of the smallest node.
    """
    found: list[Candidate] = []
    clipped = np.clip(matrix, -_LIMIT, _LIMIT)  # the trees refuse what is infinite
    left = list(range(matrix.shape[1]))
    for _ in range(min(_TREES, matrix.shape[1])):
        fitted = DecisionTreeRegressor(max_depth=_DEPTH, min_samples_leaf=least, random_state=seed).fit(
            clipped[half][:, left], losses[half]
        )
        if fitted.tree_.node_count == 1:
            break
        for bounds in _nodes(fitted.tree_, clipped[half], left):
            rows = np.logical_and.reduce([bound.holds(clipped) for bound in bounds])
            named = [(schema.features[bound.column], bound) for bound in bounds]
            texts = [bound.text(feature) for feature, bound in named]
            where = " and ".join(f"({text})" if " or " in text and len(texts) > 1 else text for text in texts)
            found.append(Candidate(where, tuple(feature.name for feature, _ in named), "tree", rows))
        left.remove(left[int(fitted.tree_.feature[0])])
        if not left:
            break
    return found


def from_categories(schema: FeatureSchema, matrix: Matrix, protected: Mapping[str, Texts]) -> list[Candidate]:
    """One slice a category, and one a group of each protected column."""
    found: list[Candidate] = []
    for j, feature in enumerate(schema.features):
        if feature.categories is not None and feature.name not in protected:
            for code, name in enumerate([*feature.categories, UNKNOWN]):
                found.append(Candidate(f"{feature.name} in {{{name}}}", (feature.name,), "category", matrix[:, j] == code))
            found.append(Candidate(f"{feature.name} in {{{MISSING}}}", (feature.name,), "category", np.isnan(matrix[:, j])))
    for attribute, groups in protected.items():
        texts = np.array([MISSING if text is None else str(text) for text in groups.tolist()])
        names = np.unique(texts).tolist()
        found += [Candidate(f"{attribute} in {{{name}}}", (attribute,), "protected", texts == name) for name in names]
    return found


def distinct(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Without those that mean nearly the rows of an earlier one."""
    kept: list[Candidate] = []
    for candidate in candidates:
        if all(_shared(candidate.rows, other.rows) < _ALIKE for other in kept):
            kept.append(candidate)
    return kept


def _shared(one: Flags, other: Flags) -> float:
    return float((one & other).sum() / max(1, (one | other).sum()))


def _nodes(tree: Any, matrix: Matrix, columns: Sequence[int]) -> Iterator[list[Bound]]:
    """The bounds of every node but the root."""
    lefts, rights = tree.children_left, tree.children_right
    splits, cuts, missing_left = tree.feature, tree.threshold, tree.missing_go_to_left
    has_missing: Flags = np.asarray(np.isnan(matrix).any(axis=0))
    waiting: list[tuple[int, dict[int, Bound]]] = [(0, {})]
    while waiting:
        node, path = waiting.pop()
        if node:
            yield [path[column] for column in sorted(path)]
        if lefts[node] == -1:
            continue
        column, cut = columns[splits[node]], float(cuts[node])
        before = path.get(column, Bound(column, -np.inf, np.inf, bool(has_missing[column])))
        goes_left = bool(missing_left[node])
        left = Bound(column, before.low, min(before.high, cut), before.missing and goes_left)
        right = Bound(column, max(before.low, cut), before.high, before.missing and not goes_left)
        waiting += [(int(rights[node]), path | {column: right}), (int(lefts[node]), path | {column: left})]
