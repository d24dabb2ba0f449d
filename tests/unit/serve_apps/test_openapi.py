from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import openapi_spec_validator
import pytest
from jsonschema import Draft202012Validator  # type: ignore[import-untyped] # Ray brings it, without types

from cluster import errors
from cluster.schema import FeatureSchema, Label
from serve_apps import routes
from serve_apps.protocols import bulk, explain, mlflow, oip, oip_metadata, oip_rest, openapi, tfserving, torchserve
from serve_apps.protocols.columns import ColumnsReader
from serve_apps.protocols.errors import render
from serve_apps.protocols.plane import Answered, DecodedRows
from serve_apps.protocols.rows import RowsCodec
from tests.builders import make_row, make_schema

BINARY, MULTICLASS, REGRESSION = LABELS = [
    Label(name="late", classes=(0, 1)),
    Label(name="late", task="multiclass", classes=("a", "b", "c")),
    Label(name="late", task="regression"),
]
each_label = pytest.mark.parametrize("label", LABELS, ids=lambda label: label.task)
each_time = pytest.mark.parametrize("time", ["at", None])
Decode = Callable[[bytes, ColumnsReader], DecodedRows]


def document(schema: FeatureSchema, **options: Any) -> dict[str, Any]:
    found = openapi.document(schema, model="late", version="1.0", max_rows=5, **options)
    assert json.loads(json.dumps(found)) == found
    return found


