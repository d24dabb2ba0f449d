"""Small real parts for tests: a schema, a sealed bundle of hand-made graphs, its settings and its pointers."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from cluster import bundle, probe, storage
from cluster.costs import Costs, Curve, Machine
from cluster.probe import Probe
from cluster.records import Pointer, Pointers
from cluster.schema import Feature, FeatureSchema, Label
from cluster.settings import Settings, parse

MODEL = "late"
CREATED = "2026-01-01T00:00:00+00:00"
STUDENT_WEIGHTS = (0.002, -0.1, 0.5)
ENSEMBLE_WEIGHTS = (0.004, -0.2, 0.25)


def make_schema(**changes: Any) -> FeatureSchema:
    """Miles (with a range), wind, carrier; a time; a protected column that is no feature; the label `late`, 0 or 1."""
    fields: dict[str, Any] = {
        "features": (
            Feature(name="miles", type="number", range=(0, 5000)),
            Feature(name="wind", type="number"),
            Feature(name="carrier", type="category", categories=("UA", "B6", "9E")),
        ),
        "label": Label(name="late", classes=(0, 1), positive=1),
        "time": "at",
        "protected": ("sex",),
    }
    return FeatureSchema(**(fields | changes))


def make_row(**changes: Any) -> dict[str, Any]:
    """A row that fits `make_schema`."""
    return {"miles": 200.0, "wind": 3.5, "carrier": "B6", "sex": "female", "at": "2013-01-01T05:00:00"} | changes


def make_graph(weights: Sequence[float], bias: float = 0.0, *, outputs: int = 1) -> bytes:
    """An ONNX graph: sigmoid of a linear map of X, NaN read as 0; `outputs` beyond one repeat the scores."""
    weight = numpy_helper.from_array(np.array(weights, dtype=np.float32).reshape(-1, 1), "weight")
    constants = [weight, *(numpy_helper.from_array(np.array(v, dtype=np.float32), n) for n, v in (("bias", bias), ("zero", 0.0)))]
    names = ["scores", *(f"again{i}" for i in range(1, outputs))]
    nodes = [
        helper.make_node("IsNaN", ["X"], ["missing"]),
        helper.make_node("Where", ["missing", "zero", "X"], ["filled"]),
        helper.make_node("MatMul", ["filled", "weight"], ["product"]),
        helper.make_node("Add", ["product", "bias"], ["logit"]),
        *(helper.make_node("Sigmoid", ["logit"], [name]) for name in names),
    ]
    graph = helper.make_graph(
        nodes,
        "scores",
        [helper.make_tensor_value_info("X", TensorProto.FLOAT, [None, len(weights)])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, [None, 1]) for name in names],
        initializer=constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def expected_scores(weights: Sequence[float], matrix: Any, bias: float = 0.0) -> Any:
    """What `make_graph` computes, float64 of shape (n, 1)."""
    logits = np.nan_to_num(np.asarray(matrix, dtype=np.float64)) @ np.array(weights).reshape(-1, 1) + bias
    return 1 / (1 + np.exp(-logits))


def make_costs(**changes: Any) -> Costs:
    """A student of 10 µs and an ensemble of 50 µs a call, and 1 and 10 µs a row."""
    rows = [1, 8, 64, 512, 4096]
    fields: dict[str, Any] = {
        "machine": Machine(cores=2, cpu="abacus"),
        "student": Curve(rows=rows, seconds=[1e-5 + 1e-6 * n for n in rows]),
        "ensemble": Curve(rows=rows, seconds=[5e-5 + 1e-5 * n for n in rows]),
    }
    return Costs(**(fields | changes))


def make_probe(features: int, bias: float = 0.0) -> Probe:
    """Five rows of `features` columns and what `make_bundle`'s graphs score them."""
    matrix = np.outer(np.arange(5), np.arange(1, features + 1)).astype(np.float32)
    matrix[4, 0] = np.nan
    pad = (0.0,) * features
    scores = [expected_scores((*weights, *pad)[:features], matrix, bias) for weights in (STUDENT_WEIGHTS, ENSEMBLE_WEIGHTS)]
    return Probe(matrix, {"student": scores[0].astype(np.float32), "ensemble": scores[1].astype(np.float32)})


def make_bundle(
    folder: Path, *, schema: FeatureSchema | None = None, threshold: float = 0.2, bias: float = 0.0, measured: bool = True
) -> str:
    """Write and seal a bundle; returns its digest. Rows with a margin below `threshold` go to the ensemble.

    Without `measured`, it has neither costs nor a probe, as older bundles.
    """
    schema = schema or make_schema()
    (folder / "members").mkdir(parents=True)
    pad = (0.0,) * (len(schema.features) - len(STUDENT_WEIGHTS))
    rule = bundle.CascadeRule(threshold=threshold, max_disagreement=0.02, confidence=0.95, student_share=0.7, disagreement=0.01)
    files: dict[str, bytes] = {
        "schema.json": schema.model_dump_json().encode(),
        "student.onnx": make_graph((*STUDENT_WEIGHTS, *pad)[: len(schema.features)], bias),
        "ensemble.onnx": make_graph((*ENSEMBLE_WEIGHTS, *pad)[: len(schema.features)], bias),
        "cascade.json": msgspec.json.encode(rule),
        "profile.json": b"{}",
        "metrics.json": b'{"student":{"roc_auc":0.7}}',
        "lineage.json": b"{}",
        "members/linear.json": b"{}",
    }
    for name, content in files.items():
        (folder / name).write_bytes(content)
    if measured:
        (folder / bundle.COSTS).write_bytes(msgspec.json.encode(make_costs()))
        probe.write(folder, make_probe(len(schema.features), bias))
    return bundle.seal(folder, model=MODEL, created=CREATED)


def make_settings(root: Path, **serving: Any) -> Settings:
    """Settings of the model whose places are under `root`; `serving` replaces keys of that section. No row is audited unless it says so."""
    columns = make_schema().model_dump(mode="json")
    content: dict[str, Any] = {"model": MODEL, "data": {"source": "table.parquet"}, "schema": columns, "places": {"root": str(root)}}
    content["serving"] = {"cascade": {"audit_share": 0}} | serving
    return parse(json.loads(json.dumps(content)))


def publish(root: Path, folder: Path, *, version: str, digest: str) -> None:
    """Point the published champion at a bundle, as the registry would."""
    pointers = Pointers(model=MODEL, champion=Pointer(version=version, uri=str(folder), digest=digest))
    storage.write_atomic(make_settings(root).places.pointers(MODEL), msgspec.json.encode(pointers))


def make_champion(root: Path, *, version: str = "1", threshold: float = 0.2, bias: float = 0.0) -> Path:
    """Make, seal and publish a bundle; returns its folder."""
    folder = root / "bundles" / version
    publish(root, folder, version=version, digest=make_bundle(folder, threshold=threshold, bias=bias))
    return folder
