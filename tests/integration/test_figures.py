from __future__ import annotations

import numpy as np
import pytest

from cluster.schema import Label
from tests.unit.training.tables import CLASSES
from training import ensemble
from training.ensemble import Blend
from training.figures import draw


def blend_of(label: Label, y: np.ndarray, scores: np.ndarray) -> Blend:
    return ensemble.learn(label, y, {"linear": scores, "xgboost": scores})


@pytest.mark.parametrize(("task", "names"), [("binary", ["weights", "calibration"]), ("multiclass", ["weights", "calibration"])])
def test_classes_show_weights_and_calibration(task: str, names: list[str]) -> None:
    rng = np.random.default_rng(0)
    label = Label(name="late", task=task, classes=CLASSES[task])
    scores = rng.dirichlet([1, 1, 1], 400).astype(np.float32) if task == "multiclass" else rng.random((400, 1)).astype(np.float32)
    y = rng.integers(0, len(label.classes or ()), 400).astype(np.float64)
    made = draw(label, y, scores, blend_of(label, y, scores))
    assert list(made) == names
    _, ensemble_line = made["calibration"].axes[0].lines
    assert np.ravel(ensemble_line.get_ydata()).mean() == pytest.approx(
        (scores.argmax(axis=1) == y).mean() if task == "multiclass" else y.mean(), abs=0.02
    )


def test_a_regression_shows_weights_and_residuals() -> None:
    label = Label(name="price", task="regression")
    y = np.arange(400, dtype=np.float64)
    scores = (y + 3).astype(np.float32).reshape(-1, 1)
    made = draw(label, y, scores, blend_of(label, y, scores))
    assert list(made) == ["weights", "residuals"]
    axes = made["residuals"].axes[0]
    assert axes.get_xlabel() == "predicted price"
    assert np.allclose(np.asarray(axes.collections[0].get_offsets())[:, 1], -3)


def test_the_weights_are_those_of_the_blend() -> None:
    label = Label(name="price", task="regression")
    y = np.arange(400, dtype=np.float64)
    blend = blend_of(label, y, y.astype(np.float32).reshape(-1, 1))
    axes = draw(label, y, y.astype(np.float32).reshape(-1, 1), blend)["weights"].axes[0]
    assert [bar.get_width() for bar in axes.containers[0]] == list(blend.weights.values())
    assert [text.get_text() for text in axes.get_yticklabels()] == list(blend.weights)
