"""The gate: may the challenger replace the champion? Judged on rows that neither was trained on. Pure.

Rules in order: enough rows, a shown improvement (`training.judging.bootstrap`), calibration; what the YAML asks of fairness and
behaviour comes as rules that were judged elsewhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from cluster.records import GateVerdict, Interval
from cluster.schema import Floats, Label, Matrix
from cluster.training_settings import Gate
from training.judging.bootstrap import bootstrap_improvement
from training.judging.evaluate import metric_value

DEFAULT_METRIC: Final = {"binary": "roc_auc", "multiclass": "log_loss", "regression": "rmse"}
"""Compared when `gate.metric` is left out."""


def judge(
    label: Label,
    gate: Gate,
    y: Floats,
    champion: Matrix,
    challenger: Matrix,
    times: Floats,
    *,
    rng: np.random.Generator,
    more: Sequence[tuple[bool, str]] = (),
) -> GateVerdict:
    """Judge a challenger against the champion on the same labelled rows.

    Parameters
    ----------
    y
        Class indices or numbers, float64 of shape (n,).
    champion, challenger
        Scores, float32 of shape (n, width).
    times
        Event times, float64 of shape (n,), for the blocks.
    more
        Rules judged elsewhere, of fairness and behaviour: whether each holds, and why.

    Raises
    ------
    DataError
        When the task has no such metric as `gate.metric`.
    """
    metric = gate.metric or DEFAULT_METRIC[label.task]
    if reason := _too_little(label, gate, y):
        return GateVerdict(passed=False, reasons=[reason], metric=metric, rows=len(y), champion=None, challenger=None, improvement=None)
    old, new = metric_value(label, metric, y, champion), metric_value(label, metric, y, challenger)
    improvement = bootstrap_improvement(label, metric, y, champion, challenger, times, confidence=gate.confidence, rng=rng)
    rules = [_improves(gate, metric, old, new, improvement, len(y)), *more]
    errors: dict[str, float] = {}
    if label.task != "regression":
        errors = {"champion": metric_value(label, "ece", y, champion), "challenger": metric_value(label, "ece", y, challenger)}
        rules.append(_calibrated(gate, errors))
    rules.sort(key=lambda rule: rule[0])
    return GateVerdict(
        passed=all(ok for ok, _ in rules),
        reasons=[reason for _, reason in rules],
        metric=metric,
        rows=len(y),
        champion=old,
        challenger=new,
        improvement=improvement,
        calibration_error=errors,
    )


def _too_little(label: Label, gate: Gate, y: Floats) -> str | None:
    """Why these labels cannot tell anything; None when they can."""
    if len(y) < gate.min_rows:
        return f"too few labelled rows in the hold-out: {len(y):,} of the {gate.min_rows:,} that gate.min_rows asks for"
    if label.task != "regression" and len(np.unique(y)) < 2:
        return f"all {len(y):,} labelled rows of the hold-out are of one class: nothing can be compared"
    return None


def _improves(gate: Gate, metric: str, old: float, new: float, improvement: Interval, rows: int) -> tuple[bool, str]:
    ok = improvement.lower > gate.min_improvement
    verdict = "improves" if ok else "is not shown to improve"
    return ok, (
        f"{metric} {verdict}: champion {old:.4f}, challenger {new:.4f} on {rows:,} rows; the improvement is at least {improvement.lower:+.4f} "
        f"with {gate.confidence:.0%} confidence (must exceed {gate.min_improvement:+.4f})"
    )


def _calibrated(gate: Gate, errors: dict[str, float]) -> tuple[bool, str]:
    allowed = max(gate.max_calibration_error, errors["champion"])
    ok = errors["challenger"] <= allowed
    return ok, f"calibration error {errors['challenger']:.4f} is {'within' if ok else 'above'} {allowed:.4f}"
