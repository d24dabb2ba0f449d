"""What a peer does with a request, and no more: rows to a matrix, the student's graph, probabilities. Nothing is checked."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort


class Model:
    """The student of a bundle.

    Parameters
    ----------
    folder
        The bundle.
    """

    def __init__(self, folder: str) -> None:
        features = json.loads((Path(folder) / "schema.json").read_bytes())["features"]
        self._features = [(f["name"], {c: i for i, c in enumerate(f["categories"])} if f["type"] == "category" else None) for f in features]
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        self._session = ort.InferenceSession(str(Path(folder) / "student.onnx"), options, providers=["CPUExecutionProvider"])
        self._input = self._session.get_inputs()[0].name

    def __call__(self, body: dict[str, Any]) -> dict[str, Any]:
        """The answer to a decoded request of rows."""
        matrix = np.array([[_code(row[name], codes) for name, codes in self._features] for row in body["rows"]], dtype=np.float32)
        return {"predictions": [{"probability": p} for p in self.scores(matrix)[:, 0].tolist()]}

    def encode(self, columns: Mapping[str, Sequence[Any]]) -> np.ndarray:
        """Columns as a float32 matrix of shape (n, features)."""
        coded = [[_code(value, codes) for value in columns[name]] for name, codes in self._features]
        return np.array(coded, dtype=np.float32).T

    def scores(self, matrix: np.ndarray) -> np.ndarray:
        """The graph's answer to a matrix, float32 of shape (n, 1)."""
        scores: np.ndarray = self._session.run(None, {self._input: np.ascontiguousarray(matrix, dtype=np.float32)})[0]
        return scores


def _code(value: Any, codes: dict[str, int] | None) -> float:
    if value is None:
        return np.nan
    return value if codes is None else codes.get(value, len(codes))
