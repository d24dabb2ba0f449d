"""Explains rows of one bundle by the method that is asked for, or by the best that the bundle can do, and says what it explained.

Owns which file a method needs, when it is read (when first asked for), and the words for what came out. Knows no protocol and no
process; the scorer that LIME asks is handed in, because not every process holds every graph.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final, Literal, NamedTuple, TypeVar

import msgspec
import numpy as np

from cluster.bundle import TREES, Bundle
from cluster.errors import NotServed, ScoringFailed
from cluster.explaining import contributions, lime, neighbourhood, rules
from cluster.schema import FeatureSchema, Floats, Label, Matrix, canonical

if TYPE_CHECKING:
    import xgboost

_Scores = TypeVar("_Scores", Matrix, Floats)
Method = Literal["shap", "lime", "surrogate"]
METHODS: Final[tuple[Method, ...]] = ("shap", "lime", "surrogate")
SAMPLES: Final = 5000
"""Made-up rows of LIME, as many as the package's default."""
SEED: Final = 7
_NEEDS: Final[dict[Method, str]] = {"shap": TREES, "lime": neighbourhood.NAME, "surrogate": rules.NAME}
_BLEND: Final = "blend.json"
_MOST_OF_IT: Final = 0.5
"""The trees' share of the blend from which on explaining them explains the ensemble better than an approximation of all of it."""


class Chosen(NamedTuple):
    """A method, and one sentence that says why."""

    method: Method
    why: str


class Asked(NamedTuple):
    """What is to be explained, and how."""

    chosen: Chosen
    who: Literal["student", "ensemble"]
    """Whose scores `scorer` gives."""
    scorer: lime.Scorer
    samples: int = SAMPLES
    seed: int = SEED
    output: int | None = None
    """The class by its place; None: the one that the explained model predicts, or the positive one of two."""


class Because(NamedTuple):
    """One row, explained; figures in the unit of `Explained`."""

    output: int
    """Place of the explained class; 0 for regression."""
    score: float
    """What the explained model says of the row."""
    base: float | None = None
    """What it says before any feature is looked at; None for a rule."""
    contributions: Floats | None = None
    """By feature, float64 of shape (features,); None for a rule."""
    conditions: Sequence[str] = ()
    """What of the row is meant: by feature for LIME, of the rule for the surrogate."""
    fidelity: float | None = None
    """R² of the explanation as a model of what it explains: around the row for LIME, on rows held out for the surrogate. Exact ones have none."""
    rule: rules.Rule | None = None


class Explained(NamedTuple):
    """Rows, explained."""

    explains: Literal["student", "ensemble", "xgboost"]
    unit: str
    note: str
    """In words: what is explained, and what is not."""
    rows: list[Because]
    agreement: float | None = None
    """The surrogate's: share of held-out rows that it decides as the ensemble does."""


class _Blend(msgspec.Struct):
    weights: dict[str, float]


