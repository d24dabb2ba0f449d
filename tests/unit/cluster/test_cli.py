from __future__ import annotations

import io
import os
from pathlib import Path

import pytest
import yaml
from rich.console import Console

from cluster import cli
from cluster.cli import main
from cluster.errors import ConfigError
from cluster.ledger import Attempt, Ledger
from cluster.records import Promotion
from cluster.settings import load
from tests.builders import MODEL, make_champion, make_settings


@pytest.fixture(autouse=True)
def _environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`main` prepares the environment of its process; here it is put back, and nothing of the user's is read."""
    for name in ("RAY_ADDRESS", "RAY_AUTH_MODE", "HOMEOSTAT_ROOT", "MLFLOW_TRACKING_URI"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def config(tmp_path: Path) -> str:
    path = tmp_path / "late.yaml"
    path.write_text(yaml.safe_dump(make_settings(tmp_path).dump()))
    return str(path)


def test_the_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out.strip().count(".") == 2


def test_help_lists_the_commands_of_every_room(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    shown = capsys.readouterr().out
    for command in ("serve", "stop", "status", "history", "init", "train", "promote", "rollback", "demo"):
        assert f"\n    {command} " in shown


@pytest.mark.parametrize("arguments", [["dance"], [], ["serve"], ["stop", "--unknown"]])
def test_wrong_arguments_end_with_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert "usage: homeostat" in capsys.readouterr().err


def test_a_named_error_is_one_line_on_stderr_and_ends_with_1(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["history", "none.yaml"]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err == "homeostat: ConfigError: cannot read 'none.yaml': No such file or directory\n"


def test_an_error_of_several_lines_is_still_one(monkeypatch: pytest.MonkeyPatch, config: str, capsys: pytest.CaptureFixture[str]) -> None:
    def fail(path: str) -> None:
        raise ConfigError("first\n  second")

    monkeypatch.setattr("cluster.cli.load", fail)
    assert main(["history", config]) == 1
    assert capsys.readouterr().err == "homeostat: ConfigError: first second\n"


def test_status_without_a_champion_says_what_to_do_and_ends_with_1(config: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", config]) == 1
    assert capsys.readouterr().out == f"late has no champion; train one with: homeostat train {config}\n"


def test_a_quiet_status_prints_nothing(tmp_path: Path, config: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", "--quiet", config]) == 1
    make_champion(tmp_path)
    assert main(["status", "--quiet", config]) == 0
    assert capsys.readouterr().out == ""


def test_history_prints_the_entries_of_the_ledger_in_order(tmp_path: Path, config: str, capsys: pytest.CaptureFixture[str]) -> None:
    ledger = Ledger(make_settings(tmp_path).places.ledger(MODEL), clock=lambda: 1357016400.0)
    ledger.append(Promotion(pointer="champion", version="1", previous=None, by="me", reason="[bold]the first[/bold]"))
    ledger.append(Attempt(run="late-1", number=1))
    assert main(["history", config]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("   0  2013-01-01T05:00:00+00:00  Promotion")
    assert '"reason":"[bold]the first[/bold]"' in lines[0]
    assert lines[1].split()[0] == "1"
    assert lines[1].split()[2:] == ["Attempt", '{"run":"late-1","number":1}']


def test_history_of_nothing_prints_nothing(config: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["history", config]) == 0
    assert capsys.readouterr().out == ""


def test_stop_says_when_there_is_nothing_to_stop(tmp_path: Path, config: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["stop", config]) == 0
    assert main(["stop", "--root", str(tmp_path / "other")]) == 0
    assert (
        capsys.readouterr().out.replace("\n", "")
        == f"no local cluster of '{tmp_path}' is runningno local cluster of '{tmp_path}/other' is running"
    )


def test_stop_without_a_file_means_the_root_of_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HOMEOSTAT_ROOT", str(tmp_path / "elsewhere"))
    assert main(["stop"]) == 0
    assert capsys.readouterr().out.replace("\n", "") == f"no local cluster of '{tmp_path}/elsewhere' is running"


def test_a_status_shows_times_as_dates_and_leaves_out_what_has_no_value(monkeypatch: pytest.MonkeyPatch) -> None:
    printed = io.StringIO()
    monkeypatch.setattr(cli, "console", Console(file=printed, width=80))
    name = "homeostat-monitor-a-model-with-a-rather-long-name"
    cli._show_facts(name, {"rows": 3, "watermark": 1357016400.5, "bundle": None, "last_error": "", "failures": 0})
    lines = printed.getvalue().splitlines()
    assert lines[0] == name
    shown = [[cell.strip() for cell in line.strip("│").split("│")] for line in lines if "│" in line]
    assert shown == [["rows", "3"], ["watermark", "2013-01-01T05:00:00+00:00"], ["failures", "0"]]
    cli._show_facts(name, {"bundle": "2"})
    assert "last judged bundle │ 2" in printed.getvalue()


def test_where_metrics_are_is_said_only_when_something_listens_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = make_settings(tmp_path)
    monkeypatch.setattr(cli, "_ask", lambda name: {"metrics_port": None})
    cli._show_metrics(settings)
    assert capsys.readouterr().out == ""
    monkeypatch.setattr(cli, "_ask", lambda name: {"metrics_port": 9464})
    cli._show_metrics(settings)
    assert capsys.readouterr().out == "  metrics        http://127.0.0.1:9464/metrics\n"


def test_init_writes_a_yaml_that_loads(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = "\n".join(f"{i % 17},{'AB'[i % 2]},{int(i % 3 == 0)}" for i in range(300))
    (tmp_path / "loans.csv").write_text(f"amount,branch,defaulted\n{rows}\n")
    assert main(["init", "loans.csv", "--label", "defaulted"]) == 0
    assert "wrote loans.yaml; read it, then: homeostat train loans.yaml" in capsys.readouterr().out
    settings = load("loans.yaml")
    assert (settings.model, settings.columns.label.name, settings.columns.names) == ("loans", "defaulted", ("amount", "branch"))
    assert main(["init", "loans.csv", "--label", "defaulted"]) == 1
    assert "'loans.yaml' exists already" in capsys.readouterr().err


def test_the_environment_is_prepared_before_any_command(config: str) -> None:
    main(["history", config])
    assert os.environ["RAY_AUTH_MODE"] == "token"
