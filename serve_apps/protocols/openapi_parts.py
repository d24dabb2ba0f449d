"""What the OpenAPI document is put together from: operations with their headers, bodies, answers and failures."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

Node = dict[str, Any]
"""A part of the document."""

JSON: Final = "application/json"
REASONS: Final = {
    "400": "Not readable, or of another shape",
    "401": "A token is required",
    "404": "No such model, request or row",
    "413": "Too large",
    "415": "The content type is not one of those listed",
    "422": "Rows or labels that do not fit the schema",
    "500": "A fault of the model or of the service; it has been logged",
    "503": "Cannot answer now; try again",
    "504": "The time given ran out first",
}
ASKED: Final = ("400", "401", "500", "503")
"""How any request for a model may fail."""
SCORED: Final = ("400", "401", "404", "413", "415", "422", "500", "503", "504")
"""How a request for predictions may fail."""
PEERS: Final = ("400", "401", "404", "500", "503", "504")
"""How one may fail by another server's protocol, which knows 400 for all that is wrong with a body."""
_HEADERS: Final = {
    "401": {"WWW-Authenticate": {"schema": {"type": "string"}}},
    "503": {"Retry-After": {"description": "Seconds", "schema": {"type": "integer"}}},
}
TIMEOUT: Final = {"$ref": "#/components/parameters/Timeout"}
ROUTING_KEY: Final = {"$ref": "#/components/parameters/RoutingKey"}


def ref(name: str) -> Node:
    """A reference to one of the document's schemas."""
    return {"$ref": f"#/components/schemas/{name}"}


def text(**more: Any) -> Node:
    """A string."""
    return {"type": "string", **more}


def record(properties: Mapping[str, Any], *, optional: Iterable[str] = (), closed: bool = False) -> Node:
    """An object; its properties are required unless they are `optional`, and a `closed` one has no others."""
    left_out = set(optional)
    required = [name for name in properties if name not in left_out]
    made: Node = {"type": "object", "properties": dict(properties)}
    return made | ({"required": required} if required else {}) | ({"additionalProperties": False} if closed else {})


def content(schema: Node, kind: str = JSON, **examples: Any) -> Node:
    """A body or an answer of one content type, with examples by name."""
    media: Node = {"schema": schema}
    if examples:
        media["examples"] = {name: {"value": value} for name, value in examples.items()}
    return {kind: media}


def operation(
    summary: str,
    name: str,
    *,
    tag: str,
    answer: Node | None,
    body: Node | None = None,
    error: str = "Error",
    failures: Iterable[str] = (),
    is_open: bool = False,
) -> Node:
    """One method of one path.

    Parameters
    ----------
    name
        Its `operationId`.
    tag
        The protocol.
    answer, body
        Content by type; see `content`. None: there is nothing to read.
    error
        The schema of its failures.
    failures
        Their statuses.
    is_open
        Asked without a token; such an operation reads no headers.
    """
    made: Node = {
        "summary": summary,
        "operationId": name,
        "tags": [tag],
        "responses": {
            "200": {"description": "OK"} | ({"content": answer} if answer else {}),
            **{status: _failure(status, error) for status in failures},
        },
    }
    if body is not None:
        made["requestBody"] = {"required": True, "content": body}
    if not is_open:
        made["parameters"] = [TIMEOUT, *([ROUTING_KEY] if "504" in failures and name != "labels" else [])]  # labels are anybody's to take
        made["security"] = [{"bearer": []}]
    return made


def _failure(status: str, error: str) -> Node:
    made: Node = {"description": REASONS[status], "content": content(ref(error))}
    return made | ({"headers": _HEADERS[status]} if status in _HEADERS else {})


PARAMETERS: Final[Node] = {
    "Timeout": {
        "name": "X-Request-Timeout",
        "in": "header",
        "description": "How many seconds the caller waits; work that cannot be done by then is not begun.",
        "schema": {"type": "number", "minimum": 0, "exclusiveMinimum": True, "maximum": 3600},
    },
    "RoutingKey": {
        "name": "X-Routing-Key",
        "in": "header",
        "description": "Requests of one key are answered by the same bundle while a challenger is on trial.",
        "schema": {"type": "string"},
    },
}
