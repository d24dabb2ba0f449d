"""A sealed bundle that can be explained by every method: real trees, which are its ensemble, and what training measures of them."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import msgspec
import numpy as np
import xgboost

from cluster import bundle
from cluster.bundle import TREES, CascadeRule
from cluster.explaining import neighbourhood, rules
from cluster.schema import FeatureSchema, Label, Matrix
from tests import builders
from training.composing import trees
from training.explaining.lime_setup import lime_setup
from training.explaining.surrogate import imitate
from training.members import Rows

BLEND = "blend.json"
ROWS = 400
LABELS = {
    "binary": Label(name="late", classes=(0, 1), positive=1),
    "multiclass": Label(name="late", task="multiclass", classes=("a", "b", "c")),
    "regression": Label(name="late", task="regression"),
}


def rows_of(schema: FeatureSchema, n: int = ROWS, *, seed: int = 0) -> Rows:
    """Rows with gaps and unknown categories whose label goes by the first feature and the last."""
    rng = np.random.default_rng(seed)
    columns = [rng.integers(0, len(f.categories) + 1, n) if f.categories else 100 * rng.normal(size=n) for f in schema.features]
    X = np.column_stack(columns).astype(np.float32)
    z = X[:, 0] / 50 + X[:, -1] / 2 + 0.3 * rng.normal(size=n)
    y = {"binary": (z > 0).astype(np.float64), "multiclass": np.digitize(z, [-0.5, 1.0]).astype(np.float64), "regression": 30 * z}
    X[rng.random(X.shape) < 0.05] = np.nan
    return Rows(X, np.asarray(y[schema.label.task], dtype=np.float64))


def booster_of(schema: FeatureSchema, *, rounds: int) -> xgboost.Booster:
    rows = rows_of(schema)
    parameters = trees.task_parameters(schema.label, seed=1, threads=1) | {"max_depth": 3}
    return xgboost.train(parameters, xgboost.QuantileDMatrix(rows.X, rows.y), rounds)


def make_explained(
    folder: Path,
    schema: FeatureSchema | None = None,
    *,
    leave_out: Collection[str] = (),
    weight: float | None = 1.0,
    threshold: float = 0.2,
) -> str:
    """Write and seal it, without the files to `leave_out`; returns its digest. `weight` is the trees' in the blend; None: no blend is told."""
    schema = schema or builders.make_schema()
    ensemble, student = (trees.save(booster_of(schema, rounds=rounds)) for rounds in (20, 6))
    X = rows_of(schema).X
    rule = CascadeRule(threshold=threshold, max_disagreement=0.02, confidence=0.95, student_share=0.7, disagreement=0.01)
    surrogate = imitate(schema, X, trees.score(ensemble, X), rng=np.random.default_rng(0))
    files: dict[str, bytes] = {
        "schema.json": schema.model_dump_json().encode(),
        "student.onnx": trees.to_onnx(student, schema.label).SerializeToString(),
        "ensemble.onnx": trees.to_onnx(ensemble, schema.label).SerializeToString(),
        "cascade.json": msgspec.json.encode(rule),
        "profile.json": b"{}",
        "metrics.json": b"{}",
        "lineage.json": b"{}",
        TREES: ensemble,
        neighbourhood.NAME: msgspec.json.encode(lime_setup(schema, X)),
        rules.NAME: msgspec.json.encode({"rows": ROWS, "surrogate": surrogate}),
    }
    if weight is not None:
        files[BLEND] = msgspec.json.encode({"weights": {"xgboost": weight, "linear": 1 - weight}, "rows": ROWS})
    for name in files.keys() - set(leave_out):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(files[name])
    return bundle.seal(folder, model=builders.MODEL, created=builders.CREATED)


def margins_of(schema: FeatureSchema, matrix: Matrix) -> Matrix:
    """What the ensemble's trees say before their link, float32 (n, width)."""
    found = booster_of(schema, rounds=20).predict(xgboost.DMatrix(matrix), output_margin=True)
    return np.asarray(found, dtype=np.float32).reshape(len(matrix), -1)
