"""A loaded bundle tried on a window's sample: how stable its answers are, and whether it does what the YAML's checks demand. Pure.

The counts of all windows of a bundle are added up, and bounded by the confidence sequence of `monitoring.agreement`. A check is said
to fail when the share of rows that break it is shown to be larger than the check allows, at whichever look: one that must always
hold fails with the first row that breaks it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from cluster.check_settings import Check, problems
from cluster.encoder import Encoder
from cluster.schema import FeatureSchema, Matrix
from monitoring import checks, stability
from monitoring.agreement import CONFIDENCE, Audits, interval
from monitoring.checks import Outcome
from monitoring.edge_cases import EdgeCases
from monitoring.said import Figure, Live
from monitoring.sketches import Column


class Model(Protocol):
    """As much of `cluster.bundle.Bundle` as is needed."""

    version: str
    schema: FeatureSchema
    encoder: Encoder

    def answer(self, matrix: Matrix) -> Matrix:
        """What a caller would get, float32 (n, width)."""


def try_out(
    model: Model,
    columns: list[Column],
    rows: Matrix,
    live: Live,
    *,
    before: Model | None,
    tolerance: float,
    demanded: Sequence[Check],
    rng: np.random.Generator,
) -> tuple[list[Figure], Live]:
    """Everything that can be asked of a model about live rows.

    Parameters
    ----------
    columns
        Of the bundle's profile.
    rows
        Encoded, float32 (n, features), n above 0.
    before
        The bundle that answered before this one; None when there was none, or it cannot be loaded.
    tolerance
        Regression: how far apart two answers are that differ.
    demanded
        The checks of the YAML.
    """
    found, live = _sensitivity(model, columns, rows, live, rng)
    if before is not None and set(before.schema.names) <= set(model.schema.names):
        flipped, live = _flips(model, before, rows, live, tolerance)
        found.append(flipped)
    if demanded and not problems(demanded, model.schema, categories=False):  # an older bundle may lack a feature
        result = checks.run(demanded, model.schema, rows, model.answer, rng=rng)
        for outcome in result.outcomes:
            told, live = _check(outcome, live)
            found.append(told)
        found.append(_edge_cases(result.edge_cases))
    return found, live


def _sensitivity(model: Model, columns: list[Column], rows: Matrix, live: Live, rng: np.random.Generator) -> tuple[list[Figure], Live]:
    seen = stability.sensitivity(model.schema, columns, rows, model.answer, rng=rng)
    told = f"'{seen.worst}', changed alone, moves scores most: by {seen.worst_change:.4g} on average"
    found = [
        Figure(
            "stability", "score_change", seen.change, "largest change of a row's score by a tenth of a deviation", seen.rows, message=told
        )
    ]
    if model.schema.label.task == "regression":
        return found, live
    live = live.tried("sensitive", seen.decided_otherwise)
    counted = live.counts["sensitive"]
    bounds = interval(counted)
    told = f"{_shares(bounds.lower, bounds.upper, counted)} rows tried since the bundle's start"
    share = seen.decided_otherwise.differ / seen.rows
    what = "share of rows that a tenth of a deviation of one number decides otherwise"
    return [
        *found,
        Figure("stability", "sensitive_rows", share, what, seen.rows, lower=bounds.lower, upper=bounds.upper, message=told),
    ], live


def _flips(model: Model, before: Model, rows: Matrix, live: Live, tolerance: float) -> tuple[Figure, Live]:
    others = before.answer(before.encoder.columns(stability.columns_of(model.schema, rows)))
    found = stability.flips(model.schema.label, model.answer(rows), others, tolerance=tolerance)
    live = live.tried(f"flips|{before.version}", found)
    counted = live.counts[f"flips|{before.version}"]
    bounds = interval(counted)
    told = f"against bundle {before.version}: {_shares(bounds.lower, bounds.upper, counted)} rows since this one began to answer"
    what = "share of rows that the bundle before decides otherwise"
    return Figure(
        "stability", "flips", found.differ / found.rows, what, found.rows, lower=bounds.lower, upper=bounds.upper, message=told
    ), live


def _check(outcome: Outcome, live: Live) -> tuple[Figure, Live]:
    if outcome.share is None or outcome.passed is None:
        return Figure(
            "correctness", outcome.name, outcome.share, _HOLDS, outcome.rows, expected=outcome.needed, message=outcome.message
        ), live
    broken = round((1 - outcome.share) * outcome.rows)
    if outcome.kind == "row":  # the same row every time: one window says it all
        bounds, live = None, live
        fails = broken > 0
    else:
        live = live.tried(f"check|{outcome.name}", Audits(rows=outcome.rows, differ=broken))
        bounds = interval(live.counts[f"check|{outcome.name}"])
        fails = bounds.lower > 1 - outcome.needed
    return Figure(
        kind="correctness",
        name=outcome.name,
        value=outcome.share,
        unit=_HOLDS,
        rows=outcome.rows,
        expected=outcome.needed,
        lower=None if bounds is None else 1 - bounds.upper,
        upper=None if bounds is None else 1 - bounds.lower,
        alarm=fails,
        message=f"{outcome.message}{'; over all windows it is shown to fail' if fails and bounds is not None else ''}",
    ), live


def _edge_cases(found: EdgeCases) -> Figure:
    survived = 1 - len(found.failed) / max(found.rows, 1)
    return Figure("correctness", "edge_cases", survived, _HOLDS, found.rows, expected=1.0, alarm=not found.passed, message=found.message)


_HOLDS = "share of the rows tried on which it holds"


def _shares(lower: float, upper: float, counted: Audits) -> str:
    return f"{lower:.1%} to {upper:.1%} ({CONFIDENCE:.0%} confidence) of {counted.rows:,}"
