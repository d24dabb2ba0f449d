"""A bundle as an MLflow model, loaded by MLflow itself."""

from __future__ import annotations

import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

import cluster
from cluster.bundle import Bundle
from cluster.errors import BundleTampered, MissingColumn, WrongType
from cluster.schema import FeatureSchema, Label
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


@pytest.mark.parametrize(
    ("label", "declared"),
    [
        (Label(name="late", classes=(0, 1)), ["long", "double"]),
        (Label(name="late", classes=("no", "yes")), ["string", "double"]),
        (Label(name="late", classes=(False, True)), ["boolean", "double"]),
        (Label(name="late", classes=(0, "late")), ["string", "double"]),
        (Label(name="late", task="regression"), ["double"]),
    ],
)
def test_a_saved_model_answers_what_its_signature_declares(tmp_path: Path, label: Label, declared: list[str]) -> None:
    """What `spark_udf` builds on: the result's type comes from the signature, and a batch is a frame."""
    schema = make_schema(label=label)
    make_bundle(tmp_path / "bundle", schema=schema)
    answer, signature = save_and_load(tmp_path, schema).predict(pd.DataFrame(ROWS)), load_signature(schema)
    assert [column.type.name for column in signature.outputs.inputs] == declared
    assert signature.outputs.input_names() == answer.columns.tolist()
    kinds = {"long": "int64", "double": "float64", "boolean": "bool", "string": "str"}
    assert [str(kind) for kind in answer.dtypes] == [kinds[name] for name in declared]


def test_whole_and_wholly_missing_columns_are_taken_as_they_come(tmp_path: Path) -> None:
    make_bundle(tmp_path / "bundle")
    rows = pd.DataFrame({"miles": [100, 200], "wind": [None, None], "carrier": pd.Series([None, None], dtype=object), "other": [1, 2]})
    answer = save_and_load(tmp_path, make_schema()).predict(rows)
    own = Bundle(tmp_path / "bundle")
    assert answer["probability"].tolist() == own.ensemble(own.encoder.columns(rows.to_dict("list")))[:, 0].tolist()


def test_a_frame_that_does_not_fit_is_refused_by_name(tmp_path: Path) -> None:
    make_bundle(tmp_path / "bundle")
    model = load(tmp_path / "bundle")
    with pytest.raises(MissingColumn, match="the frame lacks wind, carrier; the model reads: miles, wind, carrier"):
        model.predict(None, pd.DataFrame({"miles": [1.0]}))
    with pytest.raises(WrongType, match="column 'wind' holds values of several kinds"):
        model.predict(None, pd.DataFrame({"miles": [1.0, 2.0], "wind": [1.0, "strong"], "carrier": ["UA", "UA"]}))


def load_signature(schema: FeatureSchema) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from cluster.signature import signature_of
    return signature_of(schema)


def save_and_load(root: Path, schema: FeatureSchema) -> Any:
    """As the registry keeps it and MLflow finds it: by path, with nothing pickled."""
    signature, source = load_signature(schema), str(Path(cluster.__file__).parent / "pyfunc.py")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import mlflow

        artifacts = {"bundle": str(root / "bundle")}
        mlflow.pyfunc.save_model(root / "saved", python_model=source, artifacts=artifacts, pip_requirements=["mlflow"], signature=signature)
        assert not list((root / "saved").rglob("*.pkl"))
        return mlflow.pyfunc.load_model(str(root / "saved"))
