"""The OpenAPI document of a model, generated from its feature schema so that it cannot go stale."""

from __future__ import annotations

from typing import Any

from cluster.schema import FeatureSchema
from serve_apps.protocols import openapi_peers, openapi_typed
from serve_apps.protocols.openapi_parts import PARAMETERS


def document(schema: FeatureSchema, *, model: str, version: str, max_rows: int, secured: bool = False, mount: str = "") -> dict[str, Any]:
    """OpenAPI 3.0.3 for one model (the version that the offline page can draw).

    Parameters
    ----------
    version
        Of Homeostat.
    secured
        Whether a token is required.
    mount
        What comes before `/v1`: `/NAME` where several models are served.
    """
    schemas = openapi_typed.schemas(schema, model=model, max_rows=max_rows)
    paths = openapi_typed.paths(schema, mount=mount)
    for part in (
        openapi_peers.open_inference(schema, model=model),
        openapi_peers.tf_serving(schema, model=model),
        openapi_peers.torchserve(schema, model=model),
        openapi_peers.mlflow(schema, mount=mount),
    ):
        paths |= part.paths
        schemas |= part.schemas
    components: dict[str, Any] = {"schemas": schemas, "parameters": PARAMETERS}
    if secured:
        components["securitySchemes"] = {"bearer": {"type": "http", "scheme": "bearer"}}
    else:
        paths = {path: {method: _unsecured(found) for method, found in methods.items()} for path, methods in paths.items()}
    return {
        "openapi": "3.0.3",
        "info": {
            "title": f"Homeostat: {model}",
            "version": version,
            "description": f"Predicts `{schema.label.name}` ({schema.label.task}).",
        },
        "paths": paths,
        "components": components,
    }


def _unsecured(operation: dict[str, Any]) -> dict[str, Any]:
    """An operation that nobody needs a token for."""
    responses = {status: response for status, response in operation["responses"].items() if status != "401"}
    return {name: part for name, part in operation.items() if name != "security"} | {"responses": responses}
