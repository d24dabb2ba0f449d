"""Rules and dashboards, held against the code: what they read is exported, and what they say can be looked up."""

from __future__ import annotations

import json
import re

import pytest
import yaml

from monitoring.webhook import ALERT, RUNBOOK
from serve_apps import metrics
from tests.unit.configs.watching import DASHBOARDS, PROMETHEUS, ROOT, exported_by_monitor, metrics_in, panel_queries, rules

OF_SERVE = {"ray_serve_deployment_replica_healthy", "ray_serve_autoscaling_target_replicas"}
ALERTS = [rule for rule in rules() if "alert" in rule]
RECORDED = {rule["record"] for rule in rules() if "record" in rule}
every_alert = pytest.mark.parametrize("rule", ALERTS, ids=lambda rule: rule["alert"])


def exported() -> set[str]:
    """Every name that monitor, gateways and ensembles export, as Prometheus stores it."""
    code = (ROOT / "serve_apps" / "metrics.py").read_text()
    counters = re.findall(r'Counter\(\s*"(homeostat_\w+)"', code) + [f"homeostat_ensemble_{name}" for name in metrics._COUNTED]
    histograms = re.findall(r'Histogram\(\s*"(homeostat_\w+)"', code)
    of_serving = {f"{name}_total" for name in counters} | {f"homeostat_ensemble_{name}" for name in metrics._NOW}
    of_serving |= {f"{name}_{part}" for name in histograms for part in ("bucket", "count", "sum")}
    return exported_by_monitor() | {f"ray_{name}" for name in of_serving} | OF_SERVE | {"up"}


def test_rules_and_dashboards_read_only_what_is_exported_or_recorded() -> None:
    read = {name for rule in rules() for name in metrics_in(rule["expr"])}
    read |= {name for query in panel_queries() for name in metrics_in(query.expression)}
    assert len(read) > 40
    assert read - exported() - RECORDED == set()
    assert RECORDED - read == set()


def test_a_name_that_nobody_exports_would_be_found() -> None:
    assert metrics_in('rate(ray_homeostat_made_up_total{route="homeostat_x"}[5m]) / model:homeostat_x:y > up') == {
        "ray_homeostat_made_up_total",
        "model:homeostat_x:y",
        "up",
    }


@every_alert
def test_an_alert_says_what_happened_and_where_to_read_what_to_do(rule) -> None:
    assert set(rule["annotations"]) == {"summary", "description", "runbook_url"}
    assert rule["labels"]["severity"] in {"critical", "warning"}
    page, _, anchor = rule["annotations"]["runbook_url"].partition("#")
    assert page == "docs/how-to/alerts.md"
    assert anchor == rule["alert"].lower()
    assert f"\n### {rule['alert']}\n" in (ROOT / page).read_text()


def test_the_runbook_names_no_alert_that_there_is_not() -> None:
    page = (ROOT / "docs" / "how-to" / "alerts.md").read_text()
    assert set(re.findall(r"^### (Homeostat\w+)$", page, re.MULTILINE)) == {rule["alert"] for rule in ALERTS}


@every_alert
def test_an_alert_is_shown_to_fire_and_to_stay_silent(rule) -> None:
    tests = yaml.safe_load((PROMETHEUS / "rules.test.yml").read_text())["tests"]
    cases = [case for test in tests for case in test["alert_rule_test"] if case["alertname"] == rule["alert"]]
    assert {bool(case["exp_alerts"]) for case in cases} == {True, False}


def test_the_webhook_and_the_rule_name_the_same_alarm() -> None:
    assert ALERT in {rule["alert"] for rule in ALERTS}
    assert next(rule for rule in ALERTS if rule["alert"] == ALERT)["annotations"]["runbook_url"] == RUNBOOK


def test_the_dashboards_are_what_the_generator_writes() -> None:
    pytest.importorskip("grafana_foundation_sdk", reason="Grafana's SDK is not installed; it comes with the extra 'dev'")
    from configs.grafana.make import render

    written = dict(render())
    assert written == {path.name: path.read_text() for path in DASHBOARDS.glob("*.json")}, "run: python -m configs.grafana.make"


@pytest.mark.parametrize("file", sorted(DASHBOARDS.glob("*.json")), ids=lambda file: file.stem)
def test_a_dashboard_asks_the_source_that_its_reader_chose(file) -> None:
    board = json.loads(file.read_text())
    assert [variable["name"] for variable in board["templating"]["list"]] == ["datasource", "model"]
    panels = [panel for panel in board["panels"] if panel["type"] != "row"]
    sources = [panel["datasource"] for panel in panels] + [target["datasource"] for panel in panels for target in panel["targets"]]
    assert {source["uid"] for source in sources} == {"${datasource}"}
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])


def test_every_panel_is_drawn_inside_the_page() -> None:
    for file in DASHBOARDS.glob("*.json"):
        for panel in json.loads(file.read_text())["panels"]:
            place = panel["gridPos"]
            assert place["x"] + place["w"] <= 24, panel["title"]
