import socket
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families

from cluster.journal import Writer
from cluster.records import Verdict
from monitoring import agreement
from monitoring.agreement import Audits, Watch
from monitoring.core import MonitorCore
from monitoring.drift import State
from monitoring.exporter import Exporter, Figures, Snapshot
from monitoring.verdicts import WindowVerdicts
from tests.unit.monitoring.world import DAY, Stream, journal, profile_of, seal, settings


@pytest.fixture
def core(tmp_path: Path) -> MonitorCore:
    stream = Stream(np.random.default_rng(2), 35)
    chosen = settings(tmp_path / "var")
    pointer = seal(tmp_path / "bundle", profile_of(stream, 30))
    journal(Writer(chosen.places.journal("trips"), clock_ns=lambda: 2 * 10**18), stream, range(30, 35))
    core = MonitorCore(chosen, locate=lambda _: pointer)
    core.poll()
    return core


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_a_scrape_returns_the_monitors_figures_under_conventional_names(core):
    exporter = Exporter(lambda: Snapshot(core.status(), list(core.latest.values())), port=free_port())
    assert exporter._server is not None
    assert exporter._server[0].server_address == ("127.0.0.1", exporter.port)
    with urllib.request.urlopen(f"http://127.0.0.1:{exporter.port}/metrics", timeout=5) as answer:
        families = {f.name: f for f in text_string_to_metric_families(answer.read().decode())}
    exporter.close()
    status = core.status()
    assert families["homeostat_rows"].samples[0].name == "homeostat_rows_total"
    assert families["homeostat_rows"].samples[0].value == status["rows"]
    assert families["homeostat_watermark_timestamp_seconds"].samples[0].value == pytest.approx(status["watermark"])
    assert 34 * DAY < families["homeostat_watermark_timestamp_seconds"].samples[0].value < 35 * DAY
    assert {s.labels["feature"] for s in families["homeostat_feature_drift_ratio"].samples} == {"miles", "wind", "carrier"}
    assert {"feature": "carrier", "fault": "unknown", "model": "trips", "bundle": "1"} in [
        s.labels for s in families["homeostat_quality_ratio"].samples
    ]
    assert {s.labels["metric"] for s in families["homeostat_performance"].samples} == {
        "brier",
        "roc_auc",
        "log_loss",
        "accuracy",
        "ece",
        "ece_by_chance",
    }
    assert families["homeostat_evidence_threshold"].samples[0].value == 100.0


def record(bundle: str, sequence: int, audits: Audits | None) -> WindowVerdicts:
    watch = None if audits is None else Watch(promised=0.02, counted=audits)
    start: dict[str, Any] = {"window_start": 0.0, "window_end": DAY, "model": "trips", "bundle": bundle}
    said = Verdict(kind="cascade", name="agreement", rows=9, value=0.5, expected=0.02, unit="share", evidence=3.0, **start)
    return WindowVerdicts(sequence=sequence, look="drift", rows=100, verdicts=[said], state=State(watch=watch), **start)


def test_disagreement_is_exported_with_its_bounds_and_the_promise_as_of_the_newest_look(core):
    records = [record("1", 1, Audits(rows=10, differ=9)), record("1", 2, Audits(rows=1000, differ=40)), record("2", 3, None)]
    families = {f.name: f for f in Figures(lambda: Snapshot(core.status(), records)).collect()}
    found = {(s.labels["bundle"], s.labels["bound"]): s.value for s in families["homeostat_cascade_disagreement_ratio"].samples}
    bounds = agreement.interval(Audits(rows=1000, differ=40))
    assert found == {("1", "estimate"): 0.04, ("1", "lower"): bounds.lower, ("1", "upper"): bounds.upper, ("1", "promised"): 0.02}
    assert {(s.labels["kind"], s.value) for s in families["homeostat_evidence"].samples} == {("cascade", 3.0)}
    assert families["homeostat_audited_rows"].samples[0].value == 0


def test_a_port_that_is_taken_is_logged_and_no_reason_to_fail(core, caplog):
    with socket.socket() as other:
        other.bind(("0.0.0.0", 0))
        other.listen()
        port = other.getsockname()[1]
        exporter = Exporter(lambda: Snapshot(core.status(), []), port=port)
    assert exporter.port is None
    assert f"port {port} on 127.0.0.1 cannot be opened" in caplog.text


def test_port_zero_serves_nothing(core):
    assert Exporter(lambda: Snapshot(core.status(), []), port=0).port is None


def test_what_only_the_actor_knows_is_exported_where_it_is_known(core):
    def samples(**known: int) -> dict[str, list[float]]:
        families = Figures(lambda: Snapshot(core.status() | known, [])).collect()
        names = ("homeostat_monitor_errors", "homeostat_notifications_waiting")
        return {f.name: [s.value for s in f.samples] for f in families if f.name in names}

    assert samples() == {"homeostat_monitor_errors": [], "homeostat_notifications_waiting": []}
    assert samples(errors=3, notifications_waiting=0) == {"homeostat_monitor_errors": [3.0], "homeostat_notifications_waiting": [0.0]}


def test_what_was_expected_is_exported_beside_what_was_measured(core):
    families = {f.name: f for f in Figures(lambda: Snapshot(core.status(), list(core.latest.values()))).collect()}
    told = {
        v.name: v.expected for record in core.latest.values() for v in record.verdicts if v.kind == "performance" and v.expected is not None
    }
    assert "brier" in told
    assert {s.labels["metric"]: s.value for s in families["homeostat_performance_expected"].samples} == told


def test_attributions_and_findings_are_exported_by_feature(core):
    start: dict[str, Any] = {"window_start": 0.0, "window_end": DAY, "model": "trips", "bundle": "1"}
    common: dict[str, Any] = {"kind": "attribution", "rows": 120, "unit": "mean size of its contribution (log odds)"}
    moved = Verdict(name="wind", value=0.4, expected=0.2, lower=0.3, upper=0.5, alarm=True, **common, **start)
    steady = Verdict(name="miles", value=0.1, expected=0.1, lower=0.0, upper=0.2, **common, **start)
    fidelity = Verdict(kind="explanation", name="fidelity", value=0.7, expected=None, unit="R²", rows=50, **start)
    records = [WindowVerdicts(sequence=1, look="drift", rows=200, verdicts=[moved, steady, fidelity], **start)]
    families = {f.name: f for f in Figures(lambda: Snapshot(core.status(), records)).collect()}
    wind = {s.labels["bound"]: s.value for s in families["homeostat_attribution_size"].samples if s.labels["feature"] == "wind"}
    assert wind == {"estimate": 0.4, "expected": 0.2, "lower": 0.3, "upper": 0.5}
    assert [(s.labels["name"], s.value) for s in families["homeostat_explanation"].samples] == [("fidelity", 0.7)]
    assert [(s.labels["kind"], s.value) for s in families["homeostat_findings"].samples] == [("attribution", 1)]


def test_values_that_cannot_be_are_counted_by_feature_and_fault_and_the_first_of_a_kind_is_seen_as_a_rise(core):
    seen = Snapshot(core.status(), [], {"miles.above": 3, "a.b.unknown": 0})
    families = {f.name: f for f in Figures(lambda: seen).collect()}
    found = {(s.labels["model"], s.labels["feature"], s.labels["fault"]): s.value for s in families["homeostat_impossible_values"].samples}
    assert found == {("trips", "miles", "above"): 3, ("trips", "a.b", "unknown"): 0}
