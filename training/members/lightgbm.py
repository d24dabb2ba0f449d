"""Gradient-boosted trees by LightGBM, grown leaf by leaf. An extra: `pip install 'homeostat[lightgbm]'`.

With several workers, rank 0 fits on its own share of the rows and hands the model to the others: LightGBM's own
network would need open ports between them. The codes of categories are read as ordered numbers, for they are in order of mean label.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, cast

import msgspec
import numpy as np
import onnx

from cluster import member_settings
from cluster.records import Record
from cluster.schema import FeatureSchema, Label, Matrix, score_width
from training.composing import graphs
from training.members import Crew, Fit, Rows, extras
from training.members.forest import Forest, round_down

if TYPE_CHECKING:
    from optuna import Trial

logger = logging.getLogger(__name__)

_OBJECTIVE = {"binary": "binary", "multiclass": "multiclass", "regression": "regression"}


class LightGBMModel(Record, frozen=True, kw_only=True):
    """What `lightgbm.json` holds."""

    text: str
    """LightGBM's own text format."""


@dataclass(frozen=True)
class LightGBMMember:
    """Boosted trees, stopped early on the validation loss; the native model holds the best rounds only.

    Raises
    ------
    ConfigError
        When it is built without the extra.
    """

    settings: member_settings.LightGBM
    schema: FeatureSchema
    name: str = "lightgbm"
    native_name: str = "lightgbm.json"

    def __post_init__(self) -> None:
        extras.need("lightgbm")

    def fit(self, train: Rows, valid: Rows | None, crew: Crew, *, effort: int | None = None) -> Fit:
        """Grow trees over rank 0's rows; the native model is JSON, the effort its rounds."""
        fitted = self._fit(train, valid, crew, effort) if crew.rank == 0 else None
        return Fit(*cast("Fit", crew.share(fitted)))

    def _fit(self, train: Rows, valid: Rows | None, crew: Crew, effort: int | None) -> Fit:
        lightgbm = extras.need("lightgbm")
        extras.warn_of_share(self.name, crew)
        parameters = self._parameters(crew)
        rows = lightgbm.Dataset(train.X, train.y, weight=train.weight, params=parameters)
        watched: dict[str, Any] = {}
        if valid is not None:
            stop = lightgbm.early_stopping(self.settings.early_stopping_rounds, verbose=False)
            watched = {"valid_sets": [rows.create_valid(valid.X, valid.y, weight=valid.weight)], "callbacks": [stop]}
        booster = lightgbm.train(parameters, rows, effort or self.settings.rounds, **watched)
        rounds = booster.best_iteration if valid is not None else booster.current_iteration()
        text = booster.model_to_string(num_iteration=rounds)
        return Fit(msgspec.json.encode(LightGBMModel(text=text)), rounds)

    def _parameters(self, crew: Crew) -> dict[str, object]:
        label = self.schema.label
        return {
            "objective": _OBJECTIVE[label.task],
            "num_class": score_width(label),
            "bagging_freq": 1,  # without it, subsample does nothing
            "seed": crew.seed,
            "deterministic": True,
            "force_row_wise": True,
            "num_threads": crew.threads,
            "verbosity": -1,
            **self.settings.model_dump(exclude={"rounds", "early_stopping_rounds"}),
        }

    def effort_for(self, effort: int, growth: float) -> int:
        """As many times more trees, up to `rounds`."""
        return min(round(effort * growth), self.settings.rounds)

    def score(self, native: bytes, matrix: Matrix) -> Matrix:
        """Scores, float32 of shape (n, width)."""
        booster = _load(native)
        margins = booster.predict(np.ascontiguousarray(matrix, dtype=np.float32), raw_score=True, num_threads=1)
        return graphs.apply_link(self.schema.label, np.asarray(margins, dtype=np.float64).reshape(len(matrix), -1))

    def to_onnx(self, native: bytes) -> onnx.ModelProto:
        """The graph from "X" to "scores"."""
        label: Label = self.schema.label
        width = score_width(label)
        forest = Forest()
        for number, tree in enumerate(_load(native).dump_model()["tree_info"]):
            _add_tree(forest, tree["tree_structure"], number, number % width)
        return forest.to_onnx(label, features=len(self.schema.features), base=[0.0] * width)  # the first trees carry the mean

    def suggest(self, trial: Trial) -> LightGBMMember:
        """Ranges as they are common in tuned trees; rounds are left to early stopping."""
        tried = {
            "learning_rate": trial.suggest_float("lightgbm.learning_rate", 0.01, 0.1, log=True),
            "num_leaves": trial.suggest_int("lightgbm.num_leaves", 4, 256, log=True),
            "min_child_samples": trial.suggest_int("lightgbm.min_child_samples", 2, 200, log=True),
            "subsample": trial.suggest_float("lightgbm.subsample", 0.5, 1),
            "colsample_bytree": trial.suggest_float("lightgbm.colsample_bytree", 0.3, 1),
            "reg_lambda": trial.suggest_float("lightgbm.reg_lambda", 1e-3, 100, log=True),
        }
        return replace(self, settings=self.settings.model_copy(update=tried))


def _load(native: bytes) -> Any:
    return extras.need("lightgbm").Booster(model_str=msgspec.json.decode(native, type=LightGBMModel).text)


def _add_tree(forest: Forest, root: dict[str, Any], tree: int, target: int) -> None:
    waiting, taken = [(root, 0)], 1
    while waiting:
        node, number = waiting.pop()
        if "split_feature" not in node:
            forest.leaf(tree, number, [node["leaf_value"]], target=target)
            continue
        yes, no = taken, taken + 1
        taken += 2
        threshold = round_down(node["threshold"])
        missing = yes if _missing_goes_left(node) else no
        forest.ask(tree, number, feature=node["split_feature"], question="BRANCH_LEQ", value=threshold, yes=yes, no=no, missing=missing)
        waiting += [(node["right_child"], no), (node["left_child"], yes)]


def _missing_goes_left(node: dict[str, Any]) -> bool:
    """A feature that had no gaps in training reads a missing value as 0."""
    return bool(node["default_left"]) if node["missing_type"] == "NaN" else node["threshold"] >= 0
