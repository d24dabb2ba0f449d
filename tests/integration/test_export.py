"""Graphs put together from members fitted for real, held against the same sums in numpy."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnxruntime as ort
import pyarrow as pa
import pytest

from cluster.bundle import COSTS, REST, TREES, Bundle, seal
from cluster.costs import Costs, Curve
from cluster.encoder import Encoder
from cluster.errors import BundleError, ParityError
from cluster.schema import Feature, FeatureSchema, Label, Matrix
from cluster.scorer import TOLERANCE, Graph, Native, worst
from tests.builders import CREATED, make_bundle, make_costs
from tests.unit.training import tables
from training.composing import ensemble, export, graphs, measure, trees
from training.composing.calibration import Calibration, adjust, platt
from training.composing.ensemble import Blend
from training.members import Crew


@pytest.fixture(scope="module", params=["binary", "multiclass", "regression"])
def fitted(request):
    members = tables.members_of(request.param)
    rows = tables.rows_of(request.param, 500)
    natives = {member.name: member.fit(rows, rows, Crew()).native for member in members}
    return members, natives, np.vstack([rows.X[:200], tables.odd_rows()])


def blend_of(weights: dict[str, float], calibration: Calibration) -> Blend:
    return Blend(
        weights=weights,
        calibration=calibration,
        loss=0,
        member_losses={},
        fell_back=False,
        learned_weights=weights,
        calibration_losses={},
        rows=0,
        crossed_loss=0,
    )


KINDS = {
    "none": Calibration(),
    "platt": platt(1.7, -0.4),
    "flat": platt(0.3),
    "beta": Calibration(kind="beta", a=0.6, b=1.8, c=0.2),
    "isotonic": Calibration(kind="isotonic", knots=[(0.1, 0.02), (0.3, 0.25), (0.30001, 0.4), (0.8, 0.9)]),
    "temperature": Calibration(kind="temperature", a=1.7),
    "vector": Calibration(kind="vector", a=0.7, shifts=[0.5, -0.2, 0.0]),
}
FITTING = {
    "binary": ("none", "platt", "flat", "beta", "isotonic"),
    "multiclass": ("none", "temperature", "vector"),
    "regression": ("none",),
}


def test_the_composed_graph_equals_blending_and_calibrating_in_numpy(fitted, tmp_path):
    members, natives, X = fitted
    label = members[0].schema.label
    weights = {"xgboost": 0.5, "torch": 0.3, "linear": 0.2}
    made, scores = {m.name: m.to_onnx(natives[m.name]) for m in members}, {m.name: m.score(natives[m.name], X) for m in members}
    for kind in FITTING[label.task]:
        graph = export.compose_ensemble(made, weights, KINDS[kind], label)
        expected = ensemble.apply(label, blend_of(weights, KINDS[kind]), scores)
        (tmp_path / "ensemble.onnx").write_bytes(graph.SerializeToString())
        served = Graph(tmp_path / "ensemble.onnx")
        np.testing.assert_allclose(served(X), expected, rtol=2e-5, atol=2e-5, err_msg=kind)
        np.testing.assert_allclose(served(X[:1]), expected[:1], rtol=2e-5, atol=2e-5, err_msg=kind)


BLENDS = [{"xgboost": 0.5, "torch": 0.3, "linear": 0.2}, {"xgboost": 1.0, "torch": 0.0, "linear": 0.0}]


def write_bundle(folder: Path, fitted: Any, weights: dict[str, float], *, costs: Costs) -> str:
    """The fitted members as a sealed bundle whose student is its trees alone."""
    members, natives, _ = fitted
    schema = members[0].schema
    calibration = KINDS[{"binary": "platt", "multiclass": "temperature", "regression": "none"}[schema.label.task]]
    made = {m.name: m.to_onnx(natives[m.name]) for m in members}
    make_bundle(folder, schema=schema, measured=False)
    parts = {
        "ensemble": export.compose_ensemble(made, weights, calibration, schema.label),
        "ensemble_rest": export.compose_ensemble(made, weights, calibration, schema.label, given="xgboost"),
        "student": export.compose_ensemble(made, {"xgboost": 1.0}, calibration, schema.label),
    }
    for name, graph in parts.items():
        (folder / f"{name}.onnx").write_bytes(graph.SerializeToString())
    (folder / TREES).write_bytes(natives["xgboost"])
    (folder / COSTS).write_bytes(msgspec.json.encode(costs))
    return seal(folder, model="toy", created=CREATED)


def native_from(rows: int) -> Costs:
    """Costs by which XGBoost's own trees pay from this many rows on."""
    return make_costs(
        ensemble=Curve(rows=[1, rows - 1, rows], seconds=[1e-6, 1e-3, 1.0]), native=Curve(rows=[1, rows - 1, rows], seconds=[1e-3] * 3)
    )


