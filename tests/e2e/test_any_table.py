"""`init`, `train` and `serve` on tables the project has never seen, as a user types them, nothing edited."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import httpx
import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
import yaml

from cluster import service
from cluster.cli import main
from cluster.runtime import LocalCluster, is_free
from cluster.settings import load


def loans(rng: np.random.Generator, rows: int = 1500) -> pa.Table:
    """Loans with a time, text, gaps, an identifier and a group of people."""
    income = rng.lognormal(10, 0.5, rows)
    purpose = np.array(["car", "home", "study", "other"])[rng.integers(0, 4, rows)]
    paid = rng.random(rows) < 1 / (1 + np.exp(-(np.log(income) - 10) * 3))
    days = np.datetime64("2025-01-01") + np.sort(rng.integers(0, 200, rows)).astype("timedelta64[D]")
    gaps = rng.random(rows) < 0.1
    return pa.table(
        {
            "loan id": [f"L{i:06d}" for i in range(rows)],
            "asked on": pa.array(days.astype("datetime64[us]")),
            "yearly income": pa.array(income, mask=gaps),
            "purpose": purpose,
            "sex": np.array(["f", "m"])[rng.integers(0, 2, rows)],
            "outcome": np.where(paid, "paid", "default"),
        }
    )


def command(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"} | {"COLUMNS": "200"}
    done = subprocess.run(
        [sys.executable, "-m", "cluster.cli", *arguments], cwd=cwd, capture_output=True, text=True, timeout=240, env=environment
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done


def first_answer(url: str) -> httpx.Response:
    """Send the row that the service's own documentation shows."""
    example = httpx.get(f"{url}/openapi.json", timeout=10).json()["components"]["schemas"]["Row"]["example"]
    return httpx.post(f"{url}/v1/predict", json={"rows": [example]}, timeout=10)


@pytest.mark.skipif(not is_free(8000), reason="the default port of a written YAML is taken on this machine")
def test_a_parquet_table_with_a_time_is_served_by_three_commands(tmp_path: Path) -> None:
    pq.write_table(loans(np.random.default_rng(1)), tmp_path / "loans 2025.parquet")

    wrote = command(
        "init", "loans 2025.parquet", "--label", "outcome", "--time", "asked on", "--protect", "sex", "--out", "loans.yaml", cwd=tmp_path
    )
    assert "homeostat train loans.yaml" in wrote.stdout
    trained = command("train", "loans.yaml", cwd=tmp_path)
    assert "champion" in trained.stdout
    try:
        greeting = command("serve", "loans.yaml", "--detach", cwd=tmp_path)
        assert "http://127.0.0.1:8000/v1/predict" in greeting.stdout
        answer = first_answer("http://127.0.0.1:8000").json()
        status = command("status", "loans.yaml", cwd=tmp_path)
    finally:
        command("stop", "loans.yaml", cwd=tmp_path)

    assert answer["predictions"][0]["prediction"] in ("paid", "default")
    assert answer["bundle"] == "1"
    assert "champion 1" in status.stdout
    assert is_free(8000), "stop left something running"


@pytest.mark.parametrize("task", ["multiclass", "regression"])
def test_a_csv_without_a_time_is_trained_and_served(
    tmp_path: Path, ray_cluster: LocalCluster, http_port: int, task: str, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = np.random.default_rng(2)
    length, width = rng.normal(5, 1, 900), rng.normal(3, 1, 900)
    kind = np.array(["small", "middle", "large"])[np.digitize(length + width + rng.normal(0, 0.3, 900), [7.0, 9.0])]
    columns = {"length": length, "width": width, "colour": np.array(["red", "blue"])[rng.integers(0, 2, 900)]}
    label, values = ("kind", kind) if task == "multiclass" else ("weight", length * width + rng.normal(0, 0.1, 900))
    pyarrow.csv.write_csv(pa.table({**columns, label: values}), tmp_path / f"{task}.csv")
    out = tmp_path / f"{task}.yaml"

    assert main(["init", str(tmp_path / f"{task}.csv"), "--label", label, "--out", str(out)]) == 0
    content = yaml.safe_load(out.read_text())  # the shared cluster dictates where things are, nothing else
    content["places"] = {"root": str(tmp_path / "var")}
    content["serving"] = (content.get("serving") or {}) | {"port": http_port}
    content["monitoring"] = (content.get("monitoring") or {}) | {"metrics_port": 0}
    out.write_text(json.dumps(content))
    assert main(["train", str(out)]) == 0, capsys.readouterr().err
    settings = load(out)
    url = service.up({str(out): settings})
    try:
        sure = {"length": 7.5, "width": 5.0, "colour": "red"}
        answer = httpx.post(f"{url}/v1/predict", json={"rows": [sure, sure]}, timeout=10).json()["predictions"]
    finally:
        service.down([settings])

    if task == "multiclass":
        assert [row["prediction"] for row in answer] == ["large", "large"]
        assert sum(answer[0]["probabilities"].values()) == pytest.approx(1, abs=1e-5)
    else:
        assert answer[0]["prediction"] == pytest.approx(37.5, rel=0.2)
