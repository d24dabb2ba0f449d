from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa
import pytest
import yaml

from cluster.cli import main
from cluster.errors import UnknownVersion
from cluster.ledger import Ledger
from cluster.records import Pointer, Pointers, Promotion
from tests.builders import MODEL, make_schema, make_settings
from training import commands


class FakeRegistry:
    """Knows versions 1 to 3, of which 1 is champion; remembers what was moved."""

    moved: ClassVar[list[str]] = []
    trial: ClassVar[str | None] = None

    def __init__(self, settings: Any) -> None:
        type(self).moved = []

    def pointers(self) -> Pointers:
        challenger = Pointer(version=self.trial, uri="", digest="") if self.trial else None
        return Pointers(model=MODEL, champion=Pointer(version="1", uri="", digest=""), challenger=challenger)

    def champion(self) -> Pointer:
        return Pointer(version="1", uri="", digest="")

    def move(self, alias: str, version: str | None, *, share: float = 0.0) -> Pointers:
        if version not in {"1", "2", "3", None}:
            raise UnknownVersion(f"model 'late' has no version '{version}'")
        self.moved.append(f"{alias} {version}" + (f" {share}" if share else ""))
        if alias == "challenger":
            type(self).trial = version
        return self.pointers()


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    for name in ("RAY_ADDRESS", "RAY_AUTH_MODE", "HOMEOSTAT_ROOT", "MLFLOW_TRACKING_URI"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    monkeypatch.setattr("training.commands.Registry", FakeRegistry)
    monkeypatch.setattr(FakeRegistry, "trial", None)
    path = tmp_path / "late.yaml"
    path.write_text(yaml.safe_dump(make_settings(tmp_path).dump()))
    return str(path)


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(make_settings(tmp_path).places.ledger(MODEL), clock=lambda: 0.0)


@pytest.mark.parametrize(("time", "is_told"), [("at", True), (None, False)])
def test_a_group_that_does_not_part_the_rows_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], time: str | None, is_told: bool
) -> None:
    settings = make_settings(tmp_path)
    settings = settings.model_copy(
        update={"columns": make_schema(time=time), "training": settings.training.model_copy(update={"group": "sex"})}
    )
    rows = pa.table({"miles": [1.0, 2.0], "wind": pa.nulls(2, pa.float64()), "carrier": ["UA", None], "late": [0, 1]})
    monkeypatch.setattr("training.pipeline.read_frame", lambda _: rows)
    monkeypatch.setattr("training.workers.pieces.is_large", lambda _: False)
    assert commands._rows(settings) is rows
    said = capsys.readouterr().out
    assert ("training.group 'sex' does not part the rows, schema.time 'at' does" in said) == is_told
    assert "missing in all rows, so nothing is learned of it: wind; fill it, or take it out of schema.features" in said


def test_init_says_what_is_wrong_with_the_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "t.csv").write_text("a;b;y\n" + "".join(f"{i},5;{i % 3};{i % 2}\n" for i in range(50)))
    assert main(["init", str(tmp_path / "t.csv"), "--label", "y", "--out", str(tmp_path / "t.yaml")]) == 0
    said = capsys.readouterr().out
    assert "has numbers with a decimal comma, such as '0,5', in 'a'" in said
    assert "50 have the label 'y', at least 200 are needed" in said


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


def challenger(version: str | None, previous: str | None, share: float | None = None) -> Promotion:
    asked = "asked for at the command line"
    return Promotion(pointer="challenger", version=version, previous=previous, by="homeostat canary", reason=asked, share=share)


def test_a_canary_moves_the_challenger_and_each_move_is_written_down(
    config: str, ledger: Ledger, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["canary", config, "--version", "2", "--share", "0.05"]) == 0
    assert FakeRegistry.moved == ["challenger 2 0.05"]
    said = capsys.readouterr().out.replace("\n", " ")
    assert "version 2 answers 5 % of the requests for late; replicas follow within 1 s" in said
    assert main(["canary", config, "--version", "3", "--share", "1"]) == 0
    assert main(["canary", config, "--off"]) == 0
    assert FakeRegistry.moved == ["challenger None"]
    assert "version 3 is challenger of late no more" in capsys.readouterr().out.replace("\n", " ")
    assert ledger.events() == [challenger("2", None, 0.05), challenger("3", "2", 1.0), challenger(None, "3")]


def test_ending_a_trial_that_is_not_there_is_harmless(config: str, ledger: Ledger, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["canary", config, "--off"]) == 0
    assert capsys.readouterr().out == "late has no challenger\n"
    assert (FakeRegistry.moved, ledger.events()) == ([], [])


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["--version", "2"], "ConfigError: --version takes a --share of the requests, such as 0.1; --off takes none"),
        (["--off", "--share", "0.1"], "ConfigError: --version takes a --share of the requests, such as 0.1; --off takes none"),
        (["--version", "9", "--share", "0.1"], "UnknownVersion: model 'late' has no version '9'"),
        (["--version", "1", "--share", "0.1"], "RegistryError: version 1 is the champion and answers all requests already; name another"),
    ],
)
def test_a_canary_that_cannot_be_is_refused_with_the_reason(
    config: str, ledger: Ledger, capsys: pytest.CaptureFixture[str], arguments: list[str], error: str
) -> None:
    assert main(["canary", config, *arguments]) == 1
    assert capsys.readouterr().err.startswith(f"homeostat: {error}")
    assert (FakeRegistry.trial, ledger.events()) == (None, [])


@pytest.mark.parametrize("arguments", [[], ["--version", "2", "--off"], ["--version", "2", "--share", "some"]])
def test_a_canary_needs_either_a_version_or_off(config: str, arguments: list[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["canary", config, *arguments])
