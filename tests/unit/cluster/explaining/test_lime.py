"""Our LIME beside the package's, on the same samples and seed."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
import pytest

from cluster.explaining import lime
from cluster.explaining.neighbourhood import LimeSetup, draw
from cluster.schema import Floats, Matrix, Task
from tests.unit.training.tables import rows_of, schema_of
from training.explaining.lime_setup import lime_explainer, lime_row, lime_scorer, lime_setup

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from lime.lime_tabular import LimeTabularExplainer  # noqa: F401 - whose import warns

each_task = pytest.mark.parametrize("task", ["binary", "multiclass", "regression"])
SAMPLES, SEED = 800, 11


class Asked:
    """A scorer that keeps what it was asked."""

    def __init__(self, task: Task) -> None:
        self.task = task
        self.calls: list[Matrix] = []

    def __call__(self, matrix: Matrix) -> Matrix:
        self.calls.append(matrix)
        z = 2 * np.tanh(np.nan_to_num(matrix[:, 0], nan=-4.0)) + np.nan_to_num(matrix[:, 1], nan=9.0) - 2.5 + (matrix[:, 3] > 1e5)
        p = 1 / (1 + np.exp(-z))
        scores = {"binary": [p], "multiclass": [p / 2, p / 3, 1 - 5 * p / 6], "regression": [z]}[self.task]
        return np.asarray(np.column_stack(scores), dtype=np.float32)


def setup_of(task: Task) -> LimeSetup:
    return lime_setup(schema_of(task), rows_of(task, 500).X)


def explain(setup: LimeSetup, rows: Matrix, score: lime.Scorer, outputs: Sequence[int], *, samples: int = SAMPLES) -> list[lime.Local]:
    around = lime.surround(setup, score, samples=samples, seed=SEED)
    return lime.explain(setup, around, rows, score, lambda scores: outputs[: len(scores)])


def odd_rows(task: Task) -> Matrix:
    """Rows with values missing, unknown, at a border and far outside."""
    rows = rows_of(task, 5, seed=3).X
    rows[0, :2] = np.nan
    rows[1, 1] = 5
    rows[2, 0] = setup_of(task).numbers["wind"].borders[0]
    rows[3, 3] = 1e30
    return rows


def told_by_the_package(setup: LimeSetup, row: Matrix, score: Asked, output: int) -> tuple[float, Floats, float]:
    """Intercept, slopes by feature, and R²."""
    features = len(setup.features)
    found = lime_explainer(setup, seed=SEED).explain_instance(
        lime_row(setup, row), lime_scorer(setup, score), labels=(output,), num_features=features, num_samples=SAMPLES
    )
    key = 1 if setup.task == "regression" else output
    slopes = np.zeros(features)
    for place, slope in found.local_exp[key]:
        slopes[place] = slope
    return float(found.intercept[key]), slopes, float(found.score)


@each_task
def test_numbers_are_the_packages_on_the_same_samples_and_seed(task: Task) -> None:
    setup, rows, score = setup_of(task), odd_rows(task), Asked(task)
    output = 0 if task == "regression" else 1
    found = explain(setup, rows, score, [output] * 5)
    for row, local in zip(rows, found, strict=True):
        base, slopes, fidelity = told_by_the_package(setup, row, Asked(task), output)
        assert local.base == pytest.approx(base, abs=1e-9)
        assert local.contributions == pytest.approx(slopes, abs=1e-9)
        assert local.fidelity == pytest.approx(fidelity, abs=1e-9)
        assert np.abs(local.contributions).max() > 0.01


@each_task
def test_made_up_rows_are_the_packages(task: Task) -> None:
    setup, row, score = setup_of(task), odd_rows(task)[3], Asked(task)
    told_by_the_package(setup, row, score, 0)
    found = draw(setup, samples=SAMPLES, seed=SEED)
    assert score.calls[0].shape == (SAMPLES, 4)
    assert np.array_equal(score.calls[0][0], row, equal_nan=True)
    np.testing.assert_allclose(score.calls[0][1:], found.rows, rtol=1e-6)
    assert np.isnan(found.rows).mean(axis=0) == pytest.approx(np.isnan(rows_of(task, 500).X).mean(axis=0), abs=0.02)


def test_made_up_rows_are_scored_in_one_call_and_no_row_changes_anothers_explanation() -> None:
    setup, rows, score = setup_of("binary"), odd_rows("binary"), Asked("binary")
    together = explain(setup, rows, score, [1] * 5)
    assert [call.shape for call in score.calls] == [(SAMPLES - 1, 4), (len(rows), 4)]
    for row, local in zip(rows, together, strict=True):
        [alone] = explain(setup, row[None, :], score, [1])
        assert alone.contributions.tolist() == local.contributions.tolist()
        assert (alone.score, alone.base, alone.fidelity) == (local.score, local.base, local.fidelity)


def test_another_seed_draws_other_rows() -> None:
    one, other = (draw(setup_of("binary"), samples=50, seed=seed).rows for seed in (1, 2))
    assert not np.array_equal(one[:, 0], other[:, 0])


def test_scores_that_never_vary_have_no_fidelity_and_no_contributions() -> None:
    setup, rows = setup_of("binary"), odd_rows("binary")
    [found] = explain(setup, rows[:1], lambda m: np.full((len(m), 1), 0.3, dtype=np.float32), [1], samples=200)
    assert found.fidelity is None
    assert found.contributions == pytest.approx(np.zeros(4), abs=1e-12)
    assert found.base == pytest.approx(0.3)


def test_the_chosen_output_is_explained_row_by_row() -> None:
    setup, rows = setup_of("multiclass"), odd_rows("multiclass")
    found = explain(setup, rows, Asked("multiclass"), [0, 1, 2, 0, 1])
    assert [local.output for local in found] == [0, 1, 2, 0, 1]
    scores = Asked("multiclass")(rows)
    assert [local.score for local in found] == pytest.approx([scores[i, k] for i, k in enumerate([0, 1, 2, 0, 1])], rel=1e-6)
