from __future__ import annotations

import numpy as np
import pytest

from cluster.errors import DataError, NotEnoughData
from cluster.explaining import lime
from cluster.schema import Floats, Matrix
from monitoring.explanation import fidelity, nudge, stability
from tests.unit.training.tables import rows_of, schema_of
from training.explaining.lime_setup import lime_setup


def test_the_same_explanations_are_perfectly_stable() -> None:
    rows = np.random.default_rng(0).normal(size=(50, 5))
    found = stability(rows, rows.copy(), top=2)
    assert found.rows == 50
    assert (found.rank_agreement.estimate, found.top_overlap.estimate, found.change.estimate) == (1.0, 1.0, 0.0)


def test_unrelated_explanations_agree_as_chance_has_it() -> None:
    rng = np.random.default_rng(1)
    found = stability(rng.normal(size=(2000, 6)), rng.normal(size=(2000, 6)), top=3)
    assert found.rank_agreement.lower < 0 < found.rank_agreement.upper
    assert found.top_overlap.estimate == pytest.approx(0.5, abs=0.02)
    assert found.change.estimate > 1


def test_explanations_of_nothing_that_become_something_have_changed_wholly() -> None:
    found = stability(np.zeros((4, 3)), np.array([[1.0, 0, 0]] * 4))
    assert (found.change.estimate, found.rank_agreement.estimate) == (1.0, 0.0)


def test_more_samples_make_lime_more_stable_between_seeds() -> None:
    """The metric on real explanations: Monte Carlo error falls with the number of made-up rows."""
    setup, rows = lime_setup(schema_of("binary"), rows_of("binary", 500).X), rows_of("binary", 20, seed=2).X

    def scorer(matrix: Matrix) -> Matrix:
        z = np.nan_to_num(matrix[:, :1]) * 2 + np.nan_to_num(matrix[:, 2:3]) * 1.9 + np.nan_to_num(matrix[:, 1:2])
        return np.asarray(1 / (1 + np.exp(-z)), dtype=np.float32)

    def explained(samples: int, seed: int) -> tuple[Floats, list[float | None]]:
        around = lime.surround(setup, scorer, samples=samples, seed=seed)
        found = lime.explain(setup, around, rows, scorer, lambda scores: [1] * len(scores))
        return np.array([local.contributions for local in found]), [local.fidelity for local in found]

    few, many = (stability(explained(samples, 1)[0], explained(samples, 2)[0]) for samples in (100, 5000))
    assert many.change.upper < few.change.lower
    assert many.rank_agreement.estimate > few.rank_agreement.estimate
    told = fidelity(explained(5000, 1)[1])
    assert 0.2 < told.mean.estimate < 1
    assert told.low <= told.mean.estimate


def test_a_nudge_moves_numbers_alone_and_keeps_what_is_missing() -> None:
    matrix = np.array([[1.0, 2.0, np.nan], [3.0, 4.0, 5.0]], dtype=np.float32)
    found = nudge(np.repeat(matrix, 500, axis=0), [2.0, 0.0, 1.0], size=0.1, rng=np.random.default_rng(3))
    assert found.dtype == np.float32
    assert found[:, 1].tolist() == [2.0] * 500 + [4.0] * 500
    assert np.isnan(found[:500, 2]).all()
    assert (found[:500, 0] - 1).std() == pytest.approx(0.2, rel=0.1)


def test_rows_around_which_nothing_varies_are_counted_apart() -> None:
    found = fidelity([0.9, None, 0.2, 0.7, None], least=0.6)
    assert (found.rows, found.flat) == (5, 2)
    assert found.poor == pytest.approx(1 / 3)
    assert found.mean.estimate == pytest.approx(0.6)
    assert found.mean.lower < 0.6
    assert found.mean.upper <= 1


def test_what_cannot_be_compared_is_refused() -> None:
    with pytest.raises(DataError, match=r"\(2, 3\) and \(3, 3\) are not of the same rows"):
        stability(np.zeros((2, 3)), np.zeros((3, 3)))
    with pytest.raises(NotEnoughData, match="needs at least 2; found 1"):
        stability(np.zeros((1, 3)), np.zeros((1, 3)))
    with pytest.raises(NotEnoughData, match="found 1 of 3"):
        fidelity([0.5, None, None])
