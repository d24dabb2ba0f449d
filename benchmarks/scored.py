"""Rows of real tables as a student and its ensemble score them, which neither was fitted on: what the cascade's guarantee is tried on.

Two small models a table stand in for the real ones: the guarantee holds for any two. They are fitted once; their scores are kept.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import xgboost

from cluster.encoder import Encoder
from cluster.freeze import freeze
from cluster.margin import disagree
from cluster.schema import FeatureSchema, Floats, Label, Matrix, encode_labels
from cluster.serving_settings import Cascade
from cluster.settings import load
from training.composing import trees
from training.composing.conformal import Scored
from training.data import frame
from training.data.datasets import read_table

_SEED: Final = 7
_FIRST_DAYS: Final = 90.0
"""Flights: models and held-out rows come from these, the rest is later."""
_DAY_S: Final = 86_400.0


class Table(NamedTuple):
    """A table to try, and how large its models are."""

    config: str
    ensemble_rounds: int
    student_rounds: int
    label: str | None = None
    """Another label than the file's."""


TABLES: Final = {
    "flights": Table("configs/flights.yaml", 150, 40),
    "letter": Table("configs/letter.yaml", 60, 15),
    "diamonds, price": Table("configs/diamonds.yaml", 250, 50, label="price"),
    "diamonds, log price": Table("configs/diamonds.yaml", 250, 50),
}


@dataclasses.dataclass(frozen=True)
class World:
    """What is known of one table."""

    label: Label
    label_std: float
    pilot: Scored
    held: Scored
    companion: tuple[Floats, Floats]
    """Regression: the agreement that a second small model expects, on rows of the pilot and on held-out rows. Empty otherwise."""
    later: Scored
    """Rows after the first 90 days, in order of time; none for tables without a time."""
    later_days: Floats
    """Days since the first row, of each of them."""


def prepare_world(name: str, *, cache: Path, data: Path) -> World:
    """The world of a table; fitted when it is asked for the first time.

    Raises
    ------
    DataError
        When the table cannot be had.
    """
    path = cache / f"{name.replace(', ', '-').replace(' ', '-')}.npz"
    table = TABLES[name]
    schema, matrix, y, times = _rows(table, data)
    if not path.exists():
        cache.mkdir(parents=True, exist_ok=True)
        np.savez(path, allow_pickle=False, **_scores(table, schema.label, matrix, y, times))
    with np.load(path) as kept:
        pairs = {part: Scored(kept[f"{part}_student"], kept[f"{part}_ensemble"]) for part in ("pilot", "held", "later")}
        companion, days, std = (kept["companion_pilot"], kept["companion_held"]), kept["later_days"], float(kept["label_std"])
    return World(schema.label, std, pairs["pilot"], pairs["held"], companion, pairs["later"], days)


def _rows(table: Table, data: Path) -> tuple[FeatureSchema, Matrix, Floats, Floats | None]:
    settings = load(table.config)
    columns = settings.columns
    if table.label is not None:
        columns = columns.model_copy(update={"label": columns.label.model_copy(update={"name": table.label})})
    source = settings.data.model_copy(update={"until": None})
    rows = frame.from_table(read_table(source, time=columns.time, cache=data), columns)
    schema = freeze(columns, rows)
    times = rows.column(frame.TIME).to_numpy() if frame.TIME in rows.column_names else None
    return schema, Encoder(schema).table(rows), encode_labels(schema.label, rows.column(schema.label.name)), times


def _scores(table: Table, label: Label, matrix: Matrix, y: Floats, times: Floats | None) -> dict[str, np.ndarray]:
    days = (times - times[0]) / _DAY_S if times is not None else np.zeros(len(y))
    early = np.flatnonzero(days < _FIRST_DAYS)
    order = np.random.default_rng(_SEED).permutation(early)  # rows like each other, which the guarantee assumes
    train, pilot, held = np.split(order, [len(order) // 2, len(order) * 6 // 10])
    later = np.flatnonzero(days >= _FIRST_DAYS)
    ensemble = _fit(label, matrix[train], y[train], rounds=table.ensemble_rounds, max_depth=6)
    taught = trees.score(ensemble, matrix[train])
    target = taught.argmax(axis=1) if label.task == "multiclass" else taught[:, 0]
    student = _fit(label, matrix[train], target.astype(np.float64), rounds=table.student_rounds, max_depth=4)
    found: dict[str, np.ndarray] = {"later_days": days[later], "label_std": np.array(y[train].std())}
    for part, index in (("pilot", pilot), ("held", held), ("later", later)):
        found[f"{part}_student"], found[f"{part}_ensemble"] = (
            trees.score(native, matrix[index]) if len(index) else np.empty((0, 1), np.float32) for native in (student, ensemble)
        )
    return found | _companion(label, matrix, found, pilot, held)


def _fit(label: Label, matrix: Matrix, y: Floats, *, rounds: int, max_depth: int) -> bytes:
    parameters = trees.task_parameters(label, seed=_SEED, threads=1) | {"max_depth": max_depth, "learning_rate": 0.15}
    return trees.save(xgboost.train(parameters, xgboost.QuantileDMatrix(matrix, y), rounds))


def _companion(label: Label, matrix: Matrix, found: dict[str, np.ndarray], pilot: np.ndarray, held: np.ndarray) -> dict[str, np.ndarray]:
    """A model of the disagreement itself, from all features: what a step function of the student's number is measured beside."""
    if label.task != "regression":
        return {"companion_pilot": np.empty(0), "companion_held": np.empty(0)}
    tolerance = Cascade().tolerance * float(found["label_std"])
    differs = disagree(label, found["pilot_student"], found["pilot_ensemble"], tolerance=tolerance)
    chance = _fit(Label(name="differs", classes=(0, 1)), matrix[pilot], differs.astype(np.float64), rounds=40, max_depth=4)
    return {f"companion_{part}": 1.0 - trees.score(chance, matrix[index])[:, 0] for part, index in (("pilot", pilot), ("held", held))}
