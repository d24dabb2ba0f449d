"""The surrogate: one small tree that imitates a scorer, with how well it does so and its rules in words. Pure.

A rule is as true as the tree is faithful: fidelity is measured on rows that the tree was not fitted on, beside what a
constant answer would reach.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Final, NamedTuple

import numpy as np
from sklearn.metrics import r2_score
from sklearn.tree import DecisionTreeRegressor

from cluster.errors import NotEnoughData
from cluster.explaining.rules import UNKNOWN
from cluster.explaining.rules import Condition as Condition
from cluster.explaining.rules import Rule as Rule
from cluster.explaining.rules import Surrogate as Surrogate
from cluster.explaining.rules import describe as describe
from cluster.schema import Feature, FeatureSchema, Floats, Label, Matrix, decide

FEWEST_ROWS: Final = 40
"""Half of them to fit, half to check."""
_LEAST_LEAF: Final = 20


def imitate(schema: FeatureSchema, matrix: Matrix, scores: Matrix, *, rng: np.random.Generator, max_depth: int = 4) -> Surrogate:
    """Fit a tree to scores on half of the rows and check it on the others (Craven & Shavlik 1996 call this fidelity).

    Parameters
    ----------
    matrix
        float32 of shape (n, features).
    scores
        float32 of shape (n, width), of the scorer that is imitated.

    Raises
    ------
    NotEnoughData
        With fewer than 40 rows.
    """
    n = len(matrix)
    if n < FEWEST_ROWS:
        raise NotEnoughData(f"a surrogate needs at least {FEWEST_ROWS} rows, half to fit and half to check; found {n}")
    order = rng.permutation(n)
    fit, check = order[: n // 2], order[n // 2 :]
    tree = DecisionTreeRegressor(max_depth=max_depth, min_samples_leaf=max(_LEAST_LEAF, n // 200), random_state=int(rng.integers(2**31)))
    tree.fit(matrix[fit], scores[fit].astype(np.float64))
    given = np.asarray(tree.predict(matrix[check]), dtype=np.float64).reshape(len(check), -1)
    true = scores[check].astype(np.float64)
    agreement, constant = _agreement(schema.label, given, true)
    return Surrogate(
        depth=int(tree.get_depth()),
        fitted_rows=len(fit),
        checked_rows=len(check),
        r2=float(r2_score(true, given, multioutput="variance_weighted")) if np.ptp(true, axis=0).any() else None,
        agreement=agreement,
        constant_agreement=constant,
        rules=list(_rules(schema, tree, matrix)),
    )


def _agreement(label: Label, given: Floats, true: Floats) -> tuple[float | None, float | None]:
    if label.task == "regression":
        return None, None
    wanted = np.array([str(v) for v in decide(label, true)])
    agreed = np.array([str(v) for v in decide(label, given)]) == wanted
    _, counts = np.unique(wanted, return_counts=True)
    return float(agreed.mean()), float(counts.max() / len(wanted))


class _Span(NamedTuple):
    """What is left of a feature's values on the way down."""

    lower: float = -math.inf
    upper: float = math.inf
    missing: bool = True

    def left(self, threshold: float, *, missing: bool) -> _Span:
        return _Span(self.lower, min(self.upper, threshold), self.missing and missing)

    def right(self, threshold: float, *, missing: bool) -> _Span:
        return _Span(max(self.lower, threshold), self.upper, self.missing and missing)


def _rules(schema: FeatureSchema, fitted: DecisionTreeRegressor, matrix: Matrix) -> Iterator[Rule]:
    tree = fitted.tree_
    leaves = fitted.apply(matrix)
    pending: list[tuple[int, dict[int, _Span]]] = [(0, {})]
    while pending:
        node, spans = pending.pop()
        if tree.children_left[node] < 0:
            scores = tree.value[node][:, 0].astype(np.float64)
            yield Rule(
                conditions=[_condition(schema.features[j], span) for j, span in spans.items()],
                scores=scores.tolist(),
                decision=str(decide(schema.label, scores[None, :])[0]) if schema.label.task != "regression" else "",
                share=float((leaves == node).mean()),
            )
            continue
        j, threshold = int(tree.feature[node]), float(tree.threshold[node])
        span, missing_left = spans.get(j, _Span()), bool(tree.missing_go_to_left[node])
        pending.append((int(tree.children_right[node]), spans | {j: span.right(threshold, missing=not missing_left)}))
        pending.append((int(tree.children_left[node]), spans | {j: span.left(threshold, missing=missing_left)}))


def _condition(feature: Feature, span: _Span) -> Condition:
    """In the feature's own words: a category's codes are places in its list, and the one after the last is unknown."""
    known = span.lower < math.inf  # sklearn parts missing from known values by an infinite threshold
    if feature.categories is None:
        lower, upper = (None if math.isinf(bound) else bound for bound in (span.lower, span.upper))
        return Condition(feature=feature.name, lower=lower, upper=upper, known=known, missing=span.missing)
    names = [*feature.categories, UNKNOWN]
    within = [name for code, name in enumerate(names) if span.lower < code <= span.upper]
    return Condition(feature=feature.name, categories=within if known else [], known=bool(within) and known, missing=span.missing)
