"""`homeostat predict` on a small table, in this process."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from cluster.errors import ConfigError, UnknownVersion
from tests.builders import make_champion, make_settings
from tests.unit.training.batch.tables import read, write_folder
from training import predict_command
from training.batch.job import UnitScorer
from training.batch.outputs import Done
from training.batch.units import Unit


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    make_champion(tmp_path, version="7")
    path = tmp_path / "late.yaml"
    path.write_text(yaml.safe_dump(make_settings(tmp_path).dump()))
    return path


def predict(config: Path, *more: str | Path) -> int:
    parser = argparse.ArgumentParser()
    predict_command.add(parser.add_subparsers())
    arguments = parser.parse_args(["predict", str(config), *map(str, more)])
    return int(arguments.run(arguments))


def test_a_small_table_is_scored_by_the_champion_without_ray(config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = write_folder(tmp_path / "in")
    assert predict(config, "--input", tmp_path / "in", "--output", tmp_path / "out", "--keep", "id", "id") == 0
    found = read(tmp_path / "out" / "predictions")
    assert found["id"].equals(table["id"])
    assert set(found["bundle"].to_pylist()) == {"7"}
    said = capsys.readouterr().out
    assert "120 rows scored by version 7 of late" in said
    assert "rows with an unknown category: 12 in carrier" in said
    assert "rows/s" not in said  # no bar where there is no terminal


def test_a_second_run_tells_of_the_first(config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_folder(tmp_path / "in")
    said = []
    for _ in range(2):
        assert predict(config, "--input", tmp_path / "in", "--output", tmp_path / "out") == 0
        said.append(capsys.readouterr().out)
    assert said[0].startswith("120 rows scored by version 7 of late")
    assert said[1].startswith("all was done already, by an earlier run: 120 rows scored by version 7 of late")


def test_a_table_without_rows_is_told(config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "in.csv").write_text("miles,wind,carrier\n")
    assert predict(config, "--input", tmp_path / "in.csv", "--output", tmp_path / "out") == 0
    assert capsys.readouterr().out.startswith("the input has no rows: 0 rows scored by version 7 of late")


def test_rejects_are_pointed_at(config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "in.csv").write_text("miles,wind,carrier\n1,x,UA\n1,2,UA\n")
    predict(config, "--input", tmp_path / "in.csv", "--output", tmp_path / "out")
    assert f"1 rows did not fit (1 WrongType); they are in {tmp_path}/out/rejects" in capsys.readouterr().out


def test_ctrl_c_keeps_what_is_done_and_says_how_to_go_on(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("training.batch.inputs.UNIT_ROWS", 20)
    write_folder(tmp_path / "in")
    score, scored = UnitScorer.__call__, list[int]()

    def interrupted(self: UnitScorer, unit: Unit) -> Done:
        if len(scored) == 2:
            raise KeyboardInterrupt
        scored.append(unit.number)
        return score(self, unit)

    monkeypatch.setattr(UnitScorer, "__call__", interrupted)
    with pytest.raises(KeyboardInterrupt):
        predict(config, "--input", tmp_path / "in", "--output", tmp_path / "out")
    assert "stopped; what is done is kept. To go on, give the same command again" in capsys.readouterr().out
    assert not (tmp_path / "out" / "predictions").exists()
    monkeypatch.setattr(UnitScorer, "__call__", score)
    assert predict(config, "--input", tmp_path / "in", "--output", tmp_path / "out") == 0
    assert len(read(tmp_path / "out" / "predictions")) == 120


@pytest.mark.parametrize(("source", "target"), [("in", "in/out"), ("in/deep", "in"), ("in", "in")])
def test_input_and_output_lie_apart(config: Path, tmp_path: Path, source: str, target: str) -> None:
    with pytest.raises(ConfigError, match="lie one within the other"):
        predict(config, "--input", tmp_path / source, "--output", tmp_path / target)


def test_a_negative_number_of_workers_is_refused(config: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--workers -1: give the number of workers"):
        predict(config, "--input", tmp_path / "in", "--output", tmp_path / "out", "--workers", "-1")


def test_another_version_is_asked_of_the_registry(config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Registry:
        def __init__(self, settings: Any) -> None:
            pass

        def locate(self, version: str) -> None:
            raise UnknownVersion(f"no version {version}")

    monkeypatch.setattr("cluster.registry.Registry", Registry)
    with pytest.raises(UnknownVersion, match="no version 9"):
        predict(config, "--input", tmp_path / "in", "--output", tmp_path / "out", "--version", "9")


@pytest.mark.parametrize(
    ("size", "address", "asked", "workers"),
    [(10, None, None, 0), (10, "x", None, None), (1 << 40, None, None, None), (10, "x", 0, 0), (10, None, 3, 3)],
)
def test_a_large_table_or_a_named_cluster_calls_for_workers(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int, address: str | None, asked: int | None, workers: int | None
) -> None:
    seen: list[int | None] = []

    def on_cluster(job: Any, work: Any, workers: int | None, root: str, units: Sequence[Unit]) -> Any:
        seen.append(workers)
        return iter(())

    pq.write_table(pa.table({"miles": [1], "wind": [1.0], "carrier": ["UA"]}), tmp_path / "in.parquet")
    if address:
        monkeypatch.setenv("RAY_ADDRESS", address)
    monkeypatch.setattr(predict_command, "_on_cluster", on_cluster)
    monkeypatch.setattr(predict_command, "SMALL_BYTES", (tmp_path / "in.parquet").stat().st_size + (1 if size == 10 else 0))
    more = () if asked is None else ("--workers", str(asked))
    predict(config, "--input", tmp_path / "in.parquet", "--output", tmp_path / "out", *more)
    assert seen == ([] if workers == 0 else [workers])