def modern(schema: Any) -> Any:
    """A schema of OpenAPI 3.0 in JSON Schema's own words: `nullable` becomes a second type."""
    if isinstance(schema, list):
        return [modern(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    plain = {key: modern(value) for key, value in schema.items() if key != "nullable"}
    return plain | ({"type": [schema["type"], "null"]} if schema.get("nullable") is True else {})


def validator(found: dict[str, Any], schema: dict[str, Any]) -> Draft202012Validator:
    """The schema, with the document's components where its references look for them."""
    return Draft202012Validator(modern(schema | {"components": {"schemas": found["components"]["schemas"]}}))


def body_of(found: dict[str, Any], path: str) -> Draft202012Validator:
    return validator(found, found["paths"][path]["post"]["requestBody"]["content"]["application/json"]["schema"])


def answer_of(found: dict[str, Any], path: str, method: str = "post", status: str = "200") -> Draft202012Validator:
    return validator(found, found["paths"][path][method]["responses"][status]["content"]["application/json"]["schema"])


def operations(found: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in found["paths"].items():
        for method, operation in methods.items():
            yield path, method, operation


def answered(label: Label) -> Answered:
    scores = {"binary": [[0.25], [0.75]], "multiclass": [[0.5, 0.25, 0.25], [0.0, 0.0, 1.0]], "regression": [[1.5], [-2.0]]}
    return Answered("8a-0000-80", "late", "7", label, np.array(scores[label.task], dtype=np.float32), np.array([0, 2], dtype=np.uint8))


@each_label
@each_time
@pytest.mark.parametrize("secured", [True, False])
def test_the_document_is_valid_openapi(label: Label, time: str | None, secured: bool) -> None:
    found = document(make_schema(label=label, time=time), secured=secured)
    assert found["openapi"] == "3.0.3"
    openapi_spec_validator.validate(found)


# What is asked


def codec_of(reader: ColumnsReader) -> RowsCodec:
    return RowsCodec(reader.schema, model="late", max_rows=5)


def typed(body: bytes, reader: ColumnsReader) -> DecodedRows:
    return codec_of(reader).decode(body, now=0.0)


def examples_by(method: tfserving.Method) -> Decode:
    return lambda body, reader: tfserving.decode_examples(body, reader, method, now=0.0)


DECODERS: dict[tuple[str, str], Decode] = {
    ("/v1/predict", "application/json"): typed,
    ("/v1/explain", "application/json"): lambda body, reader: explain.decode(body, codec_of(reader), now=0.0).rows,
    ("/v1/predict", "text/csv"): lambda body, reader: bulk.decode_csv(body, reader, now=0.0),
    ("/v2/models/late/infer", "application/json"): lambda body, reader: oip_rest.decode_infer(oip.OipCodec(reader), body, (), now=0.0).rows,
    ("/v1/models/late:predict", "application/json"): lambda body, reader: tfserving.decode_predict(body, reader, now=0.0)[0],
    ("/v1/models/late:classify", "application/json"): examples_by("classify"),
    ("/v1/models/late:regress", "application/json"): examples_by("regress"),
    ("/predictions/late", "application/json"): lambda body, reader: torchserve.decode_predictions(body, reader, now=0.0)[0],
    ("/invocations", "application/json"): lambda body, reader: mlflow.decode_invocations(body, reader, now=0.0),
}


@each_label
@each_time
def test_every_example_fits_its_schema_and_is_read_by_its_decoder_as_the_same_row(label: Label, time: str | None) -> None:
    schema = make_schema(label=label, time=time)
    found, reader = document(schema), ColumnsReader(schema, model="late", max_rows=5)
    row = found["components"]["schemas"]["Row"]["example"]
    seen = set()
    for path, _, operation in operations(found):
        for kind, media in operation.get("requestBody", {}).get("content", {}).items():
            for name, example in media.get("examples", {}).items():
                value = example["value"]
                validator(found, media["schema"]).validate(value)
                rows = DECODERS[path, kind](value.encode() if isinstance(value, str) else json.dumps(value).encode(), reader)
                assert rows.columns == {column: [row[column]] for column in ("miles", "wind", "carrier", "sex")}, (path, name)
                assert rows.event_times == [1767254400.0 if time else 0.0]
                seen.add((path, kind))
    barred = {"multiclass": "/v1/models/late:regress", "regression": "/v1/models/late:classify"}.get(label.task)
    assert seen == {(path, kind) for path, kind in DECODERS if path != barred}


@pytest.mark.parametrize(
    ("content", "valid"),
    [
        ({"rows": [make_row(at="2013-01-01T05:00:00Z")]}, True),
        ({"rows": [make_row(miles=None, carrier=7, at=5)], "model": "late"}, True),
        ({"columns": {name: [value] for name, value in make_row().items()}}, True),
        ({"rows": []}, False),
        ({"rows": [make_row()] * 6}, False),
        ({"rows": [make_row(miles="far")]}, False),
        ({"rows": [make_row(miles=1e39)]}, False),
        ({"rows": [make_row(colour="red")]}, False),
        ({"rows": [{"miles": 1.0}]}, False),
        ({"rows": [make_row()], "row": 1}, False),
        ({"rows": [make_row()], "model": "other"}, False),
        ({"columns": make_row()}, False),
        ({"columns": {"miles": [1.0]}}, False),
        ({"rows": [make_row()], "columns": {name: [value] for name, value in make_row().items()}}, False),
    ],
)
def test_the_document_accepts_what_the_service_accepts(content: dict[str, Any], valid: bool) -> None:
    assert body_of(document(make_schema()), "/v1/predict").is_valid(content) is valid
    if valid:
        typed(json.dumps(content).encode(), ColumnsReader(make_schema(), model="late", max_rows=5))
    else:
        with pytest.raises(errors.RequestError):
            typed(json.dumps(content).encode(), ColumnsReader(make_schema(), model="late", max_rows=5))


@pytest.mark.parametrize(("label", "good", "bad"), [(BINARY, 1, 2), (MULTICLASS, "b", "d"), (REGRESSION, 2.5, "x")])
def test_labels_are_documented_with_their_classes(label: Label, good: Any, bad: Any) -> None:
    labels = body_of(document(make_schema(label=label)), "/v1/labels")
    assert labels.is_valid({"labels": [{"request_id": "a", "row": 0, "label": good}] * 50})
    assert not labels.is_valid({"labels": [{"request_id": "a", "row": 0, "label": good}] * 51})
    assert not labels.is_valid({"labels": [{"request_id": "a", "row": 0, "label": bad}]})


# What is answered


@each_label
def test_answers_are_as_documented(label: Label) -> None:
    schema = make_schema(label=label)
    found, answers = document(schema), answered(label)
    codec = oip.OipCodec(ColumnsReader(schema, model="late", max_rows=5))
    request = oip.InferRequest(DecodedRows({}, []), "", dict(codec.all_outputs(binary=False)), None)
    bodies = {
        "/v1/predict": [RowsCodec(schema, model="late", max_rows=5).encode(answers)],
        "/v2/models/late/infer": [oip_rest.encode_infer(request, answers).body],
        "/v1/models/late:predict": [tfserving.render_predict(answers, "row"), tfserving.render_predict(answers, "column")],
        "/predictions/late": [torchserve.render_predictions(answers, style) for style in ("row", "rows", "instances")],
        "/invocations": [mlflow.render_predictions(answers)],
    }
    if label.task != "regression":
        bodies["/v1/models/late:classify"] = [tfserving.render_classify(answers)]
    if label.task != "multiclass":
        bodies["/v1/models/late:regress"] = [tfserving.render_regress(answers)]
    for path, rendered in bodies.items():
        for body in rendered:
            answer_of(found, path).validate(json.loads(body))


@each_label
def test_descriptions_of_the_model_are_as_documented(label: Label) -> None:
    schema = make_schema(label=label)
    found = document(schema)
    answer_of(found, "/v2/models/late", "get").validate(oip_metadata.model_metadata(schema, model="late", versions=["7"]))
    answer_of(found, "/v2/models/late/config", "get").validate(oip_metadata.model_config(schema, model="late", max_rows=5))
    answer_of(found, "/v1/models/late/metadata", "get").validate(json.loads(tfserving.metadata(schema, model="late", version="7")))
    answer_of(found, "/v1/models/late", "get").validate(json.loads(tfserving.status("7")))
    described = json.loads(torchserve.describe("late", "7", worker="1", started="2026-01-01T00:00:00+00:00"))
    answer_of(found, "/models/late", "get").validate(described)


@pytest.mark.parametrize(
    ("path", "rendered"),
    [
        ("/v1/predict", render),
        ("/v2/models/late/infer", oip_rest.render),
        ("/v1/models/late:predict", tfserving.error),
        ("/predictions/late", torchserve.error),
        ("/invocations", mlflow.error),
    ],
)
def test_errors_have_the_documented_shape_of_their_protocol(path: str, rendered: Callable[[errors.HomeostatError, int], bytes]) -> None:
    found = document(make_schema())
    for error in (errors.NoRows("none"), errors.WrongType("row 0", details=[{"row": 0, "column": "miles"}])):
        answer_of(found, path, status="400").validate(json.loads(rendered(error, 400)))


def test_every_route_that_reads_rows_or_labels_documents_its_failures() -> None:
    ours = {"400", "401", "404", "413", "415", "422", "500", "503", "504"}
    theirs = {"400", "401", "404", "500", "503", "504"}
    for path, _, operation in operations(document(make_schema(), secured=True)):
        if "requestBody" in operation:
            expected = {"/v1/predict": ours, "/v1/labels": ours, "/v1/explain": ours}.get(path, theirs)
            assert set(operation["responses"]) == {"200"} | expected, path


# Where, and by whom


def test_paths_of_the_model_follow_its_mount_and_the_others_do_not() -> None:
    paths = document(make_schema(), mount="/late")["paths"]
    assert {
        "/late/v1/predict",
        "/late/v1/labels",
        "/late/v1/model",
        "/late/invocations",
        "/livez",
        "/v2",
        "/v1/models/late:predict",
    } <= set(paths)
    assert "/v1/predict" not in paths


@pytest.mark.parametrize("mount", ["", "/late"])
def test_every_documented_operation_has_a_route_that_asks_for_a_token_where_the_document_says(mount: str) -> None:
    for path, method, operation in operations(document(make_schema(), secured=True, mount=mount)):
        route, _ = routes.find(path)
        assert route is not None, path
        endpoint = route.methods[method.upper()]
        is_open = isinstance(endpoint, routes.ForService) or endpoint.is_open
        assert is_open == ("security" not in operation), path


@pytest.mark.parametrize("mount", ["", "/late"])
def test_every_route_is_documented(mount: str) -> None:
    paths = document(make_schema(), mount=mount)["paths"]
    undocumented = {"/docs", "/docs/swagger-ui.css", "/docs/swagger-ui-bundle.js", "/openapi.json", "/ui", "/ui/{part}"}
    for route in routes.ROUTES:
        path = route.pattern.replace("{model}", "late")
        mounted = path.removeprefix("/late") if not mount else path
        bare = path.removeprefix("/late")  # some routes are one and the same at both places, and stand once in the document
        is_variant = "{version}" in path or bare in undocumented or f"/late{path}" in paths or (bare != path and bare in paths)
        assert is_variant or set(map(str.upper, paths[mounted])) == set(route.methods), path


def test_without_a_token_nothing_is_said_of_one() -> None:
    found = json.dumps(document(make_schema()))
    assert "bearer" not in found
    assert '"401"' not in found
    assert document(make_schema(), secured=True)["components"]["securitySchemes"] == {"bearer": {"type": "http", "scheme": "bearer"}}
