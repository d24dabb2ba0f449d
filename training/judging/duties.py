"""What a challenger owes besides being better: the checks of the YAML, and no group of people worse off. Rules for the gate. Pure."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from cluster.bundle import Bundle
from cluster.schema import Floats, Matrix
from cluster.settings import Settings
from monitoring import fairness
from training.data import frame
from training.judging import checks, fairness_rules
from training.judging.rules import Rule


def duties(
    settings: Settings, challenger: Bundle, rows: pa.Table, y: Floats, old: Matrix, new: Matrix, *, rng: np.random.Generator
) -> list[Rule]:
    """Judge a challenger on the rows of the hold-out; no rows, no rules.

    Parameters
    ----------
    rows
        A training frame with the protected columns.
    y
        Their labels, float64 (n,).
    old, new
        What champion and challenger answer, float32 (n, width).
    """
    if rows.num_rows == 0:
        return []
    found: list[Rule] = []
    if settings.checks:
        matrix = challenger.encoder.table(rows)
        found += checks.rules(checks.run(settings.checks, challenger.schema, matrix, challenger.answer, rng=rng))
    groups = {name: frame.strings(rows, name) for name in settings.columns.protected if name in rows.column_names}
    if groups and settings.fairness.limits:
        label = challenger.schema.label
        theirs, ours = (fairness.assess(label, y, scores, groups, settings.fairness, rng=rng) for scores in (old, new))
        found += fairness_rules.rules(ours, settings.fairness, theirs)
    return found
