"""The whole pipeline on small tables: what a bundle holds, that it can be made again to the bit, and that one can be registered by stages."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from cluster.bundle import Bundle, new_folder
from cluster.cli import main
from cluster.errors import DataError
from cluster.registry import Registry
from cluster.settings import Settings, load
from monitoring import attributing
from tests.unit.training.tables import CLASSES
from training import pipeline, reproduction, snapshots
from training.card import render

ROWS = 3000
SMALL = {
    "xgboost": {"rounds": 30, "max_depth": 3, "learning_rate": 0.2},
    "torch": {"epochs": 2, "hidden": [16], "networks": 2, "batch_size": 64},
    "linear": {},
}


@pytest.fixture(autouse=True)
def _own_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    """MLflow leaves its tracking URI in the environment, where settings would find it."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


def write_model(folder: Path, task: str, *, sex_counts: float = 0.3, **sections: Any) -> Path:
    """A table of a known law with a time, a protected column and gaps, and the YAML of a model for it."""
    rng = np.random.default_rng(5)
    wind, carrier, sex = rng.normal(size=ROWS), rng.integers(0, 4, ROWS), rng.integers(0, 2, ROWS)
    z = 1.5 * wind + 0.8 * (carrier - 1.5) + sex_counts * sex
    if task == "regression":
        label = pa.array(np.exp(1 + 0.3 * z) * (1 + 0.1 * rng.normal(size=ROWS)))
    elif task == "binary":
        label = pa.array((rng.random(ROWS) < 1 / (1 + np.exp(-z))).astype(np.int64))
    else:
        label = pa.array([CLASSES["multiclass"][k] for k in np.digitize(z + rng.normal(size=ROWS), [-1.0, 1.0])])  # type: ignore[index]
    table = pa.table(
        {
            "at": pa.array(1.7e9 + 3600.0 * np.arange(ROWS)),
            "wind": pa.array(np.where(rng.random(ROWS) < 0.05, np.nan, wind), from_pandas=True),
            "carrier": pa.array([f"c{k}" for k in carrier]),
            "height": pa.array(sex * 1.0 + 0.3 * rng.normal(size=ROWS)),
            "sex": pa.array(["f" if s else "m" for s in sex]),
            "y": label,
        }
    )
    pq.write_table(table, folder / "table.parquet")
    content = {
        "model": "toy",
        "data": {"source": str(folder / "table.parquet")},
        "schema": {
            "features": [
                {"name": "wind", "type": "number", "range": [-5, 5]},
                {"name": "carrier", "type": "category"},
                {"name": "height", "type": "number"},
            ],
            "label": {"name": "y", "task": task},
            "time": "at",
            "protected": ["sex"],
        },
        "members": SMALL,
        "distillation": {"sizes": [10, 30], "max_depth": 3},
        "places": {"root": str(folder / "var")},
    }
    (folder / "toy.yaml").write_text(yaml.safe_dump(content | sections))
    return folder / "toy.yaml"


def make(settings: Settings, folder: Path) -> tuple[pipeline.Made, Bundle]:
    made = pipeline.make(settings, pipeline.read_frame(settings), pipeline.Run("run-1", "a test", 3), new_folder(folder))
    return made, Bundle(made.folder, digest=made.digest)


@pytest.mark.parametrize("task", ["binary", "multiclass", "regression"])
def test_a_bundle_holds_all_that_was_measured_and_a_card_of_it(task, tmp_path):
    check = {"kind": "monotonic", "name": "more wind", "feature": "wind", "direction": "up", "tolerance": 0.5}
    settings = load(write_model(tmp_path, task, checks=[check | ({"of": "c"} if task == "multiclass" else {})]))
    made, bundle = make(settings, tmp_path)
    kept = set(bundle.manifest.files)
    parts = ("calibration", "checks", "columns", "explanation", "fairness", "slices", "stability")
    assert {f"evaluation/{part}.json" for part in parts} <= kept
    assert {"settings.json", "blend.json", "distillation.json", "explanation/lime.json", "card.md", "card.html"} <= kept
    assert ("intervals.json" in kept) == (task == "regression")
    rests_on = attributing.read(made.folder)
    is_used = bundle.json("blend.json")["weights"]["xgboost"] > 0
    assert (rests_on.whose, rests_on.reference.features) == ("xgboost" if is_used else "student", ["wind", "carrier", "height"])
    assert rests_on.reference.blocks >= 8
    metrics = bundle.json("metrics.json")
    assert metrics["rows"] == {"train": 2400, "tune": 420, "held_out": 180, "fitted": 2820}
    assert set(metrics["held_out"]) == {"xgboost", "torch", "linear", "ensemble", "student"}
    assert set(metrics["forward"]) == {"xgboost", "torch", "linear", "ensemble", "student", "answered"}
    name = {"binary": "roc_auc", "multiclass": "roc_auc_ovr", "regression": "r2"}[task]
    assert metrics["held_out"]["ensemble"][name] > {"binary": 0.75, "multiclass": 0.8, "regression": 0.7}[task]
    assert render(made.folder).markdown == (made.folder / "card.md").read_text()
    outcome = bundle.json("evaluation/checks.json")["outcomes"][0]
    assert (outcome["name"], outcome["rows"] > 50) == ("more wind", True)


