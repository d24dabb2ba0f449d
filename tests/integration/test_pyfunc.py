"""A bundle as an MLflow model, loaded by MLflow itself."""

from __future__ import annotations

import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from cluster.bundle import Bundle
from cluster.errors import BundleTampered
from cluster.schema import Label
from tests.builders import make_bundle, make_schema

ROWS: dict[str, list[Any]] = {"miles": [100.0, None], "wind": [1.0, 2.0], "carrier": ["UA", "ZZ"]}


def load(folder: Path) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MLflow's own
        from cluster.pyfunc import BundleModel
    model = BundleModel()
    model.load_context(SimpleNamespace(artifacts={"bundle": str(folder)}))
    return model


def test_a_binary_model_answers_class_and_probability(tmp_path: Path) -> None:
    make_bundle(tmp_path / "bundle", bias=0.1)
    answer = load(tmp_path / "bundle").predict(None, pd.DataFrame(ROWS))
    own = Bundle(tmp_path / "bundle")
    scores = own.ensemble(own.encoder.columns(ROWS))[:, 0]
    assert answer.columns.tolist() == ["prediction", "probability"]
    assert np.array_equal(answer["probability"].to_numpy(), scores)
    assert answer["prediction"].tolist() == [int(score >= 0.5) for score in scores]


def test_a_regression_answers_the_number_alone(tmp_path: Path) -> None:
    make_bundle(tmp_path / "bundle", schema=make_schema(label=Label(name="late", task="regression")))
    answer = load(tmp_path / "bundle").predict(None, pd.DataFrame(ROWS))
    own = Bundle(tmp_path / "bundle")
    assert answer.columns.tolist() == ["prediction"]
    assert answer["prediction"].tolist() == own.ensemble(own.encoder.columns(ROWS))[:, 0].tolist()


def test_a_tampered_bundle_is_not_loaded(tmp_path: Path) -> None:
    make_bundle(tmp_path / "bundle")
    (tmp_path / "bundle" / "ensemble.onnx").write_bytes(b"")
    with pytest.raises(BundleTampered, match=r"'ensemble\.onnx'"):
        load(tmp_path / "bundle")
