from __future__ import annotations

import numpy as np
import pytest

from cluster.errors import NotEnoughData
from cluster.schema import Matrix, Task
from tests.unit.training.tables import rows_of, schema_of
from training.explaining.surrogate import Condition, Rule, describe, imitate


def holds(condition: Condition, value: float) -> bool:
    """A condition by its own words, for a code or a number of `schema_of`."""
    if np.isnan(value):
        return condition.missing
    if not condition.known:
        return False
    if condition.categories is not None:
        return [*"ABCDE", "(unknown)"][int(value)] in condition.categories
    lower = -np.inf if condition.lower is None else condition.lower
    upper = np.inf if condition.upper is None else condition.upper
    return bool(lower < value <= upper)


def meets(rule: Rule, row: Matrix) -> bool:
    return all(holds(c, float(row[schema_of("binary").names.index(c.feature)])) for c in rule.conditions)


def carriers(matrix: Matrix) -> Matrix:
    """A scorer: 0.9 for carriers D, E and unknown, 0.2 for the others and for missing."""
    return np.where(matrix[:, 1:2] > 2.5, 0.9, 0.2).astype(np.float32)


def test_codes_are_told_as_sets_of_categories() -> None:
    X = rows_of("binary", 600).X
    found = imitate(schema_of("binary"), X, carriers(X), rng=np.random.default_rng(0), max_depth=1)
    told = {describe(rule.conditions[0]): rule for rule in found.rules}
    assert list(told) == ["carrier in {A, B, C} or missing", "carrier in {D, E, (unknown)}"]
    assert told["carrier in {D, E, (unknown)}"].scores == pytest.approx([0.9])
    assert told["carrier in {D, E, (unknown)}"].decision == "1"
    assert found.r2 == pytest.approx(1)
    assert found.agreement == 1
    assert found.constant_agreement == pytest.approx(0.55, abs=0.06)


@pytest.mark.parametrize("task", ["binary", "multiclass", "regression"])
def test_every_row_meets_the_words_of_exactly_one_rule(task: Task) -> None:
    X = rows_of(task, 400).X
    steep = 1 / (1 + np.exp(-np.nan_to_num(X[:, :1], nan=2.0) - np.nan_to_num(X[:, 1:2], nan=-3.0)))
    scores = np.column_stack([steep, 1 - steep, 0 * steep]) if task == "multiclass" else steep
    found = imitate(schema_of(task), X, scores.astype(np.float32), rng=np.random.default_rng(0))
    assert [sum(meets(rule, row) for rule in found.rules) for row in X] == [1] * len(X)
    shares = [np.mean([meets(rule, row) for row in X]) for rule in found.rules]
    assert [rule.share for rule in found.rules] == pytest.approx(shares)
    assert found.depth == 4
    assert len(found.rules[0].scores) == scores.shape[1]
    assert (found.agreement is None) is (task == "regression")
    assert found.r2 is not None
    assert found.r2 > 0.6


def test_a_tree_on_missing_alone_says_so() -> None:
    X = rows_of("binary", 2000).X
    scores = np.where(np.isnan(X[:, 2:3]), 0.9, 0.1).astype(np.float32)
    found = imitate(schema_of("binary"), X, scores, rng=np.random.default_rng(0), max_depth=1)
    assert [describe(rule.conditions[0]) for rule in found.rules] == ["miles is known", "miles is missing"]


def test_fidelity_is_measured_on_rows_the_tree_was_not_fitted_on() -> None:
    rng = np.random.default_rng(0)
    X = rows_of("binary", 400).X
    found = imitate(schema_of("binary"), X, rng.random((400, 1)).astype(np.float32), rng=rng)
    assert found.r2 is not None
    assert found.r2 < 0.05
    assert found.fitted_rows == found.checked_rows == 200


def test_equal_scores_need_no_rule() -> None:
    X = rows_of("binary", 100).X
    found = imitate(schema_of("binary"), X, np.full((100, 1), 0.25, dtype=np.float32), rng=np.random.default_rng(0))
    assert (found.r2, found.depth, len(found.rules)) == (None, 0, 1)
    assert found.rules[0].conditions == []


def test_few_rows_are_refused() -> None:
    X = rows_of("binary", 39).X
    with pytest.raises(NotEnoughData, match="at least 40 rows, half to fit and half to check; found 39"):
        imitate(schema_of("binary"), X, carriers(X), rng=np.random.default_rng(0))


@pytest.mark.parametrize(
    ("condition", "words"),
    [
        (Condition(feature="wind", lower=1.23456), "wind > 1.235"),
        (Condition(feature="wind", upper=2.0, missing=True), "wind ≤ 2 or missing"),
        (Condition(feature="wind", known=False, missing=True), "wind is missing"),
        (Condition(feature="carrier", categories=list("ABCD")), "carrier in {A, B, …}"),
    ],
)
def test_a_condition_reads_like_a_sentence(condition: Condition, words: str) -> None:
    assert describe(condition, most=2) == words
