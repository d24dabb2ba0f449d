"""Graphs put together from members fitted for real, held against the same sums in numpy."""

from __future__ import annotations

import numpy as np
import onnxruntime as ort
import pyarrow as pa
import pytest

from cluster.bundle import Graph
from cluster.errors import BundleError, ParityError
from cluster.schema import Encoder, Feature, FeatureSchema, Label
from tests.unit.training import tables
from training import ensemble, export, graphs
from training.ensemble import Blend, Calibration
from training.members import Crew


@pytest.fixture(scope="module", params=["binary", "multiclass", "regression"])
def fitted(request):
    members = tables.members_of(request.param)
    rows = tables.rows_of(request.param, 500)
    natives = {member.name: member.fit(rows, rows, Crew()) for member in members}
    return members, natives, np.vstack([rows.X[:200], tables.odd_rows()])


def blend_of(weights: dict[str, float], calibration: Calibration) -> Blend:
    return Blend(
        weights=weights,
        calibration=calibration,
        loss=0,
        member_losses={},
        fell_back=False,
        learned_weights=weights,
        blend_rows=0,
        calibration_rows=0,
    )


@pytest.mark.parametrize("calibration", [Calibration(), Calibration(slope=1.7, intercept=-0.4)])
def test_the_composed_graph_equals_blending_in_numpy(fitted, calibration, tmp_path):
    members, natives, X = fitted
    label = members[0].schema.label
    if label.task != "binary" and not calibration.is_identity:
        calibration = Calibration(slope=1.7)
    weights = {"xgboost": 0.5, "torch": 0.3, "linear": 0.2}
    graph = export.compose_ensemble({m.name: m.to_onnx(natives[m.name]) for m in members}, weights, calibration, label)
    expected = ensemble.apply(label, blend_of(weights, calibration), {m.name: m.score(natives[m.name], X) for m in members})
    (tmp_path / "ensemble.onnx").write_bytes(graph.SerializeToString())
    served = Graph(tmp_path / "ensemble.onnx")
    np.testing.assert_allclose(served(X), expected, rtol=2e-5, atol=2e-5)
    np.testing.assert_allclose(served(X[:1]), expected[:1], rtol=2e-5, atol=2e-5)


def test_members_without_weight_are_left_out(fitted):
    members, natives, X = fitted
    label = members[0].schema.label
    graph = export.compose_ensemble(
        {m.name: m.to_onnx(natives[m.name]) for m in members}, {"linear": 1.0, "torch": 0.0}, Calibration(), label
    )
    assert not [n.name for n in graph.graph.node if n.name.startswith(("torch.", "xgboost."))]
    (linear,) = (m for m in members if m.name == "linear")
    np.testing.assert_allclose(graphs.run(graph, X), linear.score(natives["linear"], X), rtol=1e-5, atol=1e-6)


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
