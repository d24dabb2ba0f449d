"""Homeostat's own routes in the OpenAPI document: rows, columns, labels and answers, from the feature schema."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from cluster.schema import Feature, FeatureSchema
from serve_apps.protocols import openapi_explain
from serve_apps.protocols.bulk import ARROW_STREAM, CSV
from serve_apps.protocols.labels import LABELS_A_ROW
from serve_apps.protocols.openapi_parts import ASKED, SCORED, Node, content, operation, record, ref, text

_FLOAT32_MAX: Final = float(np.finfo(np.float32).max)
_TIME: Final[Node] = {
    "anyOf": [text(format="date-time", nullable=True), {"type": "number", "minimum": -1e11, "maximum": 1e11}],
    "description": "When the row happened: ISO 8601 (without a zone: UTC) or seconds since 1970. Left out: now.",
}
_BYTES: Final = text(format="binary")
_TAG: Final = "Homeostat"


def paths(schema: FeatureSchema, *, mount: str) -> Node:
    """The routes; those of the model are below `mount`."""
    return {
        f"{mount}/v1/predict": {"post": _predict(schema)},
        f"{mount}/v1/labels": {
            "post": operation(
                "Send late labels",
                "labels",
                tag=_TAG,
                body=content(ref("Labels")),
                answer=content(record({"accepted": {"type": "integer"}})),
                failures=SCORED,
            )
        },
        f"{mount}/v1/explain": openapi_explain.path(example(schema)),
        f"{mount}/v1/model": {
            "get": operation("The champion that answers", "model", tag=_TAG, answer=content(ref("Model")), failures=ASKED)
        },
        "/livez": {"get": operation("Is the process alive", "livez", tag=_TAG, answer=content(record({"status": text()})), is_open=True)},
        "/readyz": {"get": operation("Is a champion loaded", "readyz", tag=_TAG, answer=content(ref("Ready")), is_open=True)},
    }


def _predict(schema: FeatureSchema) -> Node:
    row = example(schema)
    bodies = content(ref("PredictBody"), rows={"rows": [row]}, columns={"columns": {name: [value] for name, value in row.items()}})
    table = text(description="A line of column names, then a line a row; an empty field is missing.")
    return operation(
        "Score rows",
        "predict",
        tag=_TAG,
        body=bodies | content(_BYTES, ARROW_STREAM) | content(table, CSV, rows=_csv(row)),
        answer=content(ref("PredictAnswer")) | content(_BYTES, ARROW_STREAM) | content(text(), CSV),
        failures=SCORED,
    )


def schemas(schema: FeatureSchema, *, model: str, max_rows: int) -> Node:
    """The schemas that the routes refer to."""
    cells = _cells(schema)
    optional = [schema.time] if schema.time else []
    columns = {name: {"type": "array", "items": cell, "minItems": 1, "maxItems": max_rows} for name, cell in cells.items()}
    rows = {"type": "array", "items": ref("Row"), "minItems": 1, "maxItems": max_rows}
    named = {"type": "string", "nullable": True, "enum": [model, None], "description": "Optional."}
    return {
        "Row": record(cells, optional=optional, closed=True) | {"example": example(schema)},
        "Columns": record(columns, optional=optional, closed=True) | {"description": "All of one length."},
        "PredictBody": {
            "oneOf": [
                record({"rows": rows, "model": named}, optional=["model"], closed=True),
                record({"columns": ref("Columns"), "model": named}, optional=["model"], closed=True),
            ]
        },
        "PredictAnswer": record(
            {"request_id": text(), "model": text(), "bundle": text(), "predictions": {"type": "array", "items": ref("Prediction")}}
        ),
        "Prediction": _prediction(schema),
        "Labels": record({"labels": _labels(schema, max_rows), "model": named}, optional=["model"], closed=True),
        **openapi_explain.schemas(schema, model=model, max_rows=max_rows),
        "Model": _MODEL,
        "Ready": record({"status": text(), "bundle": text(), "bundles": {"type": "object"}}, optional=["bundle", "bundles"]),
        "Error": _ERROR,
    }


def example(schema: FeatureSchema) -> dict[str, Any]:
    """A row that fits."""
    row: dict[str, Any] = {f.name: _example_value(f) for f in schema.features}
    row |= dict.fromkeys(schema.side_columns)
    return row | ({schema.time: "2026-01-01T08:00:00Z"} if schema.time else {})


def _example_value(feature: Feature) -> Any:
    if feature.categories:
        return feature.categories[0]
    return round(sum(feature.range) / 2, 3) if feature.range else 1.0


def _csv(row: dict[str, Any]) -> str:
    fields = ("" if value is None else str(value) for value in row.values())
    return "\n".join([",".join(row), ",".join(fields), ""])


def _cells(schema: FeatureSchema) -> Node:
    """What each column may hold."""
    cells = {feature.name: _cell(feature) for feature in schema.features}
    cells |= {name: _CATEGORY | {"description": "Protected; not read by the model."} for name in schema.side_columns}
    return cells | ({schema.time: _TIME} if schema.time else {})


_CATEGORY: Final[Node] = {
    "anyOf": [text(nullable=True), {"type": "number", "minimum": -(2**63), "maximum": 2**63 - 1}, {"type": "boolean"}]
}


def _cell(feature: Feature) -> Node:
    number = {"type": "number", "nullable": True, "minimum": -_FLOAT32_MAX, "maximum": _FLOAT32_MAX}
    notes = [feature.description, "null: missing."]
    if feature.range is not None:
        notes.append(f"Usually {feature.range[0]:g} to {feature.range[1]:g}; other numbers are answered and counted.")
    if feature.categories is not None:
        shown = ", ".join(feature.categories[:12]) + (", …" if len(feature.categories) > 12 else "")
        notes.append(f"Known: {shown}. Others are scored as unknown.")
    return (number if feature.type == "number" else _CATEGORY) | {"description": " ".join(note for note in notes if note)}


def label_value(schema: FeatureSchema) -> Node:
    """A label, or a prediction of it."""
    return {"type": "number"} if schema.label.task == "regression" else {"enum": list(schema.label.classes or ())}


def _labels(schema: FeatureSchema, max_rows: int) -> Node:
    entry = record({"request_id": text(), "row": {"type": "integer", "minimum": 0}, "label": label_value(schema)}, closed=True)
    return {"type": "array", "items": entry, "minItems": 1, "maxItems": LABELS_A_ROW * max_rows}


def _prediction(schema: FeatureSchema) -> Node:
    probability = {"type": "number", "minimum": 0, "maximum": 1}
    answer: Node = {"prediction": label_value(schema), "answered_by": text(enum=["student", "ensemble"])}
    if schema.label.task != "regression":
        answer["probability"] = probability
    if schema.label.task == "multiclass":
        answer["probabilities"] = record({str(c): probability for c in schema.label.classes or ()}, closed=True)
    if schema.label.task == "regression":
        ends = "Lower and upper end; the truth lies between them as often as the bundle's intervals.json says."
        answer["interval"] = {"type": "array", "items": {"type": "number"}, "minItems": 2, "maxItems": 2, "description": ends}
    why = "The ensemble was asked and did not answer in time; the student stood in."
    return record(answer | {"degraded": {"type": "boolean", "description": why}}, optional=["degraded", "interval"], closed=True)


_OBJECT: Final[Node] = {"type": "object"}
_MODEL: Final = record(
    {
        "model": text(),
        "bundle": text(),
        "created": text(),
        "task": text(enum=["binary", "multiclass", "regression"]),
        "label": _OBJECT,
        "columns": {"type": "array", "items": text()},
        "time": text(nullable=True),
        "cascade": _OBJECT,
        "placement": record({"ensemble": text(), "reason": text()}),
        "challenger": record({"bundle": text(), "share": {"type": "number"}}) | {"nullable": True},
        "metrics": _OBJECT,
    }
)
_ERROR: Final = record(
    {
        "error": record(
            {
                "type": text(description="Name of the error"),
                "message": text(),
                "details": {"type": "array", "items": _OBJECT},
            }
        )
    }
)
