"""Gauges of what is told beside the tested metrics: each figure with its bounds, under names and labels of Prometheus' conventions.

Label values come from the YAML, the schema and the bundle's evaluation, and of groups only the largest: their number is bounded.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from prometheus_client.core import GaugeMetricFamily, Metric

from cluster.records import Verdict
from monitoring.verdicts import WindowVerdicts

NAMES: Final = {
    "performance_so_far": ("homeostat_performance_so_far", "Mean over the bundle's labelled windows, with bounds that hold at every look."),
    "estimate": (
        "homeostat_performance_estimate",
        "What a metric probably is while labels are awaited, latest window; absent when it cannot be known.",
    ),
    "fairness": ("homeostat_fairness_gap", "Widest gap between two groups, mean over windows, with bounds that hold at every look."),
    "stability": ("homeostat_stability", "How much answers move: see the docs for each name."),
    "correctness": (
        "homeostat_correctness_ratio",
        "Share of the rows tried on which a check holds, latest window; bounds over all windows.",
    ),
    "attribution": (
        "homeostat_attribution_size",
        "Mean size of a feature's contributions to the trees' answers, latest window; what it was on the reference.",
    ),
    "explanation": ("homeostat_explanation", "How far explanations can be trusted, latest window: see the docs for each name."),
}
FINDINGS: Final = "homeostat_findings"
_LABELS: Final = {
    "performance_so_far": ["metric", "part"],
    "estimate": ["metric"],
    "fairness": ["figure", "attribute"],
    "stability": ["name"],
    "correctness": ["check"],
    "attribution": ["feature"],
    "explanation": ["name"],
}
_OUTSIDE_THE_BUDGET: Final = ("fairness", "correctness", "attribution")


def live_metrics(model: str, records: Iterable[WindowVerdicts]) -> Iterator[Metric]:
    """All gauges; of several verdicts of one name, the one about the latest window."""
    families = {
        kind: GaugeMetricFamily(name, text, labels=["model", "bundle", *_LABELS[kind], "bound"]) for kind, (name, text) in NAMES.items()
    }
    failing: dict[tuple[str, str], int] = {}
    for verdict in _latest(records):
        for bound, value in _bounds(verdict):
            families[verdict.kind].add_metric([model, verdict.bundle, *_parts(verdict), bound], value)
        if verdict.kind in _OUTSIDE_THE_BUDGET:
            key = (verdict.bundle, verdict.kind)
            failing[key] = failing.get(key, 0) + verdict.alarm
    yield from families.values()
    findings = GaugeMetricFamily(
        FINDINGS,
        "Fairness limits and checks that are shown to be broken, features whose contributions have changed. Not part of the alarm budget.",
        labels=["model", "bundle", "kind"],
    )
    for (bundle, kind), count in failing.items():
        findings.add_metric([model, bundle, kind], count)
    yield findings


def _latest(records: Iterable[WindowVerdicts]) -> list[Verdict]:
    newest: dict[tuple[str, str, str], Verdict] = {}
    for record in sorted(records, key=lambda record: (record.window_start, record.sequence)):
        newest |= {(verdict.bundle, verdict.kind, verdict.name): verdict for verdict in record.verdicts if verdict.kind in NAMES}
    return list(newest.values())


def _bounds(verdict: Verdict) -> Iterator[tuple[str, float]]:
    if verdict.value is None:
        return
    limit = {"fairness": "limit", "correctness": "needed"}.get(verdict.kind, "expected")
    for bound, value in (("estimate", verdict.value), ("lower", verdict.lower), ("upper", verdict.upper), (limit, verdict.expected)):
        if value is not None:
            yield bound, value


def _parts(verdict: Verdict) -> list[str]:
    """The label values that a verdict's name holds."""
    if verdict.kind == "performance_so_far":
        metric, _, part = verdict.name.partition("[")
        return [metric, part.removesuffix("]")]
    if verdict.kind == "fairness":
        return list(verdict.name.split(" by ", 1))
    return [verdict.name]
