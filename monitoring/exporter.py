"""The monitor's figures for Prometheus: names, units and label counts by its conventions.

Values are read from the monitor at each scrape, so a restarted monitor exports what the journal says and no counter
starts again from zero. Labels are bounded: one model, the bundles of the latest windows, their features.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple
from wsgiref.simple_server import WSGIServer

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from cluster.records import Verdict
from monitoring import agreement
from monitoring.decided import Decided
from monitoring.decision_gauges import decision_metrics
from monitoring.live_gauges import live_metrics
from monitoring.verdicts import WindowVerdicts

_log = logging.getLogger(__name__)
_MOST_BUNDLES = 2

_COUNTERS = {
    "rows": ("homeostat_rows", "Predicted rows read from the journal."),
    "rows_late": ("homeostat_late_rows", "Rows that came after their window had been judged."),
    "rows_unjudged": ("homeostat_unjudged_rows", "Rows answered by a bundle that could not be read."),
    "label_entries": ("homeostat_label_entries", "Labels read from the journal, repeated ones included."),
    "rows_audited": ("homeostat_audited_rows", "Rows answered by the student that the ensemble scored as well."),
    "labels_joined": ("homeostat_labels_joined", "Rows whose label came before their window's performance was judged."),
    "windows_judged": ("homeostat_windows_judged", "Windows judged for drift."),
    "alarms": ("homeostat_alarms", "Alarms raised, within the budget of monitoring.one_false_alarm_in."),
    "errors": ("homeostat_monitor_errors", "Looks at the journal that failed and were tried again, since the monitor began."),
}
_GAUGES = {
    "labels_waiting": ("homeostat_labels_waiting", "Rows whose label has not come and is still awaited."),
    "watermark": ("homeostat_watermark_timestamp_seconds", "Largest event time seen, seconds since 1970."),
    "journal_lag_bytes": ("homeostat_journal_lag_bytes", "Bytes of the journal that are not read yet."),
    "notifications_waiting": ("homeostat_notifications_waiting", "Alarms that the receiver of monitoring.webhook has not accepted yet."),
}
_IMPOSSIBLE = (
    "homeostat_impossible_values",
    "Values outside the range or the categories that the YAML states, in judged windows, where the training rows had none.",
)
_BOUNDS = ("estimate", "lower", "upper", "promised")
_TESTED = ("feature_drift", "association", "prediction_drift", "performance", "quality", "cascade")
"""Kinds that may carry evidence."""
_BY_KIND = {
    "feature_drift": ("homeostat_feature_drift_ratio", "Share of rows in other cells than on the reference, latest window."),
    "prediction_drift": ("homeostat_prediction_drift_ratio", "The same for predictions."),
    "performance": ("homeostat_performance", "Metrics of the latest window whose labels are known."),
    "performance_expected": ("homeostat_performance_expected", "The same metrics on the reference."),
    "quality": (
        "homeostat_quality_ratio",
        "Share of rows missing, of unknown category, out of range or of more decimals than training rows, latest window.",
    ),
}


class Snapshot(NamedTuple):
    """What is exported."""

    status: dict[str, object]
    latest: list[WindowVerdicts]
    impossible: Mapping[str, int] = MappingProxyType({})
    """Values that cannot be, by rule: feature, a dot, fault."""
    decided: Decided = Decided()
    standing: Sequence[WindowVerdicts] = ()
    """Alarms about the champion that stand, the newest first."""


class Figures(Collector):
    """A Prometheus collector over the latest snapshot.

    Parameters
    ----------
    snapshot
        Called at each scrape, from the server's thread.
    """

    def __init__(self, snapshot: Callable[[], Snapshot]) -> None:
        self._snapshot = snapshot

    def describe(self) -> Iterable[Metric]:
        """Nothing is announced; registering takes no scrape."""
        return []

    def collect(self) -> Iterator[Metric]:
        """All metrics."""
        seen = self._snapshot()
        status, model = seen.status, str(seen.status["model"])
        for key, (name, text) in _COUNTERS.items():
            counter = CounterMetricFamily(name, text, labels=["model"])
            if status.get(key) is not None:  # the core alone knows neither its own failures nor who is told
                counter.add_metric([model], float(str(status[key])))
            yield counter
        for key, (name, text) in _GAUGES.items():
            gauge = GaugeMetricFamily(name, text, labels=["model"])
            if status.get(key) is not None:
                gauge.add_metric([model], float(str(status[key])))
            yield gauge
        yield _impossible(model, seen.impossible)
        yield from _verdict_metrics(model, _current(seen.latest))
        yield from decision_metrics(model, seen.decided, seen.standing)


def _impossible(model: str, found: Mapping[str, int]) -> Metric:
    """A rule that was never broken counts 0, so that a rate sees the first time."""
    counter = CounterMetricFamily(*_IMPOSSIBLE, labels=["model", "feature", "fault"])
    for rule, values in found.items():
        counter.add_metric([model, *rule.rsplit(".", 1)], values)
    return counter


def _current(latest: list[WindowVerdicts]) -> list[WindowVerdicts]:
    newest = sorted(latest, key=lambda record: record.sequence, reverse=True)
    bundles = list(dict.fromkeys(record.bundle for record in newest))[:_MOST_BUNDLES]
    return [record for record in newest if record.bundle in bundles]


def _verdict_metrics(model: str, records: list[WindowVerdicts]) -> Iterator[Metric]:
    labels = {
        "feature_drift": ["model", "bundle", "feature"],
        "prediction_drift": ["model", "bundle", "output"],
        "performance": ["model", "bundle", "metric"],
        "performance_expected": ["model", "bundle", "metric"],
        "quality": ["model", "bundle", "feature", "fault"],
    }
    families = {kind: GaugeMetricFamily(name, text, labels=labels[kind]) for kind, (name, text) in _BY_KIND.items()}
    evidence = GaugeMetricFamily(
        "homeostat_evidence",
        "Evidence of change a metric carries; an alarm when they sum to the threshold.",
        labels=["model", "bundle", "kind", "name"],
    )
    threshold = GaugeMetricFamily("homeostat_evidence_threshold", "Evidence at which an alarm is raised.", labels=["model"])
    for record in records:
        for verdict in record.verdicts:
            if verdict.value is not None and verdict.kind in families:
                families[verdict.kind].add_metric([model, verdict.bundle, *_names(verdict)], verdict.value)
            if verdict.expected is not None and verdict.kind == "performance":
                families["performance_expected"].add_metric([model, verdict.bundle, verdict.name], verdict.expected)
            if verdict.kind in _TESTED:
                evidence.add_metric([model, verdict.bundle, verdict.kind, verdict.name], verdict.evidence)
    if records:
        threshold.add_metric([model], records[0].threshold)
    yield from families.values()
    yield _disagreement(model, records)
    yield evidence
    yield threshold
    yield from live_metrics(model, records)


def _disagreement(model: str, records: list[WindowVerdicts]) -> Metric:
    """Of each bundle, after its newest look: the rate over all audited rows, between its bounds, beside what was promised."""
    gauge = GaugeMetricFamily(
        "homeostat_cascade_disagreement_ratio",
        "Share of audited rows on which the ensemble decides otherwise than the student did.",
        labels=["model", "bundle", "bound"],
    )
    for bundle in dict.fromkeys(record.bundle for record in records):
        watch = next(record.state.watch for record in records if record.bundle == bundle)  # the newest comes first
        if watch is not None:
            found = agreement.interval(watch.counted)
            for bound, value in zip(_BOUNDS, (found.estimate, found.lower, found.upper, watch.promised), strict=True):
                gauge.add_metric([model, bundle, bound], value)
    return gauge


def _names(verdict: Verdict) -> list[str]:
    return verdict.name.rsplit(".", 1) if verdict.kind == "quality" else [verdict.name]


class Exporter:
    """Serves the figures over HTTP.

    Parameters
    ----------
    snapshot
        See `Figures`.
    port
        0 turns it off. A port that is taken is logged, and the monitor goes on without.
    host
        Where it listens; there is no token.
    """

    def __init__(self, snapshot: Callable[[], Snapshot], *, port: int, host: str = "127.0.0.1") -> None:
        self.registry = CollectorRegistry()
        self.registry.register(Figures(snapshot))
        self._server: tuple[WSGIServer, threading.Thread] | None = None
        if port:
            try:
                self._server = start_http_server(port, host, registry=self.registry)
            except OSError as error:
                _log.warning(
                    "no metrics are served: port %d on %s cannot be opened (%s); set monitoring.metrics_port", port, host, error.strerror
                )

    @property
    def port(self) -> int | None:
        """The port that is open; None when nothing is served."""
        return None if self._server is None else int(self._server[0].server_port)

    def close(self) -> None:
        """Stop serving."""
        if self._server is not None:
            server, thread = self._server
            server.shutdown()
            server.server_close()
            thread.join()
            self._server = None
