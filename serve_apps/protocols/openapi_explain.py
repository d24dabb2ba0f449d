"""POST /v1/explain in the OpenAPI document: what it takes beside rows, and its answer."""

from __future__ import annotations

from typing import Final

from cluster.explaining.explainer import METHODS, SAMPLES, SEED
from cluster.explaining.neighbourhood import MOST_SEED
from cluster.schema import FeatureSchema, Label
from serve_apps.protocols.explain import FEWEST_SAMPLES, MOST_ROWS, MOST_SAMPLES
from serve_apps.protocols.openapi_parts import SCORED, Node, content, operation, record, ref, text

_NUMBER: Final[Node] = {"type": "number"}
_VALUE: Final[Node] = {"anyOf": [text(nullable=True), _NUMBER, {"type": "boolean"}]}


def path(row: Node) -> Node:
    """The operation; `row` is one that fits."""
    return {
        "post": operation(
            "Explain rows",
            "explain",
            tag="Homeostat",
            body=content(ref("ExplainBody"), rows={"rows": [row]}, lime={"rows": [row], "method": "lime", "samples": 1000, "top": 3}),
            answer=content(ref("ExplainAnswer")),
            failures=SCORED,
        )
    }


def schemas(schema: FeatureSchema, *, model: str, max_rows: int) -> Node:
    """The schemas that the operation refers to."""
    most = min(max_rows, MOST_ROWS)
    options = _options(schema.label) | {"model": {"type": "string", "nullable": True, "enum": [model, None], "description": "Optional."}}
    rows = {"rows": {"type": "array", "items": ref("Row"), "minItems": 1, "maxItems": most}}
    columns = {"columns": ref("Columns")}
    answer: Node = {
        "model": text(),
        "bundle": text(),
        "method": text(enum=list(METHODS)),
        "why": text(description="Why this method."),
        "explains": record({"part": text(enum=["xgboost", "ensemble", "student"]), "unit": text(), "note": text()}),
        "explanations": {"type": "array", "items": ref("Explanation")},
        "samples": {"type": "integer"},
        "seed": {"type": "integer"},
    }
    return {
        "ExplainBody": {"oneOf": [record(part | options, optional=options, closed=True) for part in (rows, columns)]},
        "ExplainAnswer": record(answer, optional=("samples", "seed"), closed=True),
        "Explanation": _explanation(schema.label),
    }


def _options(label: Label) -> Node:
    found: Node = {
        "method": text(
            nullable=True,
            enum=[*METHODS, None],
            description="shap: exact contributions of the XGBoost member. lime: a linear model around the row. "
            "surrogate: the rule of a small tree. Left out: the best that the bundle can do.",
        ),
        "samples": {
            "type": "integer",
            "nullable": True,
            "minimum": FEWEST_SAMPLES,
            "maximum": MOST_SAMPLES,
            "description": f"lime: made-up rows; {SAMPLES} unless told.",
        },
        "seed": {"type": "integer", "nullable": True, "minimum": 0, "maximum": MOST_SEED, "description": f"lime: {SEED} unless told."},
        "top": {"type": "integer", "nullable": True, "minimum": 1, "description": "Only the largest contributions are told."},
    }
    if label.classes is not None:
        found["class"] = {"enum": [*label.classes, None], "description": "Explained instead of the predicted one."}
    return found


def _explanation(label: Label) -> Node:
    part = {"feature": text(), "value": _VALUE, "contribution": _NUMBER, "condition": text(description="lime: what of the value counts.")}
    share = {"type": "number", "minimum": 0, "maximum": 1}
    found: Node = {
        "score": _NUMBER | {"description": "What the explained part says of the row, in the unit named."},
        "base": _NUMBER,
        "contributions": {
            "type": "array",
            "items": record(part, optional=["condition"], closed=True),
            "description": "The largest first. With base and rest they add up to the score: exactly for shap, nearly for lime.",
        },
        "rest": _NUMBER | {"description": "The sum of those that `top` left out."},
        "rule": record({"conditions": {"type": "array", "items": text()}, "share": share}, closed=True),
        "fidelity": _NUMBER | {"description": "R² of the explanation as a model of what it explains."},
        "agreement": share | {"description": "surrogate: share of held-out rows that it decides as the ensemble does."},
    }
    optional = [name for name in found if name != "score"]
    if label.classes is not None:
        found["class"] = {"enum": list(label.classes)}
    return record(found, optional=optional, closed=True)
