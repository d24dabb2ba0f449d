"""What configs/prometheus and configs/grafana hold, as the tests read it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, Final, NamedTuple

import yaml

from monitoring import decision_gauges, exporter, live_gauges

ROOT: Final = Path(__file__).parents[3]
PROMETHEUS: Final = ROOT / "configs" / "prometheus"
DASHBOARDS: Final = ROOT / "configs" / "grafana" / "dashboards"
_NAME: Final = re.compile(r"\b(?:ray_\w+|homeostat_\w+|model:\w+:\w+|up\b)")
_STRING: Final = re.compile(r'"[^"]*"')


class PanelQuery(NamedTuple):
    """One query of one panel."""

    board: str
    panel: str
    expression: str

    def __str__(self) -> str:
        return f"{self.board}: {self.panel}: {self.expression}"


def exported_by_monitor() -> set[str]:
    """Every name that the monitor exports, as Prometheus stores it."""
    counted = [*exporter._COUNTERS.values(), exporter._IMPOSSIBLE, decision_gauges.BEGUN, decision_gauges.ENDED]
    shown = [*exporter._GAUGES.values(), *exporter._BY_KIND.values(), *live_gauges.NAMES.values()]
    shown += [decision_gauges.STANDING, decision_gauges.HARM, decision_gauges.LAST]
    others = {live_gauges.FINDINGS, "homeostat_evidence", "homeostat_evidence_threshold", "homeostat_cascade_disagreement_ratio"}
    return {f"{name}_total" for name, _ in counted} | {name for name, _ in shown} | others


def rules() -> list[dict[str, Any]]:
    """All rules of rules.yml, in order."""
    content = yaml.safe_load((PROMETHEUS / "rules.yml").read_text())
    return [rule for group in content["groups"] for rule in group["rules"]]


def panel_queries() -> list[PanelQuery]:
    """Every query of every panel, from the files that Grafana reads."""
    found = []
    for file in sorted(DASHBOARDS.glob("*.json")):
        for panel in json.loads(file.read_text())["panels"]:
            found += [PanelQuery(file.stem, panel["title"], target["expr"]) for target in panel.get("targets", [])]
    return found


def metrics_in(expression: str) -> set[str]:
    """Names of the metrics that an expression reads."""
    return set(_NAME.findall(_STRING.sub("", expression)))
