from __future__ import annotations

import numpy as np
import pytest

from cluster.schema import Feature, Task
from tests.unit.training.tables import schema_of
from training.composing.measure import Scorer
from training.judging.edge_cases import MOST_CASES, EdgeCases, edge_cases, survive


def sound(matrix):
    """A proper probability whatever the row."""
    return (1 / (1 + np.exp(-np.nan_to_num(np.clip(matrix[:, :1], -5, 5))))).astype(np.float32)


def test_every_feature_is_taken_to_its_ends_alone():
    schema = schema_of("binary")
    matrix, what = edge_cases(schema)
    assert matrix.dtype == np.float32
    assert matrix.shape == (len(what), 4)
    assert np.isnan(matrix[what.index("everything missing")]).all()
    assert matrix[what.index("all categories unknown"), 1] == 5
    assert matrix[what.index("carrier unknown")].tolist() == [0, 5, 0, 0]
    assert matrix[what.index("carrier of its last category")].tolist() == [0, 4, 0, 0]
    assert matrix[what.index("wind the most that float32 holds"), 0] == np.finfo(np.float32).max
    assert np.isfinite(matrix[~np.isnan(matrix)]).all()


def test_ends_come_from_the_range_even_where_it_is_wider_than_a_float32():
    schema = schema_of("binary").model_copy(
        update={"features": (Feature(name="a", type="number", range=(2, 4)), Feature(name="b", type="number", range=(-1e60, 1e60)))}
    )
    matrix, what = edge_cases(schema)
    assert matrix[what.index("ordinary")].tolist() == [3, 0]
    assert matrix[what.index("a at its lowest"), 0] == 2
    assert matrix[what.index("b at its highest"), 1] == np.finfo(np.float32).max


def test_a_wide_schema_is_not_asked_for_ever():
    features = tuple(Feature(name=f"f{i}", type="number") for i in range(500))
    assert len(edge_cases(schema_of("binary").model_copy(update={"features": features}))[0]) == MOST_CASES


def test_a_sound_scorer_survives():
    found = survive(schema_of("binary"), sound, rows=np.ones((3, 4), dtype=np.float32))
    assert (found.passed, found.failed, found.largest_difference) == (True, [], 0.0)
    assert found.message == f"all {found.rows} edge cases survive"


def failures(scorer: Scorer, task: Task = "binary") -> EdgeCases:
    found = survive(schema_of(task), scorer)
    assert found.passed is False
    return found


def test_a_score_that_is_not_finite_is_named_with_its_row():
    found = failures(lambda matrix: np.where(np.isnan(matrix[:, :1]), np.nan, 0.5).astype(np.float32))
    assert found.failed[0] == "everything missing: the score is not finite"
    assert f"{len(found.failed)} of {found.rows} edge cases fail" in found.message


def test_a_scorer_that_overflows_is_found():
    def overflows(matrix):
        with np.errstate(over="ignore"):
            return np.minimum(np.nan_to_num(matrix[:, :1]) ** 2, np.inf)

    found = failures(overflows)
    assert {text.partition(":")[0] for text in found.failed} >= {"wind the most that float32 holds", "wind the least that float32 holds"}


def test_what_is_no_probability_is_found():
    assert "everything missing: 1.5 is no probability" in failures(lambda matrix: np.full((len(matrix), 1), 1.5, dtype=np.float32)).failed


def test_classes_must_sum_to_one():
    found = failures(lambda matrix: np.full((len(matrix), 3), 0.3, dtype=np.float32), "multiclass")
    assert found.failed[0] == "everything missing: the probabilities of the classes sum to 0.90000"


def test_a_scorer_whose_answer_depends_on_the_batch_is_found():
    found = failures(lambda matrix: np.full((len(matrix), 1), 1 / len(matrix), dtype=np.float32))
    assert "alone its score differs by" in found.failed[0]
    assert found.largest_difference == pytest.approx(1 - 1 / found.rows)


def test_a_scorer_of_the_wrong_shape_is_found():
    found = failures(lambda matrix: np.zeros((len(matrix), 2), dtype=np.float32))
    assert found.message == f"scores have the shape ({found.rows}, 2); ({found.rows}, 1) was expected"


def test_a_large_number_is_compared_relatively():
    def price(matrix):
        return np.full((len(matrix), 1), 1e6 + (0.5 if len(matrix) == 1 else 0), dtype=np.float32)

    assert survive(schema_of("regression"), price).passed is True
