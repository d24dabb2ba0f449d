"""Rows at the edge of a schema, and whether a scorer survives them: finite, proper, the same alone as in a batch. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

import numpy as np

from cluster.records import Record
from cluster.schema import Feature, FeatureSchema, Floats, Label, Matrix, score_width

Scorer = Callable[[Matrix], Matrix]
"""Encoded rows, float32 (n, features), to scores, float32 (n, width)."""
MOST_CASES: Final = 400
"""Single features are taken in order until there are this many rows: each is scored alone, one call a row."""
_SAME: Final = 1e-5  # a batch may add in another order than a row
_SUM: Final = 1e-4  # float32 softmax over many classes
_EXTREME: Final = float(np.finfo(np.float32).max)


class EdgeCases(Record, frozen=True, kw_only=True):
    """Rows at the edge of the schema, scored."""

    passed: bool
    rows: int
    failed: list[str]
    """The rows that failed, each with what was wrong."""
    largest_difference: float | None
    """Between a row scored alone and in the batch, relative to the score where that is above 1; None when no score was finite."""
    message: str


def edge_cases(schema: FeatureSchema) -> tuple[Matrix, list[str]]:
    """Rows that the schema allows and a table hardly ever shows.

    Returns
    -------
    The rows, float32 of shape (n, features), and what each is.

    Examples
    --------
    >>> from cluster.schema import Feature
    >>> schema = FeatureSchema(features=(Feature(name="miles", type="number", range=(0, 9)),), label=Label(name="late", classes=(0, 1)))
    >>> edge_cases(schema)[1][:4]
    ['everything missing', 'ordinary', 'all numbers at their lowest', 'all numbers at their highest']
    """
    cases = list(_together(schema))
    usual = cases[1][1]
    for j, feature in enumerate(schema.features):
        for what, value in _alone(feature):
            row = usual.copy()
            row[j] = value
            cases.append((f"{feature.name} {what}", row))
    cases = cases[:MOST_CASES]
    return np.array([row for _, row in cases], dtype=np.float32), [what for what, _ in cases]


def survive(schema: FeatureSchema, scorer: Scorer, *, rows: Matrix | None = None) -> EdgeCases:
    """Score the edge cases, and some real `rows` with them, in a batch and one by one.

    A score must be finite; probabilities lie in [0, 1], those of all classes sum to 1 (to 1e-4); and a row alone must score
    as in the batch (to 1e-5, relative where the score is above 1): a scorer that mixes rows up is caught here.
    """
    matrix, what = edge_cases(schema)
    if rows is not None and len(rows):
        matrix, what = np.concatenate([matrix, rows]), [*what, *(f"real row {i}" for i in range(len(rows)))]
    scores = np.asarray(scorer(matrix), dtype=np.float64)
    if scores.shape != (len(matrix), score_width(schema.label)):
        message = f"scores have the shape {scores.shape}; {(len(matrix), score_width(schema.label))} was expected"
        return EdgeCases(passed=False, rows=len(matrix), failed=what, largest_difference=None, message=message)
    alone = np.concatenate([np.asarray(scorer(matrix[i : i + 1]), dtype=np.float64) for i in range(len(matrix))])
    apart = _apart(scores, alone)
    failed = [f"{case}: {fault}" for case, fault in zip(what, _faults(schema.label, scores, apart), strict=True) if fault]
    finite = apart[np.isfinite(apart)]
    told = f"{len(failed)} of {len(matrix)} edge cases fail, the first: {failed[0]}" if failed else f"all {len(matrix)} edge cases survive"
    largest = float(finite.max()) if len(finite) else None
    return EdgeCases(passed=not failed, rows=len(matrix), failed=failed, largest_difference=largest, message=told)


def _together(schema: FeatureSchema) -> Iterator[tuple[str, Matrix]]:
    """Rows that put all features in one state."""

    def row(number: str, category: str) -> Matrix:
        return np.array([_state(f, number if f.type == "number" else category) for f in schema.features], dtype=np.float32)

    yield "everything missing", row("missing", "missing")
    yield "ordinary", row("middle", "first")
    yield "all numbers at their lowest", row("lowest", "first")
    yield "all numbers at their highest", row("highest", "last")
    yield "all categories unknown", row("middle", "unknown")
    yield "all numbers missing, all categories unknown", row("missing", "unknown")
    yield "all numbers the least that float32 holds", row("least", "first")
    yield "all numbers the most that float32 holds", row("most", "last")
    yield "all numbers the most, everything else missing", row("most", "missing")


def _alone(feature: Feature) -> Iterator[tuple[str, float]]:
    """States of one feature while the others are ordinary."""
    states = {"missing": "missing"}
    if feature.type == "category":
        states |= {"unknown": "unknown", "of its last category": "last"}
    else:
        states |= {"at its lowest": "lowest", "at its highest": "highest"}
        states |= {"the least that float32 holds": "least", "the most that float32 holds": "most"}
    for what, state in states.items():
        yield what, _state(feature, state)


def _state(feature: Feature, state: str) -> float:
    low, high = feature.range or (-1e6, 1e6)
    unknown = len(feature.categories or ())
    states = {"missing": np.nan, "first": 0.0, "last": unknown - 1.0, "unknown": float(unknown)}
    states |= {"lowest": low, "highest": high, "middle": low / 2 + high / 2, "least": -_EXTREME, "most": _EXTREME}
    return float(np.clip(states[state], -_EXTREME, _EXTREME))  # a range may be wider than float32


def _apart(batch: Floats, alone: Floats) -> Floats:
    with np.errstate(invalid="ignore"):  # infinite less infinite: found as not finite
        return np.asarray((np.abs(batch - alone) / np.maximum(1, np.abs(batch))).max(axis=1))


def _faults(label: Label, scores: Floats, apart: Floats) -> Iterator[str]:
    for row, difference in zip(scores, apart, strict=True):
        if not np.isfinite(row).all():
            yield "the score is not finite"
        elif label.task != "regression" and (row.min() < 0 or row.max() > 1):
            yield f"{float(row[np.abs(row - 0.5).argmax()])} is no probability"
        elif label.task == "multiclass" and abs(row.sum() - 1) > _SUM:
            yield f"the probabilities of the classes sum to {float(row.sum()):.5f}"
        elif not difference <= _SAME:
            yield f"alone its score differs by {float(difference):.2g} from the one in a batch"
        else:
            yield ""
