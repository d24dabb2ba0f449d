"""`mlflow models serve`: a pyfunc that takes a DataFrame, saved and served from the command line, in Homeostat's own environment.

python -m benchmarks.peers.mlflow_models BUNDLE PORT
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd

from benchmarks.peers.model import Model


class Scorer(mlflow.pyfunc.PythonModel):  # type: ignore[misc] # MLflow is untyped here
    """Loads the model once, scores what comes."""

    def load_context(self, context: Any) -> None:
        """Load the model that travels along."""
        self._model = Model(context.artifacts["bundle"])

    def predict(self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> list[float]:  # noqa: ARG002
        """Score rows."""
        matrix = self._model.encode({str(name): column.tolist() for name, column in model_input.items()})
        scores: list[float] = self._model.scores(matrix)[:, 0].tolist()
        return scores


def serve(model: str, port: str) -> None:
    """Become the server of a saved model."""
    command = [sys.executable, "-m", "mlflow", "models", "serve", "--model-uri", model, "--env-manager", "local"]
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"  # mlflow calls its server by name
    os.execve(command[0], [*command, "--host", "127.0.0.1", "--port", port], os.environ | {"PATH": path, "PYTHONPATH": str(Path.cwd())})


def main() -> None:
    bundle, port = sys.argv[1:]
    folder = str(Path(tempfile.gettempdir()) / "homeostat-peer-mlflow")
    shutil.rmtree(folder, ignore_errors=True)
    mlflow.pyfunc.save_model(folder, python_model=Scorer(), artifacts={"bundle": bundle}, pip_requirements=["mlflow", "onnxruntime"])
    serve(folder, port)


if __name__ == "__main__":
    main()
