from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from cluster.cli import main
from cluster.errors import UnknownVersion
from cluster.ledger import Ledger
from cluster.records import Pointer, Pointers, Promotion
from tests.builders import MODEL, make_settings


class FakeRegistry:
    """Knows versions 1 to 3 and remembers what became champion."""

    moved: list[str]

    def __init__(self, settings: Any) -> None:
        type(self).moved = []

    def move(self, alias: str, version: str) -> Pointers:
        if version not in {"1", "2", "3"}:
            raise UnknownVersion(f"model 'late' has no version '{version}'")
        self.moved.append(f"{alias} {version}")
        return Pointers(model=MODEL, champion=Pointer(version=version, uri="", digest=""))


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    for name in ("RAY_ADDRESS", "RAY_AUTH_MODE", "HOMEOSTAT_ROOT", "MLFLOW_TRACKING_URI"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    monkeypatch.setattr("training.commands.Registry", FakeRegistry)
    path = tmp_path / "late.yaml"
    path.write_text(yaml.safe_dump(make_settings(tmp_path).dump()))
    return str(path)


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(make_settings(tmp_path).places.ledger(MODEL), clock=lambda: 0.0)


def champion(version: str, previous: str | None, by: str, reason: str) -> Promotion:
    return Promotion(pointer="champion", version=version, previous=previous, by=by, reason=reason)


def test_a_promotion_moves_the_pointer_and_is_written_down(config: str, ledger: Ledger, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["promote", config, "2", "--reason", "it is better"]) == 0
    assert FakeRegistry.moved == ["champion 2"]
    assert ledger.events() == [champion("2", None, "homeostat promote", "it is better")]
    assert "version 2 is champion of late; replicas follow within 1 s" in capsys.readouterr().out.replace("\n", " ")


def test_an_unknown_version_is_not_promoted(config: str, ledger: Ledger, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["promote", config, "9"]) == 1
    assert ledger.events() == []
    assert capsys.readouterr().err == "homeostat: UnknownVersion: model 'late' has no version '9'\n"


def test_a_rollback_goes_to_the_champion_before(config: str, ledger: Ledger) -> None:
    ledger.append(champion("1", None, "me", "the first"))
    ledger.append(champion("3", "1", "steward", "better"))
    assert main(["rollback", config]) == 0
    assert FakeRegistry.moved == ["champion 1"]
    assert ledger.events()[-1] == champion("1", "3", "homeostat rollback", "rolled back at the command line")


def test_a_rollback_may_name_its_version(config: str, ledger: Ledger) -> None:
    ledger.append(champion("3", None, "me", "the first"))
    assert main(["rollback", config, "--to", "2", "--reason", "I know why"]) == 0
    assert ledger.events()[-1] == champion("2", "3", "homeostat rollback", "I know why")


def test_with_one_champion_there_is_nothing_to_go_back_to(config: str, ledger: Ledger, capsys: pytest.CaptureFixture[str]) -> None:
    ledger.append(champion("1", None, "me", "the first"))
    assert main(["rollback", config]) == 1
    assert "has had one champion only" in capsys.readouterr().err
    assert len(ledger.events()) == 1
