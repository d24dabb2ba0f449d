"""How much scores and metrics move: under disturbed inputs, from one period, group or seed to the next. Pure.

Disturbances ask the finished model through its scorer; spreads over groups and seeds fit a small XGBoost of their
own, which stands in for the model: they say something about the rows, not about the ensemble.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import msgspec
import numpy as np
import numpy.typing as npt
from sklearn.model_selection import GroupKFold, KFold

from cluster.errors import NotEnoughData
from cluster.records import Record
from cluster.schema import FeatureSchema, Floats, Label, Matrix
from training.composing.measure import Scorer
from training.judging import small_trees
from training.judging.disturbances import KINDS, Disturber, Kind
from training.judging.evaluate import HIGHER_IS_BETTER, measure, metric_value
from training.judging.gate import DEFAULT_METRIC
from training.members import Rows

Groups = npt.NDArray[np.str_] | npt.NDArray[np.object_]
Indices = npt.NDArray[np.intp]
MOST_ROWS: Final = 10_000
"""A sample of this many rows is disturbed in all features."""
FEATURE_ROWS: Final = 1_000
"""Features are disturbed one at a time on this many: there are many of them, and an ensemble is slow."""
_PLAN: Final[tuple[tuple[Kind, float], ...]] = (
    ("noise", 0.01),
    ("noise", 0.05),
    ("noise", 0.10),
    ("missing", 0.05),
    ("missing", 0.20),
    ("missing", 0.50),
    ("below_range", 0.20),
    ("above_range", 0.20),
    ("unknown_category", 0.20),
)
_NOISE_ALONE: Final = 0.10
_NOTABLE: Final = 2.0  # standard errors
_FEWEST_FOLDS: Final = 3


class Disturbance(Record, frozen=True, kw_only=True):
    """One way to spoil rows, and what it did to their scores."""

    kind: Literal["noise", "missing", "feature_missing", "below_range", "above_range", "unknown_category"]
    size: float
    """noise: standard deviations of each number. missing: share of all cells. below_range, above_range: share of the numbers, put one width
    of their range beyond its end. unknown_category: share of the categories. feature_missing: 1, the whole column."""
    feature: str | None = None
    """kind feature_missing: which."""
    rows: int
    score_change: float
    """Mean over rows of the largest change among a row's scores."""
    flipped: float | None
    """Share of rows decided otherwise; None for regression."""
    before: dict[str, float]
    """Metrics of these rows undisturbed, by name as in `training.judging.evaluate`."""
    after: dict[str, float]
    worst_feature: str | None = None
    """Disturbed alone and wholly (noise: by a tenth of its standard deviation), this one changes scores most."""
    worst_change: float | None = None
    """Its mean change of the score."""


class Stress(Record, frozen=True, kw_only=True):
    """What disturbed inputs do to a model."""

    rows: int
    """Rows of the disturbances that touch all features."""
    feature_rows: int
    """Rows on which features were disturbed one at a time."""
    metric: str
    """The first to look at: the one a gate compares."""
    disturbances: list[Disturbance]


class Part(Record, frozen=True, kw_only=True):
    """One fold, or one seed."""

    name: str
    rows: int
    """Rows it was measured on."""
    value: float


class Spread(Record, frozen=True, kw_only=True):
    """One metric, measured several times."""

    kind: Literal["time", "groups", "seeds"]
    metric: str
    parts: list[Part]
    mean: float | None
    """None: nothing could be measured; `message` says why."""
    sd: float | None
    """Standard deviation of the parts, n - 1 in the denominator; None for fewer than two."""
    worst: float | None
    """The lowest, or the highest where less is better."""
    plain: tuple[Part, ...] = ()
    """kind groups: folds dealt out row by row so that they split groups."""
    gap: float | None = None
    """kind groups: how much better the metric looks when groups are split; above 0, whatever the metric, the model recognises them."""
    gap_error: float | None = None
    """Its standard error over the folds; somewhat too small, since folds share training rows (Bengio & Grandvalet 2004, JMLR 5)."""
    message: str


