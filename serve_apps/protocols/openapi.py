"""The OpenAPI document of the service, generated from the feature schema so that it cannot go stale."""

from __future__ import annotations

from typing import Any

from cluster.schema import Feature, FeatureSchema
from serve_apps.protocols.labels import LABELS_A_ROW

_REF = {"$ref": "#/components/schemas/Error"}


def document(schema: FeatureSchema, *, model: str, version: str, max_rows: int) -> dict[str, Any]:
    """OpenAPI 3.0.3 for one model (the version that the offline page can draw).

    Parameters
    ----------
    version
        Of Homeostat.
    """
    row = _row(schema)
    return {
        "openapi": "3.0.3",
        "info": {
            "title": f"Homeostat: {model}",
            "version": version,
            "description": f"Predicts `{schema.label.name}` ({schema.label.task}).",
        },
        "paths": {
            "/v1/predict": {
                "post": _operation(
                    "Score rows", "predict", _predict_body(row, max_rows), "PredictAnswer", "404", "413", "415", "422", "503"
                )
            },
            "/v1/labels": {
                "post": _operation(
                    "Send late labels", "labels", _labels_body(schema, max_rows), "LabelsAnswer", "404", "413", "415", "422", "503"
                )
            },
            "/v1/model": {"get": _operation("The champion that answers", "model", None, "Model", "503")},
            "/livez": {"get": _operation("Is the process alive", "livez", None, "Health")},
            "/readyz": {"get": _operation("Is a champion loaded", "readyz", None, "Health", "503")},
        },
        "components": {"schemas": {"Row": row, **_answers(schema), **_ERROR}},
    }


def _operation(summary: str, name: str, body: dict[str, Any] | None, answer: str, *statuses: str) -> dict[str, Any]:
    ok = {"description": "OK", "content": {"application/json": {"schema": {"$ref": f"#/components/schemas/{answer}"}}}}
    failures = {s: {"description": _REASONS[s], "content": {"application/json": {"schema": _REF}}} for s in ("400", "401", *statuses)}
    operation: dict[str, Any] = {
        "summary": summary,
        "operationId": name,
        "responses": {"200": ok, **(failures if body or statuses else {})},
    }
    if body is not None:
        operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": body}}}
    return operation


_REASONS = {
    "400": "Not JSON, or of another shape",
    "401": "A token is required",
    "404": "No such model, request or row",
    "413": "Too large",
    "415": "Not application/json",
    "422": "Rows or labels that do not fit the schema; details lists where",
    "503": "Cannot answer now; try again",
}


_TIME = {"anyOf": [{"type": "string", "nullable": True}, {"type": "number"}]}


def _scalar(number: str) -> dict[str, Any]:
    return {"anyOf": [{"type": "string", "nullable": True}, {"type": number}, {"type": "boolean"}]}


def _row(schema: FeatureSchema) -> dict[str, Any]:
    properties = {feature.name: _property(feature) for feature in schema.features}
    properties |= {name: _scalar("number") | {"description": "Protected; not read by the model."} for name in schema.side_columns}
    required = list(properties)
    if schema.time is not None:
        properties[schema.time] = _TIME | {
            "description": "When the row happened: ISO 8601 or seconds since 1970. Left out: now.",
        }
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False, "example": _example(schema)}


def _property(feature: Feature) -> dict[str, Any]:
    kind: dict[str, Any] = {"type": "number", "nullable": True} if feature.type == "number" else _scalar("integer")
    notes = [feature.description, "null: missing."]
    if feature.range is not None:
        notes.append(f"Usually {feature.range[0]:g} to {feature.range[1]:g}; other numbers are answered and counted.")
    if feature.categories is not None:
        shown = ", ".join(feature.categories[:12]) + (", …" if len(feature.categories) > 12 else "")
        notes.append(f"Known: {shown}. Others are scored as unknown.")
    return kind | {"description": " ".join(note for note in notes if note)}


def _example(schema: FeatureSchema) -> dict[str, Any]:
    row: dict[str, Any] = {f.name: _example_value(f) for f in schema.features}
    row |= dict.fromkeys(schema.side_columns)
    return row | ({schema.time: "2026-01-01T08:00:00Z"} if schema.time else {})


def _example_value(feature: Feature) -> Any:
    if feature.categories:
        return feature.categories[0]
    return round(sum(feature.range) / 2, 3) if feature.range else 1.0


def _predict_body(row: dict[str, Any], max_rows: int) -> dict[str, Any]:
    rows = {"type": "array", "items": {"$ref": "#/components/schemas/Row"}, "minItems": 1, "maxItems": max_rows}
    model = {"type": "string", "nullable": True, "description": "Optional; refused when it is not this service's model."}
    return {
        "type": "object",
        "required": ["rows"],
        "properties": {"rows": rows, "model": model},
        "additionalProperties": False,
        "example": {"rows": [row["example"]]},
    }


def _label_value(schema: FeatureSchema) -> dict[str, Any]:
    return {"type": "number"} if schema.label.task == "regression" else {"enum": list(schema.label.classes or ())}


def _labels_body(schema: FeatureSchema, max_rows: int) -> dict[str, Any]:
    entry = {
        "type": "object",
        "required": ["request_id", "row", "label"],
        "properties": {"request_id": {"type": "string"}, "row": {"type": "integer", "minimum": 0}, "label": _label_value(schema)},
        "additionalProperties": False,
    }
    labels = {"type": "array", "items": entry, "minItems": 1, "maxItems": LABELS_A_ROW * max_rows}
    return {
        "type": "object",
        "required": ["labels"],
        "properties": {"labels": labels, "model": {"type": "string", "nullable": True}},
        "additionalProperties": False,
    }


def _answers(schema: FeatureSchema) -> dict[str, Any]:
    answer = {
        "prediction": _label_value(schema),
        "answered_by": {"enum": ["student", "ensemble"]},
        "probability": {"type": "number", "minimum": 0, "maximum": 1},
        "probabilities": {"type": "object", "additionalProperties": {"type": "number"}},
        "degraded": {"type": "boolean", "description": "The ensemble was asked and did not answer in time; the student stood in."},
    }
    rows = {"type": "array", "items": {"type": "object", "required": ["prediction", "answered_by"], "properties": answer}}
    text = {"type": "string"}
    named = {"request_id": text, "model": text, "bundle": text, "predictions": rows}
    return {
        "PredictAnswer": {"type": "object", "required": list(named), "properties": named},
        "LabelsAnswer": {"type": "object", "required": ["accepted"], "properties": {"accepted": {"type": "integer"}}},
        "Model": {"type": "object", "required": ["model", "bundle", "task"], "properties": {"model": text, "bundle": text, "task": text}},
        "Health": {"type": "object", "required": ["status"], "properties": {"status": text}},
    }


_ERROR = {
    "Error": {
        "type": "object",
        "required": ["error"],
        "properties": {
            "error": {
                "type": "object",
                "required": ["type", "message", "details"],
                "properties": {
                    "type": {"type": "string", "description": "Name of the error"},
                    "message": {"type": "string"},
                    "details": {"type": "array", "items": {"type": "object"}},
                },
            }
        },
    }
}