def test_the_same_run_gives_the_same_files_but_for_what_a_clock_said(tmp_path):
    settings = load(write_model(tmp_path, "binary"))
    one, again = (make(settings, tmp_path)[1] for _ in range(2))
    different = {name for name, record in one.manifest.files.items() if again.manifest.files.get(name) != record}
    assert different <= reproduction.TIMED


def test_a_registered_version_is_reproduced_to_the_bit_from_its_kept_rows_even_when_the_source_has_changed(tmp_path, capsys):
    path = write_model(tmp_path, "binary", training={"search": {"budget_s": 5, "trials": 2}})
    assert main(["train", str(path)]) == 0
    settings = load(path)
    table = pq.read_table(tmp_path / "table.parquet")
    pq.write_table(table.slice(0, 1000), tmp_path / "table.parquet")
    found = reproduction.reproduce(settings, "1")
    assert (found.rows_from, found.different_files, found.changed) == ("snapshot", [], [])
    assert found.worst_difference == 0
    assert len(found.same_files) > 20
    for kept in (tmp_path / "var" / "snapshots" / "toy").iterdir():
        kept.unlink()
    with pytest.raises(DataError, match=r"were not kept, and .* now holds others"):
        reproduction.reproduce(settings, "1")


def test_a_version_made_from_other_rows_is_not_called_the_same(tmp_path, monkeypatch):
    path = write_model(tmp_path, "binary")
    assert main(["train", str(path)]) == 0
    find = snapshots.find

    def altered(place: str, name: str) -> pa.Table | None:
        frame = find(place, name)
        assert frame is not None
        flipped = pa.array(1 - frame.column("y").to_numpy())
        return frame.set_column(frame.column_names.index("y"), "y", flipped)

    monkeypatch.setattr("training.reproduction.snapshots.find", altered)
    found = reproduction.reproduce(load(path), "1")
    assert "student.onnx" in found.different_files
    assert not found.is_close
    assert any(change.startswith("data_sha256 was") for change in found.changed)


def test_the_stages_make_and_register_the_same_bundle_as_one_command(tmp_path):
    path = write_model(tmp_path, "binary")
    rows, bundle, out = tmp_path / "rows.parquet", tmp_path / "bundle", tmp_path / "registered.json"
    assert main(["stage", "rows", str(path), "--out", str(rows)]) == 0
    assert main(["stage", "bundle", str(path), "--rows", str(rows), "--out", str(bundle), "--metrics", str(tmp_path / "m.json")]) == 0
    assert main(["stage", "register", str(path), "--bundle", str(bundle), "--out", str(out)]) == 0
    assert json.loads(out.read_text())["version"] == "1"
    assert json.loads((tmp_path / "m.json").read_text()) == json.loads((bundle / "metrics.json").read_text())["held_out"]
    assert Registry(load(path)).versions() == ["1"]
    assert main(["stage", "bundle", str(path), "--rows", str(rows), "--out", str(bundle)]) == 1


def test_a_bundle_of_another_model_is_not_registered(tmp_path, capsys):
    _, bundle = make(load(write_model(tmp_path, "binary")), tmp_path)
    other = tmp_path / "other"
    other.mkdir()
    path = write_model(other, "regression")
    assert main(["stage", "register", str(path), "--bundle", str(bundle.folder), "--out", str(tmp_path / "r.json")]) == 1
    assert "is of task 'binary'; these settings are of task 'regression'" in capsys.readouterr().err
    assert Registry(load(path)).versions() == []


def test_mitigation_narrows_the_gap_and_is_written_down(tmp_path):
    gaps = {}
    for wanted in ("none", "demographic_parity"):
        folder = tmp_path / wanted
        folder.mkdir()
        fairness = {"mitigation": wanted, "mitigation_weight": 0.95, "min_group_rows": 50}
        _, bundle = make(load(write_model(folder, "binary", fairness=fairness, sex_counts=2.0)), folder)
        (sex,) = bundle.json("evaluation/fairness.json")["attributes"]
        rates = [group["figures"]["selection_rate"]["estimate"] for group in sex["groups"]]
        gaps[wanted] = abs(rates[0] - rates[1])
        assert ("evaluation/mitigation.json" in bundle.manifest.files) == (wanted != "none")
    assert gaps["demographic_parity"] < 0.6 * gaps["none"]
