"""Gradient-boosted symmetric trees by CatBoost. An extra: `pip install 'homeostat[catboost]'`.

With several workers, rank 0 fits on its own share of the rows and hands the model to the others: CatBoost has no
common fit that a process could join. The codes of categories are read as ordered numbers, for they are in order of mean label.
"""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import onnx

from cluster import member_settings
from cluster.schema import FeatureSchema, Floats, Matrix, score_width
from training.composing import graphs
from training.members import Crew, Fit, Rows, extras
from training.members.forest import Forest

if TYPE_CHECKING:
    from optuna import Trial

_KEPT = ("features_info", "oblivious_trees", "scale_and_bias")  # the rest tells when and where it was fitted: never the same twice
_LOSS = {"binary": "Logloss", "multiclass": "MultiClass", "regression": "RMSE"}


@dataclass(frozen=True)
class CatBoostMember:
    """Boosted symmetric trees, stopped early on the validation loss; the native model holds the best rounds only.

    Raises
    ------
    ConfigError
        When it is built without the extra.
    """

    settings: member_settings.CatBoost
    schema: FeatureSchema
    name: str = "catboost"
    native_name: str = "catboost.json"

    def __post_init__(self) -> None:
        extras.need("catboost")

    def fit(self, train: Rows, valid: Rows | None, crew: Crew, *, effort: int | None = None) -> Fit:
        """Grow trees over rank 0's rows; the native model is CatBoost's own JSON, the effort its rounds."""
        fitted = self._fit(train, valid, crew, effort) if crew.rank == 0 else None
        return Fit(*cast("Fit", crew.share(fitted)))

    def _fit(self, train: Rows, valid: Rows | None, crew: Crew, effort: int | None) -> Fit:
        catboost = extras.need("catboost")
        extras.warn_of_share(self.name, crew)
        model = catboost.CatBoost(self._parameters(crew, effort, stops=valid is not None))
        rows, held_out = (None if part is None else catboost.Pool(part.X, part.y, weight=part.weight) for part in (train, valid))
        model.fit(rows, eval_set=held_out)
        return Fit(_save(model), int(model.tree_count_))

    def _parameters(self, crew: Crew, effort: int | None, *, stops: bool) -> dict[str, object]:
        chosen, label = self.settings, self.schema.label
        parameters: dict[str, object] = {
            "loss_function": _LOSS[label.task],
            "iterations": effort or chosen.rounds,
            "depth": chosen.max_depth,
            "learning_rate": chosen.learning_rate,
            "l2_leaf_reg": chosen.reg_lambda,
            "bootstrap_type": "Bernoulli",
            "subsample": chosen.subsample,
            "random_seed": crew.seed,
            "thread_count": crew.threads,
            "allow_writing_files": False,
            "logging_level": "Silent",
        }
        if label.task == "multiclass":
            parameters["classes_count"] = score_width(label)
        if stops:
            parameters |= {"use_best_model": True, "od_type": "Iter", "od_wait": chosen.early_stopping_rounds}
        return parameters

    def effort_for(self, effort: int, growth: float) -> int:
        """As many times more trees, up to `rounds`."""
        return min(round(effort * growth), self.settings.rounds)

    def score(self, native: bytes, matrix: Matrix) -> Matrix:
        """Scores, float32 of shape (n, width)."""
        rows = np.ascontiguousarray(matrix, dtype=np.float32)
        margins = _load(native).predict(rows, prediction_type="RawFormulaVal", thread_count=1)
        return graphs.apply_link(self.schema.label, np.asarray(margins, dtype=np.float64).reshape(len(matrix), -1))

    def to_onnx(self, native: bytes) -> onnx.ModelProto:
        """The graph from "X" to "scores"."""
        content = json.loads(native)
        label = self.schema.label
        scale, bias = content["scale_and_bias"]
        column = {f["feature_index"]: f["flat_feature_index"] for f in content["features_info"]["float_features"]}
        says_yes = {f["feature_index"] for f in content["features_info"]["float_features"] if f["nan_value_treatment"] == "AsTrue"}
        forest = Forest()
        for number, tree in enumerate(content["oblivious_trees"]):
            splits = [(column[s["float_feature_index"]], s["border"], s["float_feature_index"] in says_yes) for s in tree["splits"] or []]
            leaves = np.asarray(tree["leaf_values"], dtype=np.float64).reshape(2 ** len(splits), -1) * scale
            _add_tree(forest, number, splits, leaves)
        return forest.to_onnx(label, features=len(self.schema.features), base=[float(v) for v in bias])

    def suggest(self, trial: Trial) -> CatBoostMember:
        """Ranges as they are common in tuned trees; rounds are left to early stopping."""
        tried = {
            "learning_rate": trial.suggest_float("catboost.learning_rate", 0.01, 0.1, log=True),
            "max_depth": trial.suggest_int("catboost.max_depth", 3, 9),
            "reg_lambda": trial.suggest_float("catboost.reg_lambda", 0.1, 100, log=True),
            "subsample": trial.suggest_float("catboost.subsample", 0.5, 1),
        }
        return replace(self, settings=self.settings.model_copy(update=tried))


def _add_tree(forest: Forest, tree: int, splits: list[tuple[int, float, bool]], leaves: Floats) -> None:
    """A symmetric tree: level by level from the last split, whose answer is the highest bit of a leaf's number."""
    depth = len(splits)
    for level in range(depth):
        feature, border, missing_is_above = splits[depth - 1 - level]
        for number in range(2**level - 1, 2 ** (level + 1) - 1):
            no, yes = 2 * number + 1, 2 * number + 2
            missing = yes if missing_is_above else no
            forest.ask(tree, number, feature=feature, question="BRANCH_GT", value=border, yes=yes, no=no, missing=missing)
    for leaf, weights in enumerate(leaves):
        forest.leaf(tree, 2**depth - 1 + leaf, [float(w) for w in weights])


def _save(model: Any) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.json"
        model.save_model(str(path), format="json")
        content = json.loads(path.read_bytes())
    return json.dumps({name: content[name] for name in _KEPT}).encode()


def _load(native: bytes) -> Any:
    """CatBoost reads its JSON from files only."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.json"
        path.write_bytes(native)
        model = extras.need("catboost").CatBoost()
        model.load_model(str(path), format="json")
        return model
