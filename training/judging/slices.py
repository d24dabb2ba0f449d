"""Where the model is weakest: groups of rows with a higher loss, suggested by one half of the rows and proved on the other. Pure.

What the first half suggests is tested once on the second: slice against rest, one-sided, corrected for all that was tested
(Holm 1979, Scandinavian Journal of Statistics 6), so that a slice which is only bad luck is not reported.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import stats

from cluster.errors import NotEnoughData
from cluster.records import Interval, Record
from cluster.schema import FeatureSchema, Floats, Label, Matrix
from training.judging.bootstrap import block_of
from training.judging.conditions import Flags
from training.judging.evaluate import metric_value, row_losses
from training.judging.gate import DEFAULT_METRIC
from training.judging.slice_search import Candidate, Source, Texts, distinct, from_categories, from_trees

Indices = npt.NDArray[np.int64]
MOST_ROWS: Final = 40_000
"""Of more rows a sample is looked at."""
LEAST_ROWS: Final = 50
"""A slice has at least this many rows, and one in a hundred, in each half."""
_MOST_TESTED: Final = 25  # of the slices that nobody asked about; groups of protected columns are all tested
_LEAST_BLOCKS: Final = 5
_LEVEL: Final = 0.05
_CONFIDENCE: Final = 0.95
_FLOOR: Final = 1e-7


class Slice(Record, frozen=True, kw_only=True):
    """A group of rows on which the model does worse than on the rest. All figures are of the half that did not suggest it."""

    where: str
    """The condition for a person: "carrier in {HA, F9} and visib <= 3.2"."""
    features: tuple[str, ...]
    """Features or protected columns in the condition."""
    source: Source
    """What suggested it: a tree over losses, one category of a feature, or one group of a protected column."""
    rows: int
    share: float
    """Of the rows of that half."""
    loss: float
    """Mean loss inside."""
    rest_loss: float
    expected_loss: float | None
    """What the model itself expects inside, if its probabilities are right; near `loss`, these rows are hard; far below, the model is wrong
    about them. None for regression."""
    excess: Interval
    """Loss inside less loss outside, with its 95 % interval, for this slice by itself."""
    p_value: float
    """Of no excess, one-sided, corrected for all that was tested."""
    metric: float | None
    """`Slices.metric` inside; None when these rows cannot tell."""
    rest_metric: float | None


class Slices(Record, frozen=True, kw_only=True):
    """Weak slices that held up."""

    rows: int
    """Labelled rows, both halves."""
    loss: str
    """The loss of one row: log_loss or squared_error."""
    metric: str
    tested: int
    """How many slices were tested."""
    found: list[Slice]
    """Those that held, the costliest first: rows times excess."""
    message: str


class Excess(NamedTuple):
    """A slice's loss against the rest's."""

    interval: Interval
    p_value: float


def find(
    label: Label,
    schema: FeatureSchema,
    matrix: Matrix,
    y: Floats,
    scores: Matrix,
    *,
    rng: np.random.Generator,
    protected: Mapping[str, Texts] | None = None,
    times: Floats | None = None,
) -> Slices:
    """Look for weak slices among labelled rows that the model was not fitted on.

    Parameters
    ----------
    matrix, y, scores
        float32 (n, features), float64 (n,), float32 (n, width).
    protected
        Groups by protected column, strings of shape (n,); their slices are always tested.
    times
        Seconds since 1970, float64 of shape (n,). Rows of a day (`training.judging.bootstrap.block_of`) then stay in one half, and are
        counted as dependent; without times rows are taken as independent, which makes too much of what happened on one day.
    """
    kept = _sample(y, rng)
    scene = _Scene(label, y[kept], scores[kept], row_losses(label, y[kept], scores[kept]), None if times is None else block_of(times[kept]))
    groups: dict[str, Texts] = {name: values[kept] for name, values in (protected or {}).items()}
    least = max(LEAST_ROWS, len(kept) // 200)
    if len(kept) < 4 * least:
        return _nothing(scene, f"not judged: {len(kept):,} labelled rows, {4 * least:,} are needed")
    finding = _half(scene, rng)
    suggested = _suggest(schema, matrix[kept], groups, scene, finding, least=least, seed=int(rng.integers(2**31)))
    return _prove(scene, suggested, ~finding, least)


def excess(values: Floats, inside: Flags, blocks: Indices | None) -> Excess:
    """Mean inside less mean outside; Welch's t-test where rows are independent, else one over blocks.

    With blocks, the variance sums each block's influence on the difference (cluster-robust, Liang & Zeger 1986, Biometrika 73,
    with B / (B - 1)), and t has one degree of freedom less than the blocks that hold rows of the slice.
    """
    one, other = values[inside], values[~inside]
    difference = float(one.mean() - other.mean())
    if blocks is None:
        parts = one.var(ddof=1) / len(one), other.var(ddof=1) / len(other)
        variance = float(sum(parts))
        df = variance**2 / (parts[0] ** 2 / (len(one) - 1) + parts[1] ** 2 / (len(other) - 1)) if variance else 1.0
    else:
        influence = np.where(inside, (values - one.mean()) / len(one), -(values - other.mean()) / len(other))
        count = len(np.unique(blocks))
        variance = float((np.bincount(blocks, influence) ** 2).sum() * count / max(1, count - 1))
        df = max(1.0, len(np.unique(blocks[inside])) - 1.0)
    error = float(np.sqrt(variance))
    reach = float(stats.t.ppf((1 + _CONFIDENCE) / 2, df)) * error
    p_value = float(stats.t.sf(difference / error, df)) if error else float(difference <= 0)
    return Excess(Interval(estimate=difference, lower=difference - reach, upper=difference + reach), p_value)


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values corrected for their number (Holm 1979).

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    order = np.argsort(p_values, kind="stable")
    scaled = np.asarray(p_values)[order] * np.arange(len(p_values), 0, -1)
    corrected = np.empty(len(p_values))
    corrected[order] = np.minimum(1, np.maximum.accumulate(scaled))
    return [float(p) for p in corrected]


class _Scene(NamedTuple):
    """The rows that are looked at."""

    label: Label
    y: Floats
    scores: Matrix
    losses: Floats
    blocks: Indices | None

    def excess(self, slice_: Flags, half: Flags) -> Excess:
        return excess(self.losses[half], slice_[half], None if self.blocks is None else self.blocks[half])

    def metric(self, rows: Flags) -> float | None:
        try:
            return metric_value(self.label, DEFAULT_METRIC[self.label.task], self.y[rows], self.scores[rows])
        except NotEnoughData:
            return None


def _sample(y: Floats, rng: np.random.Generator) -> npt.NDArray[np.intp]:
    known = np.flatnonzero(~np.isnan(y))
    return known if len(known) <= MOST_ROWS else np.sort(rng.choice(known, MOST_ROWS, replace=False))


def _half(scene: _Scene, rng: np.random.Generator) -> Flags:
    """The rows that suggest, about half; whole blocks where there are any."""
    blocks = np.arange(len(scene.y)) if scene.blocks is None else scene.blocks
    count = int(blocks.max()) + 1
    chosen = np.zeros(count, dtype=np.bool_)
    chosen[rng.permutation(count)[: count // 2]] = True
    return np.asarray(chosen[blocks])


def _suggest(
    schema: FeatureSchema, matrix: Matrix, groups: Mapping[str, Texts], scene: _Scene, finding: Flags, *, least: int, seed: int
) -> list[Candidate]:
    trees = from_trees(schema, matrix, scene.losses, finding, least=least, seed=seed)
    everything = [c for c in (*trees, *from_categories(schema, matrix, groups)) if _is_testable(c.rows, finding, scene, least)]
    found = [(scene.excess(c.rows, finding), c) for c in everything]
    likely = [c for score, c in sorted(found, key=lambda pair: pair[0].p_value) if score.interval.estimate > 0 and c.source != "protected"]
    asked = [c for c in everything if c.source == "protected"]
    return [*asked, *distinct(likely)[:_MOST_TESTED]]


def _is_testable(rows: Flags, half: Flags, scene: _Scene, least: int) -> bool:
    inside, outside = int((rows & half).sum()), int((~rows & half).sum())
    spread = scene.blocks is None or len(np.unique(scene.blocks[rows & half])) >= _LEAST_BLOCKS
    return inside >= least and outside >= least and spread


def _prove(scene: _Scene, suggested: list[Candidate], half: Flags, least: int) -> Slices:
    tested = [c for c in suggested if _is_testable(c.rows, half, scene, least)]
    results = [scene.excess(c.rows, half) for c in tested]
    corrected = holm([result.p_value for result in results])
    held = [(c, result.interval, p) for c, result, p in zip(tested, results, corrected, strict=True) if p <= _LEVEL]
    held.sort(key=lambda found: -found[1].estimate * int((found[0].rows & half).sum()))
    found = [_slice(scene, c, interval, p, half) for c, interval, p in held]
    told = (
        f"{len(found)} of {len(tested)} tested slices do worse than the rest"
        if found
        else f"none of {len(tested)} tested slices does worse"
    )
    return _nothing(scene, f"{told}, at {_LEVEL:.0%} over all of them", tested=len(tested), found=found)


def _slice(scene: _Scene, candidate: Candidate, interval: Interval, p_value: float, half: Flags) -> Slice:
    inside, outside = candidate.rows & half, ~candidate.rows & half
    return Slice(
        where=candidate.where,
        features=candidate.features,
        source=candidate.source,
        rows=int(inside.sum()),
        share=float(inside.sum() / half.sum()),
        loss=float(scene.losses[inside].mean()),
        rest_loss=float(scene.losses[outside].mean()),
        expected_loss=_expected(scene.label, scene.scores[inside]),
        excess=interval,
        p_value=p_value,
        metric=scene.metric(inside),
        rest_metric=scene.metric(outside),
    )


def _expected(label: Label, scores: Matrix) -> float | None:
    """Mean entropy of the probabilities given."""
    if label.task == "regression":
        return None
    p = scores.astype(np.float64)
    p = np.column_stack([p, 1 - p]) if label.task == "binary" else p
    return float(-(p * np.log(np.clip(p, _FLOOR, 1))).sum(axis=1).mean())


def _nothing(scene: _Scene, message: str, *, tested: int = 0, found: Sequence[Slice] = ()) -> Slices:
    loss = "squared_error" if scene.label.task == "regression" else "log_loss"
    metric = DEFAULT_METRIC[scene.label.task]
    return Slices(rows=len(scene.y), loss=loss, metric=metric, tested=tested, found=list(found), message=message)