def stress(
    label: Label,
    schema: FeatureSchema,
    matrix: Matrix,
    y: Floats,
    scorer: Scorer,
    *,
    rng: np.random.Generator,
    most_rows: int = MOST_ROWS,
    feature_rows: int = FEATURE_ROWS,
) -> Stress:
    """Disturb a sample of labelled rows in every way there is, then a smaller sample one feature at a time.

    Parameters
    ----------
    matrix
        Encoded rows, float32 of shape (n, features).
    y
        float64 of shape (n,); rows without a label are left out.

    Raises
    ------
    NotEnoughData
        When no row has a label.
    """
    known = np.flatnonzero(~np.isnan(y))
    if not len(known):
        raise NotEnoughData(f"none of {len(y)} rows has a label; what a disturbance does cannot be measured")
    chosen = rng.permutation(known)[:most_rows]
    few = chosen[:feature_rows]
    disturber = Disturber(schema, matrix)
    together = _Sample(label, matrix[chosen], y[chosen], scorer(matrix[chosen]), scorer)
    alone = _Sample(label, matrix[few], y[few], together.scores[:feature_rows], scorer)
    worst = {kind: _worst(alone, disturber, kind, schema, rng) for kind in KINDS}
    plan = [(kind, size) for kind, size in _PLAN if disturber.columns(kind)]
    found = [
        together.disturbed(kind, size, disturber.spoil(kind, size, together.rows, disturber.columns(kind), rng), worst=worst[kind])
        for kind, size in plan
    ]
    for j, name in enumerate(schema.names):
        gone = disturber.spoil("missing", 1.0, alone.rows, [j], rng)
        found.append(alone.disturbed("feature_missing", 1.0, gone, feature=name))
    return Stress(rows=len(chosen), feature_rows=len(few), metric=DEFAULT_METRIC[label.task], disturbances=found)


def spread(label: Label, folds: Sequence[tuple[Floats, Matrix]]) -> Spread:
    """The gate's metric on each fold, from labels (n,) and out-of-fold scores (n, width), in order of time."""
    parts: list[Part] = []
    skipped: list[str] = []
    for number, (y, scores) in enumerate(folds, start=1):
        try:
            value = metric_value(label, DEFAULT_METRIC[label.task], y, scores)
        except NotEnoughData as error:
            skipped.append(f"fold {number}: {error.message}")
            continue
        parts.append(Part(name=f"fold {number}", rows=int((~np.isnan(y)).sum()), value=value))
    return _summed("time", label, parts, message="; ".join(skipped) or f"{len(parts)} folds, each predicted from what came before")


def seeds(label: Label, rows: Rows, valid: Rows, *, seeds: Sequence[int] = (1, 2, 3, 4, 5), threads: int) -> Spread:
    """The same small XGBoost with other seeds: differences between models below this spread are luck.

    At most `small_trees.MOST_ROWS` rows are fitted on, the last ones, which are the latest where rows are in order of time.
    """
    train = rows.labelled()[-small_trees.MOST_ROWS :]
    try:
        values = [small_trees.value(label, train, valid, seed=seed, threads=threads) for seed in seeds]
    except NotEnoughData as error:
        return _summed("seeds", label, [], message=error.message)
    parts = [Part(name=f"seed {seed}", rows=len(valid.labelled()), value=value) for seed, value in zip(seeds, values, strict=True)]
    return _summed("seeds", label, parts, message=f"small XGBoost on {len(train):,} rows, {len(parts)} seeds")


def group_spread(label: Label, rows: Rows, groups: Groups | None, *, seed: int, threads: int, folds: int = 5) -> Spread:
    """K-fold of a small XGBoost with groups kept whole, beside K-fold that splits them.

    A model that looks better when groups are split has learned to recognise them, which is no help with new ones. Whole groups
    are drawn until there are `small_trees.MOST_ROWS` rows: thinned groups would be harder to recognise.

    Parameters
    ----------
    groups
        Which rows belong together, such as a person: strings of shape (n,), None or "" for a row of its own.
    """
    if groups is None:
        return _summed("groups", label, [], message="not measured: no column says which rows belong together")
    if np.isnan(rows.y).all():
        return _summed("groups", label, [], message=f"not measured: none of {len(rows)} rows has a label")
    codes = _codes(groups)
    kept = _some_groups(codes, ~np.isnan(rows.y), small_trees.MOST_ROWS, np.random.default_rng(seed))
    rows, codes = rows[kept], codes[kept]
    count = len(np.unique(codes))
    if count < folds or count == len(codes):
        reason = f"{count} groups cannot fill {folds} folds" if count < folds else f"all {count:,} groups are single rows"
        return _summed("groups", label, [], message=f"not measured: {reason}")
    whole = _cross_validated(label, rows, GroupKFold(folds).split(rows.X, groups=codes), seed, threads)
    split = _cross_validated(label, rows, KFold(folds, shuffle=True, random_state=seed).split(rows.X), seed, threads)
    if min(len(whole), len(split)) < _FEWEST_FOLDS:
        return _summed("groups", label, [], message=f"not measured: fewer than {_FEWEST_FOLDS} folds hold rows of every class")
    return _compared(label, whole, split, groups=count, rows=len(rows))


