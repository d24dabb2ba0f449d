from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from cluster.bundle import MANIFEST, Bundle, Graph, new_folder, seal, verify
from cluster.errors import BundleError, BundleTampered
from tests.builders import CREATED, ENSEMBLE_WEIGHTS, MODEL, STUDENT_WEIGHTS, expected_scores, make_bundle, make_graph, make_schema

FILES = [
    "cascade.json",
    "ensemble.onnx",
    "lineage.json",
    "members/linear.json",
    "metrics.json",
    "profile.json",
    "schema.json",
    "student.onnx",
]


def reseal(folder: Path) -> str:
    return seal(folder, model=MODEL, created=CREATED)


def test_a_sealed_bundle_lists_its_files_and_its_digest_is_that_of_the_manifest(bundle_folder: Path) -> None:
    digest = hashlib.sha256((bundle_folder / MANIFEST).read_bytes()).hexdigest()
    manifest = verify(bundle_folder, digest=digest)
    assert sorted(manifest.files) == FILES
    assert (manifest.model, manifest.created) == (MODEL, CREATED)
    assert manifest.files["profile.json"].size == 2
    assert reseal(bundle_folder) == digest


def test_a_loaded_bundle_scores_encoded_rows(bundle_folder: Path) -> None:
    bundle = Bundle(bundle_folder, version="3")
    matrix = bundle.encoder.columns({"miles": [200, None], "wind": [3.5, 1.0], "carrier": ["B6", "ZZ"]})
    np.testing.assert_allclose(bundle.student(matrix), expected_scores(STUDENT_WEIGHTS, matrix), rtol=1e-6)
    np.testing.assert_allclose(bundle.ensemble(matrix), expected_scores(ENSEMBLE_WEIGHTS, matrix), rtol=1e-6)
    assert bundle.student(matrix).dtype == np.float32
    assert bundle.schema == make_schema()
    assert (bundle.version, bundle.cascade.threshold) == ("3", 0.2)
    assert bundle.json("metrics.json") == {"student": {"roc_auc": 0.7}}
    bundle.warm()


def test_a_bundle_loads_only_the_parts_it_is_asked_for(bundle_folder: Path) -> None:
    bundle = Bundle(bundle_folder, parts=("student",))
    with pytest.raises(KeyError):
        bundle.ensemble(np.zeros((1, 3), dtype=np.float32))


@pytest.mark.parametrize("name", FILES)
def test_one_altered_byte_is_found_and_its_file_named(bundle_folder: Path, name: str) -> None:
    path = bundle_folder / name
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(BundleTampered, match=f"'{name}' of the bundle .* differs from what its manifest records"):
        Bundle(bundle_folder)


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_named(bundle_folder: Path, name: str) -> None:
    (bundle_folder / name).unlink()
    with pytest.raises(BundleTampered, match=f"lacks '{name}'"):
        Bundle(bundle_folder)


@pytest.mark.parametrize("name", ["members/evil.json", "setup.py", ".hidden"])
def test_a_file_that_the_manifest_does_not_list_is_named(bundle_folder: Path, name: str) -> None:
    (bundle_folder / name).touch()
    with pytest.raises(BundleTampered, match=f"files that its manifest does not list: {name}"):
        Bundle(bundle_folder)


def test_a_manifest_other_than_the_registered_one_is_refused(bundle_folder: Path) -> None:
    digest = hashlib.sha256((bundle_folder / MANIFEST).read_bytes()).hexdigest()
    (bundle_folder / "metrics.json").write_bytes(b"{}")
    reseal(bundle_folder)
    assert verify(bundle_folder).model == MODEL
    with pytest.raises(BundleTampered, match="is not the one that was registered"):
        Bundle(bundle_folder, digest=digest)


def test_a_manifest_that_is_no_manifest_is_refused(bundle_folder: Path) -> None:
    (bundle_folder / MANIFEST).write_bytes(b'{"format": 1}')
    with pytest.raises(BundleTampered, match=r"the manifest in .* cannot be read"):
        verify(bundle_folder)


def test_a_bundle_of_another_format_is_refused(bundle_folder: Path) -> None:
    manifest = json.loads((bundle_folder / MANIFEST).read_bytes()) | {"format": 2}
    (bundle_folder / MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(BundleError, match="has format 2; this version reads format 1"):
        verify(bundle_folder)


def test_a_folder_without_a_bundle_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="holds no bundle"):
        verify(tmp_path)


@pytest.mark.parametrize("name", ["model.pkl", "members/model.pt", "members/model.joblib", "script.py", "members/noending"])
def test_a_file_of_an_unsafe_format_cannot_be_sealed(bundle_folder: Path, name: str) -> None:
    (bundle_folder / name).write_bytes(b"x")
    with pytest.raises(BundleError, match=rf"{name}' cannot go into a bundle; allowed: \.arrow, \.json, \.onnx, \.ubj"):
        reseal(bundle_folder)


def test_a_bundle_without_a_required_file_cannot_be_sealed(bundle_folder: Path) -> None:
    (bundle_folder / "profile.json").unlink()
    (bundle_folder / "lineage.json").unlink()
    with pytest.raises(BundleError, match=r"lacks lineage\.json, profile\.json"):
        reseal(bundle_folder)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("schema.json", lambda: b'{"features": []}', "sealed with a wrong schema.json or cascade.json"),
        ("schema.json", lambda: b"{", "sealed with a wrong schema.json or cascade.json"),
        ("cascade.json", lambda: b"[]", "sealed with a wrong schema.json or cascade.json"),
        ("student.onnx", lambda: b"x", "is not a graph that can be run"),
        ("student.onnx", lambda: make_graph(STUDENT_WEIGHTS, outputs=2), "has 1 inputs and 2 outputs"),
    ],
)
def test_a_bundle_sealed_with_a_part_that_cannot_be_used_is_refused(
    bundle_folder: Path, name: str, content: Callable[[], bytes], message: str
) -> None:
    (bundle_folder / name).write_bytes(content())
    reseal(bundle_folder)
    with pytest.raises(BundleError, match=message):
        Bundle(bundle_folder)


def test_a_graph_with_two_outputs_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "two.onnx"
    path.write_bytes(make_graph((1.0,), outputs=2))
    with pytest.raises(BundleError, match="has 1 inputs and 2 outputs; a scoring graph has one of each"):
        Graph(path)


def test_a_graph_scores_one_row_as_it_scores_it_among_many(tmp_path: Path) -> None:
    path = tmp_path / "one.onnx"
    path.write_bytes(make_graph((0.5, -0.25)))
    graph = Graph(path)
    matrix = np.random.default_rng(7).normal(size=(50, 2)).astype(np.float32)
    matrix[3, 1] = np.nan
    together = graph(matrix)
    assert together.shape == (50, 1)
    np.testing.assert_array_equal(np.concatenate([graph(matrix[i : i + 1]) for i in range(50)]), together)


def test_folders_under_construction_do_not_meet(tmp_path: Path) -> None:
    one, two = new_folder(tmp_path), new_folder(tmp_path)
    assert one != two
    assert (one / "members").is_dir()
    make_bundle(two / "inner")
    assert verify(two / "inner").model == MODEL


def test_the_answer_is_the_students_and_the_ensembles_for_hard_rows(bundle_folder: Path) -> None:
    bundle = Bundle(bundle_folder)
    matrix = np.array([[0, 0, 0], [5000, 0, 0]], dtype=np.float32)
    np.testing.assert_array_equal(bundle.answer(matrix), np.concatenate([bundle.ensemble(matrix[:1]), bundle.student(matrix[1:])]))
