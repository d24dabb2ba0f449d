"""Synthetic rows with a known law, for the tests of members and what is built on them."""

from __future__ import annotations

import numpy as np

from cluster import member_settings, settings
from cluster.schema import Feature, FeatureSchema, Label, Task
from cluster.settings import Settings
from training.members import Member, Rows, build

CARRIERS = 5
CLASSES = {"binary": (0, 1), "multiclass": ("a", "b", "c"), "regression": None}


def schema_of(task: Task) -> FeatureSchema:
    """Three numbers (the last on a wild scale) and a category."""
    return FeatureSchema(
        features=(
            Feature(name="wind", type="number"),
            Feature(name="carrier", type="category", categories=tuple("ABCDE")),
            Feature(name="miles", type="number"),
            Feature(name="seconds", type="number"),
        ),
        label=Label(name="late", task=task, classes=CLASSES[task]),
    )


def rows_of(task: Task, n: int = 1200, *, seed: int = 0) -> Rows:
    """Rows with missing values and unknown codes in every column that can have them."""
    rng = np.random.default_rng(seed)
    carrier = rng.integers(0, CARRIERS + 1, n)
    X = np.column_stack([rng.normal(size=n), carrier, rng.normal(size=n), 1e5 + 1e3 * rng.normal(size=n)]).astype(np.float32)
    z = 1.5 * X[:, 0] + 0.6 * (carrier - 2.5) + X[:, 2] * (X[:, 2] > 0)
    X[:, :3][rng.random((n, 3)) < 0.05] = np.nan
    if task == "binary":
        y = (rng.random(n) < 1 / (1 + np.exp(-z))).astype(np.float64)
    elif task == "multiclass":
        y = np.digitize(z + rng.normal(size=n), [-1.0, 1.0]).astype(np.float64)
    else:
        y = 200 + 30 * (z + 0.3 * rng.normal(size=n))
    return Rows(X, np.asarray(y, dtype=np.float64))


def odd_rows() -> np.ndarray:
    """Missing everywhere, unknown codes, a code beyond the unknown one, and wild numbers."""
    nan = np.nan
    return np.array(
        [
            [nan, nan, nan, nan],
            [0.5, CARRIERS, 0.1, 1e5],
            [0.5, CARRIERS + 7, 0.1, 1e5],
            [0.5, -3.0, 0.1, 1e5],
            [1e30, 0, -1e30, 0.0],
            [nan, 1, 2.0, nan],
        ],
        dtype=np.float32,
    )


def members_of(task: Task, names: tuple[str, ...] = ("xgboost", "torch", "linear")) -> list[Member]:
    """Small members of each family."""
    sizes = {
        "xgboost": member_settings.XGBoost(rounds=40, early_stopping_rounds=5, max_depth=4),
        "torch": member_settings.Torch(epochs=3, hidden=(16, 8), batch_size=64, learning_rate=0.02),
        "linear": member_settings.Linear(),
    }
    schema = schema_of(task)
    chosen = member_settings.Members(**{name: sizes[name] if name in names else None for name in sizes})
    return build(Settings(model="toy", data=settings.Data(source="toy.csv"), columns=schema, members=chosen), schema)
