"""A bundle as an MLflow model: this file is copied beside it and run by `mlflow.pyfunc.load_model`.

Nothing is pickled: MLflow imports this source ("models from code") and the bundle is read from its safe formats. Works a
batch at a time, as `mlflow.pyfunc.spark_udf` asks for, with the types that `cluster.signature` declares.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
import pyarrow as pa
from mlflow.models import set_model

from cluster.bundle import Bundle
from cluster.errors import MissingColumn, WrongType
from cluster.schema import FeatureSchema, decide
from cluster.signature import is_text


class BundleModel(mlflow.pyfunc.PythonModel):  # type: ignore[misc] # MLflow is untyped here
    """Scores a DataFrame of features with the ensemble."""

    def load_context(self, context: Any) -> None:
        """Load and verify the bundle that travels with the model."""
        self.bundle = Bundle(Path(context.artifacts["bundle"]), parts=("ensemble",))

    def predict(self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> pd.DataFrame:  # noqa: ARG002
        """Predictions of shape (n,), with the probability where the task has one.

        Raises
        ------
        MissingColumn, WrongType
            When the frame lacks a feature, or a column's values are of several kinds.
        DataError
            When a number's column holds something else.
        """
        label = self.bundle.schema.label
        scores = self.bundle.ensemble(self.bundle.encoder.table(to_table(self.bundle.schema, model_input)))
        chosen = decide(label, scores)
        answer = pd.DataFrame({"prediction": list(map(str, chosen)) if is_text(label) else chosen})
        if label.task != "regression":
            answer["probability"] = (scores.max(axis=1) if label.task == "multiclass" else scores[:, 0]).astype("float64")
        return answer


def to_table(schema: FeatureSchema, frame: pd.DataFrame) -> pa.Table:
    """The features of a frame; a column of nothing but missing values is of its feature's type."""
    if missing := [name for name in schema.names if name not in frame.columns]:
        raise MissingColumn(f"the frame lacks {', '.join(missing)}; the model reads: {', '.join(schema.names)}")
    columns = {}
    for feature in schema.features:
        try:
            column = pa.array(frame[feature.name], from_pandas=True)
        except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
            raise WrongType(f"column '{feature.name}' holds values of several kinds: {error}; give it one") from error
        empty = pa.float64() if feature.type == "number" else pa.string()
        columns[feature.name] = column.cast(empty) if pa.types.is_null(column.type) else column
    return pa.table(columns)


set_model(BundleModel())
