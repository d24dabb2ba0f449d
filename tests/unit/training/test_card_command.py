from __future__ import annotations

import argparse
from pathlib import Path

import pytest
import yaml

from cluster.errors import BundleTampered, HomeostatError, UnknownVersion
from cluster.records import Pointer
from tests.builders import MODEL, make_bundle, make_settings
from training.card_command import add_card


class FakeRegistry:
    """Knows one version, which is champion."""

    pointer: Pointer

    def __init__(self, settings: object) -> None:
        pass

    def champion(self) -> Pointer:
        return self.pointer

    def locate(self, version: str) -> Pointer:
        if version != self.pointer.version:
            raise UnknownVersion(f"model '{MODEL}' has no version {version!r}")
        return self.pointer


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    for name in ("HOMEOSTAT_ROOT", "MLFLOW_TRACKING_URI"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    folder = tmp_path / "bundle"
    monkeypatch.setattr("training.card_command.Registry", FakeRegistry)
    monkeypatch.setattr(FakeRegistry, "pointer", Pointer(version="3", uri=str(folder), digest=make_bundle(folder)), raising=False)
    path = tmp_path / "late.yaml"
    path.write_text(yaml.safe_dump(make_settings(tmp_path).dump()))
    return str(path)


def run(*arguments: str) -> int:
    parser = argparse.ArgumentParser()
    add_card(parser.add_subparsers())
    parsed = parser.parse_args(["card", *arguments])
    return int(parsed.run(parsed))


def test_the_champions_card_is_written(config: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(config, "--out", str(tmp_path / "out")) == 0
    assert "The student answers alone where its margin is at least 0.2." in (tmp_path / "out" / "card.md").read_text()
    assert (tmp_path / "out" / "card.html").read_text().startswith("<!doctype html>")
    assert f"version 3 of late: {tmp_path / 'out' / 'card.html'}" in capsys.readouterr().out


def test_without_a_place_it_goes_beside_whoever_asked(config: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(config, "--version", "3") == 0
    assert sorted(path.name for path in (tmp_path / "late-3-card").iterdir()) == ["card.html", "card.md", "figures"]


def test_a_bundle_that_was_altered_gets_no_card(config: str, tmp_path: Path) -> None:
    (tmp_path / "bundle" / "cascade.json").write_text('{"threshold": 0.1}')
    with pytest.raises(BundleTampered, match=r"cascade\.json"):
        run(config, "--out", str(tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_an_unknown_version_has_no_card(config: str, tmp_path: Path) -> None:
    with pytest.raises(HomeostatError, match="no version '9'"):
        run(config, "--version", "9", "--out", str(tmp_path / "out"))
