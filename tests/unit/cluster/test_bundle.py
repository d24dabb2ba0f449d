from __future__ import annotations

import hashlib
import json
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from msgspec.json import encode

from cluster import probe
from cluster.bundle import MANIFEST, Bundle, new_folder, seal, verify
from cluster.errors import BundleError, BundleTampered, UnsafeFormat
from cluster.probe import Probe
from tests.builders import (
    CREATED,
    ENSEMBLE_WEIGHTS,
    MODEL,
    STUDENT_WEIGHTS,
    expected_scores,
    make_bundle,
    make_costs,
    make_graph,
    make_probe,
    make_schema,
)

FILES = [
    "cascade.json",
    "costs.json",
    "ensemble.onnx",
    "lineage.json",
    "members/linear.json",
    "metrics.json",
    "probe.arrow",
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
    with pytest.raises(
        UnsafeFormat, match=rf"{name}' cannot be part of a bundle; allowed endings: \.arrow, \.html, \.json, \.md, \.onnx, \.svg, \.ubj"
    ):
        reseal(bundle_folder)


@pytest.mark.parametrize("name", [*FILES, "members/new.ubj", "figures/new.svg", "card.html", "card.md"])
@pytest.mark.parametrize("protocol", [0, 2, 5])
def test_a_pickle_under_another_name_is_refused_before_anything_reads_it(bundle_folder: Path, name: str, protocol: int) -> None:
    path = bundle_folder / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(pickle.dumps([len, "anything"], protocol))
    with pytest.raises(UnsafeFormat, match=f"{name}' is no .* file: it begins with"):
        reseal(bundle_folder)
    seal_blindly(bundle_folder)
    with pytest.raises(UnsafeFormat, match=f"{name}' is no .* file: it begins with"):
        verify(bundle_folder)


def seal_blindly(folder: Path) -> None:
    """A manifest over whatever is there, as somebody might write who wants it loaded."""
    manifest = json.loads((folder / MANIFEST).read_bytes())
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != MANIFEST]
    manifest["files"] = {
        path.relative_to(folder).as_posix(): {"sha256": hashlib.sha256(path.read_bytes()).hexdigest(), "size": path.stat().st_size}
        for path in files
    }
    (folder / MANIFEST).write_text(json.dumps(manifest))


