"""What gateways and ensembles export through Ray's metrics, once a second and off the hot path.

Ray's agent on each node serves them to Prometheus, with the tags of application, deployment and replica that Serve adds.
"""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Mapping, Sequence
from typing import Final

from ray.serve import metrics

from serve_apps import audit
from serve_apps.batching import Stats
from serve_apps.meter import Event, Swap, answered_by

LATENCY_S: Final = (0.0005, 0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
"""Fine where one row is answered, coarse where something is wrong."""
SWAP_S: Final = (0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 15.0)
_COUNTED: Final = {
    "batches": "Batches that were scored.",
    "rows": "Rows in those batches; divided by them, the mean size.",
    "compute_s": "Seconds spent scoring.",
    "answered": "Requests that were scored.",
    "wait_s": "Seconds that these waited before their batch began; divided by them, the mean wait.",
    "shed": "Requests refused at arrival, because they could not have been scored in time.",
    "expired": "Requests whose time ran out in the queue.",
    "cancelled": "Requests whose caller left.",
    "poisoned": "Requests whose own rows made scoring fail.",
    "wasted_rows": "Rows scored for nobody.",
}
_NOW: Final = {"queued_requests": "Requests that wait.", "queued_rows": "Rows that wait."}
_REQUEST: Final = ("model", "route", "status", "bundle", "answered_by")


class GatewayMetrics:
    """Turns events into Ray's counters and histograms."""

    def __init__(self) -> None:
        self._requests = metrics.Counter("homeostat_requests", "Requests that were answered.", tag_keys=_REQUEST)
        self._latency = metrics.Histogram(
            "homeostat_request_seconds", "From the first byte seen to the answer handed over.", LATENCY_S, tag_keys=("model", "route")
        )
        self._rows = metrics.Counter(
            "homeostat_served_rows", "Rows that were answered; escalated ones are the ensemble's.", ("model", "bundle", "answered_by")
        )
        self._swaps = metrics.Histogram(
            "homeostat_swap_seconds", "From the look at a pointer to the first request its bundle may answer.", SWAP_S, ("model", "role")
        )

    def __call__(self, events: Sequence[Event], swaps: Sequence[Swap]) -> None:
        """Export."""
        requests = Tally((e.model, e.route, str(e.status), e.bundle, answered_by(e)) for e in events)
        for tags, count in requests.items():
            self._requests.inc(count, tags=dict(zip(_REQUEST, tags, strict=True)))
        for (model, bundle, who), count in _rows(events).items():
            self._rows.inc(count, tags={"model": model, "bundle": bundle, "answered_by": who})
        for event in events:
            self._latency.observe(event.seconds, tags={"model": event.model, "route": event.route})
        for swap in swaps:
            self._swaps.observe(swap.seconds, tags={"model": swap.model, "role": swap.role})


class AuditMetrics:
    """Turns what was audited into Ray's counters, beside the events of requests.

    Parameters
    ----------
    stats
        Of each model.
    """

    def __init__(self, stats: Mapping[str, audit.Stats]) -> None:
        self._stats = stats
        self._told: Tally[tuple[str, str]] = Tally()
        self._rows = metrics.Counter(
            "homeostat_audited_rows", "Rows of the student's that were chosen to be scored by the ensemble as well.", ("model", "outcome")
        )

    def __call__(self, events: Sequence[Event], swaps: Sequence[Swap]) -> None:  # noqa: ARG002
        """Export what has been added since the last call."""
        for model, stats in self._stats.items():
            for outcome, rows in (("audited", stats.audited_rows), ("dropped", stats.dropped_rows)):
                added = rows - self._told[model, outcome]
                if added:
                    self._rows.inc(added, tags={"model": model, "outcome": outcome})
                    self._told[model, outcome] = rows


class EnsembleMetrics:
    """Turns what an ensemble's batches were like into Ray's counters and gauges.

    Parameters
    ----------
    model
        Whose ensemble it is.
    """

    def __init__(self, model: str) -> None:
        self._tags = {"model": model}
        self._last = Stats()
        self._counters = {name: metrics.Counter(f"homeostat_ensemble_{name}", text, ("model",)) for name, text in _COUNTED.items()}
        self._gauges = {name: metrics.Gauge(f"homeostat_ensemble_{name}", text, ("model",)) for name, text in _NOW.items()}

    def __call__(self, stats: Stats) -> None:
        """Export what has been added since the last call, and what waits now."""
        for name, counter in self._counters.items():
            added = getattr(stats, name) - getattr(self._last, name)
            if added > 0:
                counter.inc(added, tags=self._tags)
        for name, gauge in self._gauges.items():
            gauge.set(getattr(stats, name), tags=self._tags)
        self._last = stats


def _rows(events: Sequence[Event]) -> Tally[tuple[str, str, str]]:
    rows: Tally[tuple[str, str, str]] = Tally()
    for e in events:
        if e.bundle:
            rows[e.model, e.bundle, "student"] += e.student
            rows[e.model, e.bundle, "ensemble"] += e.ensemble
            rows[e.model, e.bundle, "degraded"] += e.degraded
    return +rows
