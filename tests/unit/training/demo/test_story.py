from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
import yaml
from rich.console import Console
from rich.progress import Progress

from cluster.ledger import Attempt, Closed, Ledger
from cluster.records import RetrainRequest
from cluster.settings import load
from monitoring.drift import Alarm
from monitoring.verdicts import VerdictLog, WindowVerdicts
from tests.builders import MODEL, make_settings
from training.demo import story


def test_the_timeline_tells_each_alarm_and_decision_once_word_for_word(tmp_path: Path) -> None:
    settings = make_settings(tmp_path)
    verdicts = VerdictLog(settings.places.verdicts(MODEL))
    ledger = Ledger(settings.places.ledger(MODEL), clock=lambda: 0.0)
    ledger.append(Attempt(run="late-0", number=1))  # from before: not told
    shown = io.StringIO()
    timeline = story.Timeline(settings, Progress(console=Console(file=shown, width=200)))
    alarm = Alarm(blamed=["feature_drift:wind"], began=0.0, evidence=200.0, threshold=180.0, message="wind [moved]")
    verdicts.append(
        WindowVerdicts(sequence=0, model=MODEL, bundle="1", look="drift", window_start=0.0, window_end=86400.0, rows=9, alarm=alarm)
    )
    timeline.tell(1364774400.0)
    ledger.append(RetrainRequest(run="late-1", reason="alarm: wind", now=1.0, since=0.0, train_until=0.5, seed=7))
    ledger.append(Closed(run="late-1", outcome="refused", reason="no better", now=1.0))
    timeline.tell(1364860800.0)
    timeline.tell(1364947200.0)
    assert [line.split() for line in shown.getvalue().splitlines()] == [
        ["01", "Apr", "alarm", "wind", "[moved]"],
        ["02", "Apr", "retrain", "alarm:", "wind"],
        ["02", "Apr", "refused", "no", "better"],
    ]


def test_the_demo_empties_what_it_left_before_and_writes_settings_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HOMEOSTAT_ROOT", "MLFLOW_TRACKING_URI"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    monkeypatch.setattr(story, "is_free", lambda port, host="": False)
    monkeypatch.setattr(story, "free_port", lambda: 4321)
    config, root = tmp_path / "late.yaml", tmp_path / "demo"
    config.write_text(yaml.safe_dump(make_settings(tmp_path / "own").dump()))
    (root / "journal" / "late").mkdir(parents=True)
    (root / "data").mkdir()
    (root / "report.json").write_text("{}")
    settings, path = story._prepare(str(config), str(root))
    assert settings == load(path)
    assert (settings.places.root, settings.serving.port, settings.monitoring.metrics_port) == (str(root), 4321, 4321)
    assert sorted(p.name for p in root.iterdir()) == ["data", "model.yaml"]


def test_a_bundle_is_told_by_its_lineage_and_metrics(tmp_path: Path) -> None:
    (tmp_path / "lineage.json").write_text(json.dumps({"until": 1364774400.0}))
    (tmp_path / "metrics.json").write_text(json.dumps({"held_out": {"ensemble": {"roc_auc": 0.7}}}))
    assert story._bundle_facts(tmp_path, "2") == {
        "version": "2",
        "trained_on_until": "2013-04-01T00:00:00+00:00",
        "metrics": {"roc_auc": 0.7},
    }