def test_pickled_values_inside_an_arrow_file_are_refused(bundle_folder: Path) -> None:
    field = pa.field("x", pa.binary(), metadata={"ARROW:extension:name": "arrow.py_extension_type", "ARROW:extension:metadata": "x"})
    table = pa.table([pa.array([pickle.dumps(len)])], schema=pa.schema([field]))
    with pa.OSFile(str(bundle_folder / "probe.arrow"), "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
        writer.write_table(table)
    with pytest.raises(UnsafeFormat, match="is an Arrow file with pickled values"):
        reseal(bundle_folder)


@pytest.mark.parametrize("where", [0, 7, 100])
def test_any_altered_byte_of_any_file_is_found(bundle_folder: Path, where: int) -> None:
    for name in FILES:
        path = bundle_folder / name
        content = path.read_bytes()
        at = where % len(content)
        path.write_bytes(content[:at] + bytes([content[at] ^ 0x80]) + content[at + 1 :])
        with pytest.raises(BundleTampered, match=f"'{name}' of the bundle"):
            Bundle(bundle_folder)
        path.write_bytes(content)


def test_a_bundle_without_a_required_file_cannot_be_sealed(bundle_folder: Path) -> None:
    (bundle_folder / "profile.json").unlink()
    (bundle_folder / "lineage.json").unlink()
    with pytest.raises(BundleError, match=r"lacks lineage\.json, profile\.json"):
        reseal(bundle_folder)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("schema.json", lambda: b'{"features": []}', "sealed with a wrong schema.json, cascade.json or costs.json"),
        ("schema.json", lambda: b"{", "sealed with a wrong schema.json, cascade.json or costs.json"),
        ("cascade.json", lambda: b"[]", "sealed with a wrong schema.json, cascade.json or costs.json"),
        ("costs.json", lambda: b"{}", "sealed with a wrong schema.json, cascade.json or costs.json"),
        ("costs.json", lambda: encode(make_costs()).replace(b"[1,8", b"[9,8"), "sizes must be positive and ascending"),
        ("costs.json", lambda: encode(make_costs()).replace(b"[1,8", b"[8"), "4 sizes and 5 costs make no curve"),
        ("student.onnx", lambda: b"\x08 no graph", "is not a graph that can be run"),
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


def test_a_bundle_reproduces_the_scores_of_its_probe(bundle_folder: Path) -> None:
    bundle = Bundle(bundle_folder)
    bundle.check_probe()
    found, made = bundle.probe(), make_probe(3)
    assert found is not None
    np.testing.assert_array_equal(found.matrix, made.matrix)
    np.testing.assert_array_equal(found.expected["student"], made.expected["student"])
    np.testing.assert_array_equal(found.expected["ensemble"], made.expected["ensemble"])


@pytest.mark.parametrize("part", ["student", "ensemble"])
def test_a_part_that_no_longer_scores_as_it_did_is_named_with_row_and_difference(bundle_folder: Path, part: str) -> None:
    (bundle_folder / f"{part}.onnx").write_bytes(make_graph((0.002, -0.1, 0.9)))
    reseal(bundle_folder)
    bundle = Bundle(bundle_folder)
    with pytest.raises(BundleError, match=rf"the {part} scores row [1-4] of its probe 0\.\d+ away from the day it was built") as caught:
        bundle.check_probe()
    assert caught.value.details[0]["part"] == part


def test_a_part_that_is_not_loaded_is_not_checked(bundle_folder: Path) -> None:
    (bundle_folder / "ensemble.onnx").write_bytes(make_graph((0.002, -0.1, 0.9)))
    reseal(bundle_folder)
    Bundle(bundle_folder, parts=("student",)).check_probe()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (lambda: b"ARROW1, it says", "sealed with a wrong probe.arrow"),
        (lambda: None, "sealed with a probe.arrow of 4 features; its schema has 3"),
    ],
)
def test_a_probe_that_is_none_is_refused(bundle_folder: Path, content: Callable[[], bytes | None], message: str) -> None:
    probe.write(bundle_folder, make_probe(4))
    if (instead := content()) is not None:
        (bundle_folder / probe.NAME).write_bytes(instead)
    reseal(bundle_folder)
    with pytest.raises(BundleError, match=message):
        Bundle(bundle_folder).check_probe()


def test_a_probe_without_expected_scores_is_refused(bundle_folder: Path) -> None:
    matrix = make_probe(3).matrix
    probe.write(bundle_folder, Probe(matrix, {"student": matrix, "ensemble": matrix[:, :1]}))
    reseal(bundle_folder)
    with pytest.raises(BundleError, match="the student scores row 0 of its probe inf away"):
        Bundle(bundle_folder).check_probe()


def test_an_older_bundle_has_neither_costs_nor_probe_and_loads(tmp_path: Path) -> None:
    make_bundle(tmp_path / "old", measured=False)
    bundle = Bundle(tmp_path / "old")
    bundle.check_probe()
    assert (bundle.costs, bundle.probe()) == (None, None)


def test_a_bundle_tells_its_costs(bundle_folder: Path) -> None:
    assert Bundle(bundle_folder).costs == make_costs()


def test_a_native_part_needs_its_trees_and_the_costs_that_say_when_it_pays(bundle_folder: Path) -> None:
    (bundle_folder / "ensemble_rest.onnx").write_bytes(b"\x08")
    (bundle_folder / "costs.json").unlink()
    with pytest.raises(BundleError, match=r"lacks costs\.json, members/xgboost\.ubj"):
        reseal(bundle_folder)