@dataclass(frozen=True)
class _Sample:
    """Rows and their scores before anything went wrong."""

    label: Label
    rows: Matrix
    y: Floats
    scores: Matrix
    scorer: Scorer

    def change(self, spoilt: Matrix) -> float:
        return _change(self.scores, self.scorer(spoilt))

    def disturbed(
        self,
        kind: Kind | Literal["feature_missing"],
        size: float,
        spoilt: Matrix,
        *,
        feature: str | None = None,
        worst: tuple[str, float] | None = None,
    ) -> Disturbance:
        scores = self.scorer(spoilt)
        return Disturbance(
            kind=kind,
            size=size,
            feature=feature,
            rows=len(self.rows),
            score_change=_change(self.scores, scores),
            flipped=_flipped(self.label, self.scores, scores),
            before=measure(self.label, self.y, self.scores),
            after=measure(self.label, self.y, scores),
            worst_feature=worst[0] if worst else None,
            worst_change=worst[1] if worst else None,
        )


def _worst(sample: _Sample, disturber: Disturber, kind: Kind, schema: FeatureSchema, rng: np.random.Generator) -> tuple[str, float] | None:
    size = _NOISE_ALONE if kind == "noise" else 1.0
    columns = disturber.columns(kind)
    changes = [sample.change(disturber.spoil(kind, size, sample.rows, [j], rng)) for j in columns]
    if not columns:
        return None
    first = int(np.argmax(changes))
    return schema.names[columns[first]], changes[first]


def _change(before: Matrix, after: Matrix) -> float:
    return float(np.abs(after.astype(np.float64) - before).max(axis=1).mean())


def _flipped(label: Label, before: Matrix, after: Matrix) -> float | None:
    if label.task == "regression":
        return None
    if label.task == "multiclass":
        return float((before.argmax(axis=1) != after.argmax(axis=1)).mean())
    return float(((before[:, 0] >= label.threshold) != (after[:, 0] >= label.threshold)).mean())


def _summed(kind: Literal["time", "groups", "seeds"], label: Label, parts: list[Part], *, message: str) -> Spread:
    metric = DEFAULT_METRIC[label.task]
    values = [part.value for part in parts]
    worst = min if HIGHER_IS_BETTER[metric] else max
    return Spread(
        kind=kind,
        metric=metric,
        parts=parts,
        mean=float(np.mean(values)) if values else None,
        sd=float(np.std(values, ddof=1)) if len(values) > 1 else None,
        worst=worst(values) if values else None,
        message=message,
    )


def _codes(groups: Groups) -> Indices:
    """Groups as numbers; a row without a group is one of its own."""
    texts = [f"={text}" if text is not None and text != "" else f"?{i}" for i, text in enumerate(groups.tolist())]
    return np.unique(np.array(texts), return_inverse=True)[1].astype(np.intp)


def _some_groups(codes: Indices, known: npt.NDArray[np.bool_], most: int, rng: np.random.Generator) -> Indices:
    """Indices of labelled rows of whole groups, up to `most` rows but at least one group."""
    sizes = np.bincount(codes[known], minlength=int(codes.max()) + 1)
    order = rng.permutation(len(sizes))
    chosen = np.zeros(len(sizes), dtype=np.bool_)
    within = np.cumsum(sizes[order]) <= most
    within[0] = True
    chosen[order[within]] = True
    return np.flatnonzero(known & chosen[codes])


def _cross_validated(label: Label, rows: Rows, splits: Iterable[tuple[Indices, Indices]], seed: int, threads: int) -> list[Part]:
    """One part a fold; a fold that lacks a class cannot tell and is left out."""
    parts = []
    for number, (train, test) in enumerate(splits, start=1):
        try:
            value = small_trees.value(label, rows[train], rows[test], seed=seed, threads=threads)
        except NotEnoughData:
            continue
        parts.append(Part(name=f"fold {number}", rows=len(test), value=value))
    return parts


def _compared(label: Label, whole: list[Part], split: list[Part], *, groups: int, rows: int) -> Spread:
    ours, theirs = np.array([part.value for part in whole]), np.array([part.value for part in split])
    sign = 1.0 if HIGHER_IS_BETTER[DEFAULT_METRIC[label.task]] else -1.0
    gap = sign * float(theirs.mean() - ours.mean())
    error = float(np.sqrt(ours.var(ddof=1) / len(ours) + theirs.var(ddof=1) / len(theirs)))
    leans = "leans on recognising groups" if gap > _NOTABLE * error else "is not seen to lean on recognising groups"
    summed = _summed("groups", label, whole, message=f"a small XGBoost {leans}: {groups:,} groups, {rows:,} rows, {len(whole)} folds")
    return msgspec.structs.replace(summed, plain=tuple(split), gap=gap, gap_error=error)