class Explainer:
    """What explaining needs of a bundle. It holds no graph, and not the bundle, so that it may be kept beside one; for one thread at a time."""

    def __init__(self, bundle: Bundle) -> None:
        self.schema: FeatureSchema = bundle.schema
        self.methods: tuple[Method, ...] = tuple(method for method in METHODS if _NEEDS[method] in bundle.manifest.files)
        """What this bundle can do, exact ones first."""
        self._folder = bundle.folder
        self._version = bundle.version
        self._trees_share = _trees_share(bundle)
        self._around: tuple[tuple[str, int, int], lime.Around] | None = None  # the last one: most callers keep samples and seed

    @functools.cached_property
    def _booster(self) -> xgboost.Booster:
        return contributions.read_booster(self._folder / TREES)

    @functools.cached_property
    def _setup(self) -> neighbourhood.LimeSetup:
        return neighbourhood.read_setup(self._folder)

    @functools.cached_property
    def _surrogate(self) -> rules.Surrogate:
        return rules.read_surrogate(self._folder)

    def choose(self, wanted: Method | None) -> Chosen:
        """The wanted method, or the best.

        Exact contributions of the trees are best where the trees are most of the ensemble; else LIME, which explains all of it
        nearly; else the rule of the surrogate.

        Raises
        ------
        NotServed
            When the bundle lacks what the method needs, or can be explained by none.
        """
        if not self.methods:
            needed = ", ".join(f"'{_NEEDS[method]}' ({method})" for method in METHODS)
            raise NotServed(f"version {self._version} cannot be explained: it holds none of {needed}; train it anew")
        if wanted is not None:
            if wanted not in self.methods:
                message = f"version {self._version} cannot be explained by '{wanted}': it holds no '{_NEEDS[wanted]}'; it can do: {', '.join(self.methods)}"
                raise NotServed(message, details=[{"found": wanted, "allowed": list(self.methods)}])
            return Chosen(wanted, "asked for")
        share = self._trees_share
        if "shap" in self.methods and (share is None or share >= _MOST_OF_IT):
            return Chosen("shap", f"exact, and the trees {'belong to' if share is None else f'are {share:.0%} of'} the ensemble")
        if "lime" in self.methods:
            lacking = (
                "there are no trees" if share is None else f"the trees, exactly explained by shap, are only {share:.0%} of the ensemble"
            )
            return Chosen("lime", f"nearly, and of the whole model: {lacking}")
        return Chosen(self.methods[-1], f"the bundle holds nothing better: no '{neighbourhood.NAME}'")

    def explain(self, matrix: Matrix, asked: Asked) -> Explained:
        """Explain encoded rows, float32 of shape (n, features).

        Raises
        ------
        ScoringFailed
            When the model answers numbers that are not finite.
        BundleError
            When the bundle's files cannot be used.
        """
        how: dict[Method, Callable[[Matrix, Asked], Explained]] = {"shap": self._shap, "lime": self._lime, "surrogate": self._rule}
        return how[asked.chosen.method](np.ascontiguousarray(matrix), asked)

    def _shap(self, matrix: Matrix, asked: Asked) -> Explained:
        label = self.schema.label
        found = contributions.contributions(self._booster, matrix)
        base, values = found.base.astype(np.float64), found.values.astype(np.float64)
        if label.task == "binary":  # the odds of the negative class are the same turned round
            base, values = base * [-1, 1], values * [-1, 1]
        margins = _finite(base + values.sum(axis=1))
        outputs = _outputs(label, margins, asked.output)
        rows = [Because(k, float(margins[i, k]), float(base[i, k]), values[i, :, k]) for i, k in enumerate(outputs)]
        return Explained("xgboost", _MARGINS[label.task].format(label=label.name), _note(self._trees_share), rows)

    def _lime(self, matrix: Matrix, asked: Asked) -> Explained:
        setup, label = self._setup, self.schema.label

        def scorer(rows: Matrix) -> Matrix:
            return _finite(asked.scorer(rows))

        def choose(scores: Matrix) -> list[int]:
            return _outputs(label, neighbourhood.outcomes(setup, scores), asked.output)

        wanted = (asked.who, asked.samples, asked.seed)
        if self._around is None or self._around[0] != wanted:
            self._around = wanted, lime.surround(setup, scorer, samples=asked.samples, seed=asked.seed)
        found = lime.explain(setup, self._around[1], matrix, scorer, choose)
        rows = [
            Because(r.output, r.score, r.base, r.contributions, neighbourhood.names_of(setup, r.codes), fidelity=r.fidelity) for r in found
        ]
        return Explained(asked.who, _scores(label), _WHOLE[asked.who], rows)

    def _rule(self, matrix: Matrix, asked: Asked) -> Explained:
        label, surrogate = self.schema.label, self._surrogate
        rows = []
        for row in matrix:
            rule = rules.rule_of(surrogate, self.schema, row)
            scores = np.array([rule.scores])
            told = np.column_stack([1 - scores, scores]) if label.task == "binary" else scores
            [output] = _outputs(label, told, asked.output)
            conditions = [rules.describe(condition) for condition in rule.conditions]
            rows.append(Because(output, float(told[0, output]), conditions=conditions, fidelity=surrogate.r2, rule=rule))
        note = f"the ensemble, by a tree of depth {surrogate.depth} that imitates it; checked on {surrogate.checked_rows:,} rows it was not fitted on"
        return Explained("ensemble", _scores(label), note, rows, surrogate.agreement)


_MARGINS: Final = {"binary": "log odds of the class", "multiclass": "margin of the class before the softmax", "regression": "{label}"}
_WHOLE: Final = {
    "ensemble": "the ensemble as it answers, by a linear model around each row; where the student is sure, it answers instead",
    "student": "the student as it answers, by a linear model around each row; not the ensemble, which is asked where the student is not sure",
}


def _scores(label: Label) -> str:
    return label.name if label.task == "regression" else "probability of the class"


def _note(share: float | None) -> str:
    part = "one member of the ensemble" if share is None else f"{share:.0%} of the ensemble"
    return f"the XGBoost member, {part}, exactly; not the other members, the calibration or the student"


def output_of(label: Label, value: str | int | float | bool) -> int | None:
    """The place of a class that somebody names; None when there is none of this name."""
    names = {canonical(c): place for place, c in enumerate(label.classes or ())}
    return names.get(canonical(value))


def _outputs(label: Label, told: Floats, wanted: int | None) -> list[int]:
    """Which column of (n, outputs) is explained for each row."""
    if label.task == "regression":
        return [0] * len(told)
    if wanted is not None or label.task == "binary":
        return [1 if wanted is None else wanted] * len(told)
    return [int(k) for k in told.argmax(axis=1)]


def _trees_share(bundle: Bundle) -> float | None:
    """The weight of the trees in the blend; None where the bundle does not say."""
    if _BLEND not in bundle.manifest.files or TREES not in bundle.manifest.files:
        return None
    return msgspec.convert(bundle.json(_BLEND), _Blend).weights.get("xgboost", 0.0)


def _finite(scores: _Scores) -> _Scores:
    if not np.isfinite(scores).all():
        raise ScoringFailed("the model answers numbers that are not finite for these rows, or for rows like them")
    return scores
