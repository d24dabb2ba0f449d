from __future__ import annotations

import json
from typing import Any

import pytest
from jsonschema import Draft202012Validator  # type: ignore[import-untyped] # Ray brings it, without types

from cluster.schema import FeatureSchema, Label
from serve_apps.protocols import openapi
from serve_apps.protocols.rows import RowsCodec
from tests.builders import make_row, make_schema

LABELS = [
    Label(name="late", classes=(0, 1)),
    Label(name="late", task="multiclass", classes=("a", "b", "c")),
    Label(name="late", task="regression"),
]


def document(schema: FeatureSchema) -> dict[str, Any]:
    found = openapi.document(schema, model="late", version="1.0", max_rows=5)
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
    return Draft202012Validator(modern(schema | {"components": found["components"]}))


def body_of(found: dict[str, Any], path: str) -> Draft202012Validator:
    return validator(found, found["paths"][path]["post"]["requestBody"]["content"]["application/json"]["schema"])


@pytest.mark.parametrize("label", LABELS, ids=lambda label: label.task)
@pytest.mark.parametrize("time", ["at", None])
def test_all_schemas_are_valid_and_all_references_lead_somewhere(label: Label, time: str | None) -> None:
    found = document(make_schema(label=label, time=time))
    assert found["openapi"] == "3.0.3"
    assert '"type": [' not in json.dumps(found)  # lists of types came with 3.1
    schemas = [*found["components"]["schemas"].values(), *(body_of(found, path).schema for path in ("/v1/predict", "/v1/labels"))]
    for schema in schemas:
        Draft202012Validator.check_schema(modern(schema))
    references = {part.split('"')[1] for part in json.dumps(found).split('"$ref": ')[1:]}
    assert references <= {f"#/components/schemas/{name}" for name in found["components"]["schemas"]}


@pytest.mark.parametrize("time", ["at", None])
def test_the_example_is_valid_and_is_accepted_by_the_codec(time: str | None) -> None:
    schema = make_schema(time=time)
    predict = body_of(document(schema), "/v1/predict")
    example = predict.schema["example"]
    predict.validate(example)
    decoded = RowsCodec(schema, model="late", max_rows=5).decode(json.dumps(example).encode(), now=0.0)
    assert list(decoded.columns) == ["miles", "wind", "carrier", "sex"]


@pytest.mark.parametrize(
    ("content", "valid"),
    [
        ({"rows": [make_row()]}, True),
        ({"rows": [make_row(miles=None, carrier=7, at=5)], "model": "late"}, True),
        ({"rows": []}, False),
        ({"rows": [make_row()] * 6}, False),
        ({"rows": [make_row(miles="far")]}, False),
        ({"rows": [make_row(colour="red")]}, False),
        ({"rows": [{"miles": 1.0}]}, False),
        ({"rows": [make_row()], "row": 1}, False),
    ],
)
def test_the_document_accepts_what_the_service_accepts(content: dict[str, Any], valid: bool) -> None:
    assert body_of(document(make_schema()), "/v1/predict").is_valid(content) is valid


@pytest.mark.parametrize(("label", "good", "bad"), [(LABELS[0], 1, 2), (LABELS[1], "b", "d"), (LABELS[2], 2.5, "x")])
def test_labels_are_documented_with_their_classes(label: Label, good: Any, bad: Any) -> None:
    labels = body_of(document(make_schema(label=label)), "/v1/labels")
    assert labels.is_valid({"labels": [{"request_id": "a", "row": 0, "label": good}] * 50})
    assert not labels.is_valid({"labels": [{"request_id": "a", "row": 0, "label": good}] * 51})
    assert not labels.is_valid({"labels": [{"request_id": "a", "row": 0, "label": bad}]})


def test_every_route_that_takes_a_body_documents_its_failures() -> None:
    paths = document(make_schema())["paths"]
    for path in ("/v1/predict", "/v1/labels"):
        assert {"200", "400", "401", "404", "413", "415", "422", "503"} == set(paths[path]["post"]["responses"])
