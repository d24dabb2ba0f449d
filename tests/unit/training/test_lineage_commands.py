"""The stages for DVC: what `configs/dvc/dvc.yaml` asks for is what the commands take."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml

from cluster.cli import main
from training import lineage_commands

PIPELINE = Path(__file__).parents[3] / "configs" / "dvc" / "dvc.yaml"


def stages() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(PIPELINE.read_text().replace("${config}", "toy.yaml"))["stages"]
    return found


def names(entries: list[Any]) -> list[str]:
    """Files of a stage; DVC lets an entry be a name, or a name with options."""
    return [next(iter(entry)) if isinstance(entry, dict) else entry for entry in entries]


@pytest.mark.parametrize("stage", stages())
def test_every_stage_is_a_command_that_reads_its_dependencies_and_writes_its_outputs(stage: str) -> None:
    parser = argparse.ArgumentParser()
    lineage_commands.add(parser.add_subparsers())
    asked = stages()[stage]
    words = shlex.split(asked["cmd"])
    assert words[:3] == ["homeostat", "stage", stage]
    parser.parse_args(words[1:])
    for file in names([*asked["deps"], *asked["outs"], *asked.get("metrics", [])]):
        assert file in words, file


def test_each_stage_depends_on_what_an_earlier_one_made() -> None:
    made = {"toy.yaml"}
    for asked in stages().values():
        assert set(names(asked["deps"])) <= made
        made |= set(names([*asked["outs"], *asked.get("metrics", [])]))
    assert "registered.json" in made


def write_config(tmp_path: Path) -> Path:
    config = tmp_path / "toy.yaml"
    schema = {"features": [{"name": "a", "type": "number"}], "label": {"name": "y"}}
    config.write_text(yaml.safe_dump({"model": "toy", "data": {"source": "t.csv"}, "schema": schema, "places": {"root": str(tmp_path)}}))
    return config


@pytest.mark.parametrize("content", [None, b"a,y\n1,0\n"], ids=["absent", "CSV"])
def test_rows_that_no_stage_wrote_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes | None) -> None:
    rows = tmp_path / "rows.parquet"
    if content is not None:
        rows.write_bytes(content)
    assert main(["stage", "bundle", str(write_config(tmp_path)), "--rows", str(rows), "--out", str(tmp_path / "new")]) == 1
    assert "is not what `homeostat stage rows` writes" in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


def test_a_bundle_is_never_written_over(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = write_config(tmp_path)
    assert main(["stage", "bundle", str(config), "--rows", "rows.parquet", "--out", str(tmp_path)]) == 1
    assert "exists already; a bundle is never written over" in capsys.readouterr().err
