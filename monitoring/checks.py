"""Runs the checks that a settings file lists, and edge cases made from the schema, against a scorer. Pure.

Kinds after Ribeiro et al. 2020 (ACL, "Beyond Accuracy: Behavioral Testing of NLP Models with CheckList"). Reads
rows, never labels: a check says what the model must do, whatever happened.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from cluster.check_settings import Check, Class, Invariance, Monotonic, Range, Row, problems, shown
from cluster.encoder import Encoder
from cluster.errors import ConfigError
from cluster.records import Record
from cluster.schema import FeatureSchema, Floats, Label, Matrix, Scalar, canonical, decide
from monitoring.conditions import Flags, Shown, matches, show
from monitoring.edge_cases import EdgeCases, Scorer, survive

MOST_ROWS: Final = 2000
_REAL_ROWS: Final = 50  # scored one by one with the edge cases
_ALTERNATIVES: Final = 3  # other values an invariance is tried with, a row
_STEPS: Final = (1, 2, 3)
_ROUNDING: Final = 1e-6  # float32 scores of equal rows


class Outcome(Record, frozen=True, kw_only=True):
    """What became of one check."""

    name: str
    kind: str
    """invariance, monotonic, range or row."""
    passed: bool | None
    """None: not judged, too few rows matched."""
    rows: int
    """Rows tried."""
    share: float | None
    """The share of them on which it holds; None when there was none."""
    needed: float
    """The share that was asked for."""
    worst: Shown | None = None
    """The row on which it fails most; None when it holds on all."""
    worst_score: tuple[float, ...] = ()
    """That row's scores."""
    changed: Shown | None = None
    """What was changed in that row, and to what."""
    changed_score: tuple[float, ...] = ()
    """Its scores after the change."""
    message: str


class Checks(Record, frozen=True, kw_only=True):
    """All checks of a model."""

    outcomes: list[Outcome]
    """In the order of the settings."""
    edge_cases: EdgeCases

    @property
    def passed(self) -> bool:
        """Whether none failed; one that was not judged has not failed."""
        return self.edge_cases.passed and all(outcome.passed is not False for outcome in self.outcomes)


def run(
    checks: Sequence[Check], schema: FeatureSchema, matrix: Matrix, scorer: Scorer, *, rng: np.random.Generator, most_rows: int = MOST_ROWS
) -> Checks:
    """Try every check on at most `most_rows` of the rows that match it, and score the schema's edge cases.

    Parameters
    ----------
    schema
        Frozen.
    matrix
        Encoded rows, float32 of shape (n, features).

    Raises
    ------
    ConfigError
        When a check does not fit the schema.
    """
    if found := problems(checks, schema, categories=False):
        raise ConfigError("checks: " + "; ".join(found))
    bench = _Bench(schema, matrix, scorer, rng, most_rows)
    outcomes = [_row(check, bench) if isinstance(check, Row) else _over_rows(check, bench) for check in checks]
    return Checks(outcomes=outcomes, edge_cases=survive(schema, scorer, rows=matrix[:_REAL_ROWS]))


class _Bench(NamedTuple):
    """What checks are tried on."""

    schema: FeatureSchema
    matrix: Matrix
    scorer: Scorer
    rng: np.random.Generator
    most_rows: int


class _Trial(NamedTuple):
    """One check, tried on n rows."""

    rows: Matrix
    scores: Matrix
    excess: Floats
    """By how much each row breaks the check; 0 or less where it holds."""
    changed: Matrix | None = None
    changed_scores: Matrix | None = None


def _over_rows(check: Invariance | Monotonic | Range, bench: _Bench) -> Outcome:
    fits = matches(check.where, bench.schema, bench.matrix)
    rows = bench.matrix[_sample(fits, bench)]
    if isinstance(check, Invariance):
        trial = _invariance(check, bench, rows)
    elif isinstance(check, Monotonic):
        trial = _monotonic(check, bench, rows)
    else:
        scores = _score(bench, rows)
        trial = _Trial(rows, scores, _beyond(bench.schema.label, scores, check))
    found = _outcome(check, bench.schema, trial, needed=check.share, min_rows=check.min_rows)
    return found if found.passed is not None else msgspec.structs.replace(found, message=_untold(check, fits, tried=found.rows))