@pytest.mark.parametrize("weights", BLENDS, ids=["blend", "trees alone"])
def test_the_trees_given_from_outside_score_as_the_whole_graph(fitted, weights, tmp_path):
    write_bundle(tmp_path / "bundle", fitted, weights, costs=make_costs())
    whole = Graph(tmp_path / "bundle" / "ensemble.onnx")
    native = Native(tmp_path / "bundle" / TREES, tmp_path / "bundle" / REST)
    for rows in (1, 7, 200):
        assert worst(native(fitted[2][:rows]), whole(fitted[2][:rows]))[1] <= TOLERANCE


def test_many_rows_take_the_native_trees_and_few_the_graph(fitted, tmp_path):
    write_bundle(tmp_path / "bundle", fitted, BLENDS[0], costs=native_from(64))
    bundle, X = Bundle(tmp_path / "bundle"), fitted[2]
    bundle.warm()
    whole, native = Graph(bundle.folder / "ensemble.onnx"), Native(bundle.folder / TREES, bundle.folder / REST)
    np.testing.assert_array_equal(bundle.ensemble(X[:63]), whole(X[:63]))
    np.testing.assert_array_equal(bundle.ensemble(X[:64]), native(X[:64]))


def test_a_bundle_whose_native_trees_never_pay_does_not_load_them(fitted, tmp_path):
    write_bundle(tmp_path / "bundle", fitted, BLENDS[0], costs=make_costs())
    (tmp_path / "bundle" / TREES).write_bytes(b"{no trees")
    seal(tmp_path / "bundle", model="toy", created=CREATED)
    assert Bundle(tmp_path / "bundle").ensemble(fitted[2]).shape[0] == len(fitted[2])


def test_the_probe_is_scored_by_the_native_trees_too(fitted, tmp_path):
    members, natives, X = fitted
    folder = tmp_path / "bundle"
    write_bundle(folder, fitted, BLENDS[0], costs=native_from(64))
    measure.equip(folder, X)
    (folder / COSTS).write_bytes(msgspec.json.encode(native_from(64)))
    given = export.compose_ensemble(
        {"xgboost": members[0].to_onnx(natives["xgboost"])}, {"xgboost": 0.9}, Calibration(), members[0].schema.label, given="xgboost"
    )
    (folder / REST).write_bytes(given.SerializeToString())
    seal(folder, model="toy", created=CREATED)
    with pytest.raises(BundleError, match="the ensemble by XGBoost's own trees scores row"):
        Bundle(folder).check_probe()


SIZES = (1, 2, 3, 7, 16, 64, 100)


def in_blocks(score: Callable[[Matrix], Matrix], matrix: Matrix, size: int) -> Matrix:
    return np.concatenate([score(matrix[i : i + size]) for i in range(0, len(matrix), size)])


def test_a_student_scores_a_row_to_the_bit_whatever_it_is_scored_with(fitted, tmp_path):
    write_bundle(tmp_path / "bundle", fitted, BLENDS[0], costs=make_costs())
    bundle, X = Bundle(tmp_path / "bundle"), fitted[2]
    together = bundle.student(X)
    for size in SIZES:
        np.testing.assert_array_equal(in_blocks(bundle.student, X, size), together)


def test_an_ensemble_scores_a_row_within_the_tolerance_whatever_it_is_scored_with(fitted, tmp_path):
    write_bundle(tmp_path / "bundle", fitted, BLENDS[0], costs=native_from(64))
    bundle, again, X = Bundle(tmp_path / "bundle"), Bundle(tmp_path / "bundle"), fitted[2]
    together = bundle.ensemble(X)
    for size in SIZES:
        blocks = in_blocks(bundle.ensemble, X, size)
        assert worst(blocks, together)[1] <= TOLERANCE
        np.testing.assert_array_equal(in_blocks(again.ensemble, X, size), blocks)


