"""A bundle as an MLflow model: this file is copied beside it and run by `mlflow.pyfunc.load_model`.

Nothing is pickled: MLflow imports this source ("models from code") and the bundle is read from its safe formats.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
import pyarrow as pa
from mlflow.models import set_model

from cluster.bundle import Bundle
from cluster.schema import decide


class BundleModel(mlflow.pyfunc.PythonModel):  # type: ignore[misc] # MLflow is untyped here
    """Scores a DataFrame of features with the ensemble."""

    def load_context(self, context: Any) -> None:
        """Load and verify the bundle that travels with the model."""
        self.bundle = Bundle(Path(context.artifacts["bundle"]), parts=("ensemble",))

    def predict(self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> pd.DataFrame:  # noqa: ARG002
        """Predictions of shape (n,), with the probability where the task has one."""
        label = self.bundle.schema.label
        scores = self.bundle.ensemble(self.bundle.encoder.table(pa.Table.from_pandas(model_input, preserve_index=False)))
        answer = pd.DataFrame({"prediction": decide(label, scores)})
        if label.task != "regression":
            answer["probability"] = scores.max(axis=1) if label.task == "multiclass" else scores[:, 0]
        return answer


set_model(BundleModel())