def _row(check: Row, bench: _Bench) -> Outcome:
    columns: dict[str, list[Scalar]] = {name: [check.row.get(name)] for name in bench.schema.names}
    row = Encoder(bench.schema).columns(columns)
    scores = _score(bench, row)
    return _outcome(check, bench.schema, _Trial(row, scores, _beyond(bench.schema.label, scores, check)), needed=1.0, min_rows=1)


def _invariance(check: Invariance, bench: _Bench, rows: Matrix) -> _Trial:
    """Each row with its worst of a few changes; rows in which nothing can be changed are left out."""
    scores = _score(bench, rows)
    worst, worst_scores, move = rows.copy(), scores.copy(), np.full(len(rows), -1.0)
    for _ in range(_ALTERNATIVES):
        tried = _changed(check, bench, rows)
        tried_scores = _score(bench, tried)
        found = np.abs(_meant(bench.schema.label, tried_scores, check.of) - _meant(bench.schema.label, scores, check.of)).max(axis=1)
        further = ~_same(tried, rows) & (found > move)
        worst[further], worst_scores[further], move[further] = tried[further], tried_scores[further], found[further]
    tried_at_all = move >= 0
    excess = (move - check.tolerance)[tried_at_all]
    return _Trial(rows[tried_at_all], scores[tried_at_all], excess, worst[tried_at_all], worst_scores[tried_at_all])


def _changed(check: Invariance, bench: _Bench, rows: Matrix) -> Matrix:
    result = rows.copy()
    for name in check.features:
        j = bench.schema.names.index(name)
        feature = bench.schema.features[j]
        known = ~np.isnan(rows[:, j])
        if feature.categories is None:
            moved = rows[:, j] * (1 + bench.rng.uniform(-check.by, check.by, len(rows)))
            result[:, j] = np.clip(moved, *_ends(feature.range, rows[:, j]))
        elif len(feature.categories) > 1:
            result[known, j] = _another(rows[known, j], len(feature.categories), bench.rng)
    return result


def _another(codes: npt.NDArray[np.float32], count: int, rng: np.random.Generator) -> npt.NDArray[np.float32]:
    """For each code a different one of `count` known codes; an unknown one, `count`, gets any of them."""
    ahead = rng.integers(1, count, len(codes))
    return np.where(codes >= count, ahead - 1, (codes + ahead) % count).astype(np.float32)


def _monotonic(check: Monotonic, bench: _Bench, rows: Matrix) -> _Trial:
    """Each row with the step on which the score goes the wrong way most; rows that cannot be raised are left out."""
    j = bench.schema.names.index(check.feature)
    rows = rows[~np.isnan(rows[:, j])]
    ladder = _ladder(check, bench, rows, j)
    scores = np.stack([_score(bench, rung) for rung in ladder])
    meant = np.stack([_meant(bench.schema.label, rung, check.of)[:, 0] for rung in scores]).astype(np.float64)
    falls = (meant[:-1] - meant[1:]) * (1 if check.direction == "up" else -1)
    excess = np.where(ladder[1:, :, j] > ladder[:-1, :, j], falls, -np.inf)
    raised = np.flatnonzero((excess > -np.inf).any(axis=0) | np.isnan(excess).any(axis=0))
    at = excess.argmax(axis=0)[raised]
    return _Trial(
        ladder[at, raised], scores[at, raised], excess[at, raised] - check.tolerance, ladder[at + 1, raised], scores[at + 1, raised]
    )


def _ladder(check: Monotonic, bench: _Bench, rows: Matrix, j: int) -> Matrix:
    """The rows as they are and raised by each number of steps, (steps + 1, n, features)."""
    step = check.step
    if step is None:
        known = bench.matrix[~np.isnan(bench.matrix[:, j]), j]
        step = float(known.std(dtype=np.float64)) / 2 if len(known) else 1.0
    ladder = np.repeat(rows[None], len(_STEPS) + 1, axis=0)
    for rung, times in enumerate(_STEPS, start=1):
        ladder[rung, :, j] = np.minimum(rows[:, j] + times * step, _ends(bench.schema.features[j].range, rows[:, j])[1])
    return ladder