def test_native_trees_score_a_row_to_the_bit_whatever_it_is_scored_with(fitted):
    _, natives, X = fitted
    booster = trees.load(natives["xgboost"])
    for size in SIZES:
        np.testing.assert_array_equal(in_blocks(booster.inplace_predict, X, size), booster.inplace_predict(X))


def test_members_without_weight_are_left_out(fitted):
    members, natives, X = fitted
    label = members[0].schema.label
    graph = export.compose_ensemble(
        {m.name: m.to_onnx(natives[m.name]) for m in members}, {"linear": 1.0, "torch": 0.0}, Calibration(), label
    )
    assert not [n.name for n in graph.graph.node if n.name.startswith(("torch.", "xgboost."))]
    (linear,) = (m for m in members if m.name == "linear")
    np.testing.assert_allclose(graphs.run(graph, X), linear.score(natives["linear"], X), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["xgboost", "torch", "linear"])
def test_a_single_member_is_calibrated_as_in_numpy(fitted, name):
    members, natives, X = fitted
    label = members[0].schema.label
    (member,) = (m for m in members if m.name == name)
    for kind in FITTING[label.task]:
        graph = export.compose_ensemble({name: member.to_onnx(natives[name])}, {name: 1.0}, KINDS[kind], label)
        expected = adjust(label, KINDS[kind], member.score(natives[name], X))
        np.testing.assert_allclose(graphs.run(graph, X), expected, rtol=2e-5, atol=2e-5, err_msg=kind)
        assert "Log" not in [n.op_type for n in graph.graph.node]


def test_a_weighted_member_without_a_graph_is_refused():
    with pytest.raises(BundleError, match="every weighted member needs its graph"):
        export.compose_ensemble({}, {"torch": 1.0}, Calibration(), tables.schema_of("binary").label)


def test_parity_holds_for_what_was_fitted(fitted):
    members, natives, X = fitted
    for member in members:
        native = natives[member.name]
        assert export.check_parity(member.name, member.score(native, X), member.to_onnx(native), X) < 1e-5


def test_a_difference_beyond_the_tolerance_names_member_difference_and_row(fitted):
    members, natives, X = fitted
    member = members[0]
    scores = member.score(natives[member.name], X).copy()
    scores[17] += 0.01 * max(1, np.abs(scores).max())
    with pytest.raises(ParityError, match=r"member 'xgboost'.*differ by 0\.0\d+ in row 17") as caught:
        export.check_parity(member.name, scores, member.to_onnx(natives[member.name]), X)
    assert caught.value.details[0]["row"] == 17


def test_a_score_that_is_no_number_fails_parity(fitted):
    members, natives, X = fitted
    scores = members[0].score(natives["xgboost"], X).copy()
    scores[3] = np.nan
    with pytest.raises(ParityError, match="in row 3"):
        export.check_parity("xgboost", scores, members[0].to_onnx(natives["xgboost"]), X)


def test_the_encoding_graph_equals_the_encoder():
    schema = FeatureSchema(
        features=(
            Feature(name="miles flown", type="number"),
            Feature(name="carrier", type="category", categories=("UA", "B6", "Æ")),
            Feature(name="only_unknown", type="category", categories=()),
        ),
        label=Label(name="late", classes=(0, 1)),
    )
    table = pa.table(
        {
            "miles flown": [1.5, None, -3.0, 1e30],
            "carrier": ["B6", None, "ZZ", "Æ"],
            "only_unknown": ["x", None, "y", "z"],
        }
    )
    feeds = {
        "miles flown": np.array([[1.5], [np.nan], [-3.0], [1e30]], dtype=np.float32),
        "carrier": np.array([["B6"], [""], ["ZZ"], ["Æ"]], dtype=object),
        "only_unknown": np.array([["x"], [""], ["y"], ["z"]], dtype=object),
    }
    session = ort.InferenceSession(export.encoding_graph(schema).SerializeToString(), providers=["CPUExecutionProvider"])
    (encoded,) = session.run(["X"], feeds)
    np.testing.assert_array_equal(encoded, Encoder(schema).table(table))


def test_a_feature_named_like_the_output_is_refused():
    schema = FeatureSchema(features=(Feature(name="X", type="number"),), label=Label(name="late", classes=(0, 1)))
    with pytest.raises(BundleError, match="rename the column"):
        export.encoding_graph(schema)
