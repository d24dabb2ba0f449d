"""Routes that speak of the service and not of one model: health, and the documentation page."""

from __future__ import annotations

import asyncio
import importlib.metadata
from pathlib import Path
from typing import TYPE_CHECKING, Final

from swagger_ui_bundle import swagger_ui_path

from serve_apps.http import Call, to_json
from serve_apps.protocols import openapi
from serve_apps.protocols.plane import Answered, Reply
from serve_apps.served import ServedModel

if TYPE_CHECKING:
    from serve_apps.gateway import Gateway

VERSION: Final = importlib.metadata.version("homeostat")


async def live(gateway: Gateway, call: Call) -> Reply:  # noqa: ARG001
    """GET /livez: the process is alive."""
    return to_json({"status": "alive"})


async def ready(gateway: Gateway, call: Call) -> Reply:  # noqa: ARG001
    """GET /readyz: a champion of every model is loaded; a gateway without one does not start."""
    if gateway.only is not None:
        return to_json({"status": "ready", "bundle": gateway.only.current.version})
    return to_json({"status": "ready", "bundles": {name: model.current.version for name, model in gateway.models.items()}})


async def index(gateway: Gateway, call: Call) -> Reply:
    """GET /docs: the only model's page, or a list of pages."""
    root = _root(call)
    if gateway.only is not None:
        return _page(root, root)
    links = "".join(f'<li><a href="{root}/{name}/docs">{name}</a></li>' for name in gateway.models)
    return Reply(200, _INDEX.replace("LINKS", links).encode(), _HTML)


async def asset(gateway: Gateway, call: Call) -> Reply:  # noqa: ARG001
    """GET /docs/…: Swagger UI's own files."""
    name = call.path.rsplit("/", 1)[1]
    content = await asyncio.to_thread((Path(swagger_ui_path) / name).read_bytes)
    return Reply(200, content, "text/css" if name.endswith("css") else "text/javascript", {"Cache-Control": "max-age=86400"})


async def page(model: ServedModel, call: Call) -> tuple[Answered | None, Reply]:
    """GET /MODEL/docs: the page of one model, drawn without the network."""
    root = _root(call)
    return None, _page(root, f"{root}/{model.name}")


async def document(model: ServedModel, call: Call) -> tuple[Answered | None, Reply]:
    """GET /openapi.json."""
    serving = model.settings.serving
    made = openapi.document(
        model.current.schema,
        model=model.name,
        version=VERSION,
        max_rows=serving.max_rows,
        secured=serving.token_env is not None,
        mount=f"/{model.name}" if "model" in call.parameters else "",
    )
    return None, to_json(made)


def _root(call: Call) -> str:
    return str(call.scope.get("root_path", "")).rstrip("/")


def _page(root: str, mount: str) -> Reply:
    return Reply(200, _PAGE.replace("ROOT", root).replace("MOUNT", mount).encode(), _HTML)


_HTML: Final = "text/html; charset=utf-8"
_PAGE: Final = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Homeostat</title>
<link rel="stylesheet" href="ROOT/docs/swagger-ui.css"></head>
<body><div id="page"></div><script src="ROOT/docs/swagger-ui-bundle.js"></script>
<script>SwaggerUIBundle({url: "MOUNT/openapi.json", dom_id: "#page"})</script></body></html>
"""
_INDEX: Final = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Homeostat</title></head><body><h1>Models</h1><ul>LINKS</ul></body></html>
"""