def _beyond(label: Label, scores: Matrix, check: Range | Row) -> Floats:
    """How far each row's score is outside of what is expected; for a decision, 1 where another class is answered."""
    if check.decision is not None:
        wanted = canonical(check.decision)
        return np.array([0.0 if canonical(answer) == wanted else 1.0 for answer in decide(label, scores)])
    assert check.score is not None  # the section takes one of the two
    meant = _meant(label, scores, check.of)[:, 0].astype(np.float64)
    return np.asarray(np.maximum(check.score[0] - meant, meant - check.score[1]))


def _outcome(check: Check, schema: FeatureSchema, trial: _Trial, *, needed: float, min_rows: int) -> Outcome:
    count = len(trial.rows)
    broken = ~(trial.excess <= _ROUNDING)  # a score that is not a number breaks it
    share = float(1 - broken.mean()) if count else None
    passed = None if share is None or count < min_rows else share >= needed
    told = _told_row(passed, trial) if isinstance(check, Row) else _told(count, share, needed)
    outcome = Outcome(name=check.name, kind=check.kind, passed=passed, rows=count, share=share, needed=needed, message=told)
    return _with_worst(outcome, schema, trial) if broken.any() else outcome


def _with_worst(outcome: Outcome, schema: FeatureSchema, trial: _Trial) -> Outcome:
    i = int(np.where(np.isnan(trial.excess), np.inf, trial.excess).argmax())
    before = show(schema, trial.rows[i])
    outcome = msgspec.structs.replace(outcome, worst=before, worst_score=tuple(trial.scores[i].tolist()))
    if trial.changed is None or trial.changed_scores is None:
        return outcome
    changed = {name: value for name, value in show(schema, trial.changed[i]).items() if value != before[name]}
    return msgspec.structs.replace(outcome, changed=changed, changed_score=tuple(trial.changed_scores[i].tolist()))


def _untold(check: Invariance | Monotonic | Range, fits: Flags, *, tried: int) -> str:
    """Why a check is not judged: what it asked for, and of how many rows."""
    matched = int(fits.sum())
    asked = "; ".join(f"{name}: {shown(value)}" for name, value in check.where.items())
    found = f"{matched:,} of {len(fits):,} rows match where {asked}" if asked else f"{len(fits):,} rows were looked at"
    fewer = f", {tried:,} of them could be tried" if tried < matched else ""
    return f"not judged: {found}{fewer}; {check.min_rows:,} are needed"


def _told(count: int, share: float | None, needed: float) -> str:
    if share is None:
        return "not judged"
    return f"{'holds' if share >= needed else 'fails'}: it holds on {share:.2%} of {count:,} rows; {needed:.2%} are needed"


def _told_row(passed: bool | None, trial: _Trial) -> str:
    scores = ", ".join(f"{score:.4g}" for score in trial.scores[0].tolist())
    return f"{'holds' if passed else 'fails'}: the row scores {scores}"


def _sample(fits: Flags, bench: _Bench) -> npt.NDArray[np.intp]:
    found = np.flatnonzero(fits)
    return found if len(found) <= bench.most_rows else np.sort(bench.rng.choice(found, bench.most_rows, replace=False))


def _score(bench: _Bench, rows: Matrix) -> Matrix:
    return bench.scorer(rows) if len(rows) else np.empty((0, 1), dtype=np.float32)  # a graph need not take no rows


def _meant(label: Label, scores: Matrix, of: Class | None) -> Matrix:
    """The scores a check speaks of, (n, 1) or all of them."""
    if of is None or label.classes is None or not len(scores):
        return scores
    j = [canonical(c) for c in label.classes].index(canonical(of))
    return scores[:, j : j + 1]


def _same(one: Matrix, other: Matrix) -> Flags:
    return np.asarray(((one == other) | (np.isnan(one) & np.isnan(other))).all(axis=1))


def _ends(limits: tuple[float, float] | None, values: Matrix) -> tuple[Floats, Floats]:
    """A range's ends for each value, infinite where there is none: one that lies beyond already is not pulled back."""
    low, high = limits or (-np.inf, np.inf)
    return np.minimum(values, low).astype(np.float64), np.maximum(values, high).astype(np.float64)
