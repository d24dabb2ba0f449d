from __future__ import annotations

import asyncio
from pathlib import Path

import numpy as np
import pytest

from cluster.bundle import Bundle, CascadeRule
from cluster.errors import Unavailable
from cluster.margin import margin
from cluster.schema import Label, Matrix
from serve_apps.cascade import ENSEMBLE, STUDENT, UNANSWERED, Answer, AskEnsemble, answer, needs_ensemble
from tests.builders import make_bundle

LABEL = Label(name="late", classes=(0, 1), threshold=0.25)
MATRIX = np.array([[0, 0, 0], [5000, 0, 0], [np.nan, 30, 0], [10, 1, 1]], dtype=np.float32)


def rule(threshold: float) -> CascadeRule:
    return CascadeRule(threshold=threshold, max_disagreement=0.02, confidence=0.95, student_share=0.5, disagreement=0.01)


def load(tmp_path: Path, threshold: float) -> Bundle:
    make_bundle(tmp_path / "bundle", threshold=threshold)
    return Bundle(tmp_path / "bundle", version="7")


def answered(bundle: Bundle, ask: AskEnsemble, *, degrade: bool = True) -> Answer:
    return asyncio.run(answer(bundle, bundle.student(MATRIX), MATRIX, ask, budget_s=1.5, degrade=degrade))


@pytest.mark.parametrize("threshold", [0.0, 0.3, 0.5, 1.0])
def test_the_rows_that_need_the_ensemble_are_those_whose_margin_is_below_the_rule(threshold: float) -> None:
    scores = np.linspace(0, 1, 101, dtype=np.float32).reshape(-1, 1)
    np.testing.assert_array_equal(needs_ensemble(LABEL, rule(threshold), scores), margin(LABEL, scores) < threshold)


def test_a_threshold_of_0_asks_for_no_row_and_one_above_1_for_all() -> None:
    scores = np.array([[0.0], [0.25], [1.0]], dtype=np.float32)
    assert needs_ensemble(LABEL, rule(0.0), scores).tolist() == [False, False, False]
    assert needs_ensemble(LABEL, rule(1.5), scores).tolist() == [True, True, True]


def test_only_hard_rows_go_to_the_ensemble_of_the_same_version_and_come_back_in_place(tmp_path: Path) -> None:
    bundle = load(tmp_path, 0.5)
    asked: list[tuple[str, Matrix, float]] = []

    async def ask(bundle: Bundle, matrix: Matrix, budget_s: float) -> Matrix:
        asked.append((bundle.version, matrix, budget_s))
        return bundle.ensemble(matrix)

    found = answered(bundle, ask)
    hard = margin(bundle.schema.label, bundle.student(MATRIX)) < 0.5
    assert hard.tolist() == [True, False, False, True]
    ((version, matrix, budget_s),) = asked
    assert (version, budget_s) == ("7", 1.5)
    np.testing.assert_array_equal(matrix, MATRIX[hard])
    assert found.answered_by.tolist() == [ENSEMBLE, STUDENT, STUDENT, ENSEMBLE]
    np.testing.assert_array_equal(found.scores[hard], bundle.ensemble(MATRIX[hard]))
    np.testing.assert_array_equal(found.scores[~hard], bundle.student(MATRIX)[~hard])


def test_when_the_student_is_sure_nobody_is_asked(tmp_path: Path) -> None:
    async def ask(bundle: Bundle, matrix: Matrix, budget_s: float) -> Matrix:
        raise AssertionError("the ensemble was asked")

    found = answered(load(tmp_path, 0.0), ask)
    assert found.answered_by.tolist() == [STUDENT] * 4


def test_an_ensemble_that_does_not_answer_costs_accuracy_and_not_the_answer(tmp_path: Path) -> None:
    async def ask(bundle: Bundle, matrix: Matrix, budget_s: float) -> Matrix:
        raise Unavailable("not in time")

    bundle = load(tmp_path, 0.5)
    found = answered(bundle, ask)
    assert found.answered_by.tolist() == [UNANSWERED, STUDENT, STUDENT, UNANSWERED]
    np.testing.assert_array_equal(found.scores, bundle.student(MATRIX))


def test_where_the_student_may_not_stand_in_no_answer_is_given(tmp_path: Path) -> None:
    async def ask(bundle: Bundle, matrix: Matrix, budget_s: float) -> Matrix:
        raise Unavailable("not in time")

    with pytest.raises(Unavailable, match="not in time"):
        answered(load(tmp_path, 0.5), ask, degrade=False)
