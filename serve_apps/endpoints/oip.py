"""The Open Inference Protocol over HTTP: /v2."""

from __future__ import annotations

from typing import TYPE_CHECKING

from serve_apps.endpoints.service import VERSION
from serve_apps.http import Call, to_json
from serve_apps.protocols import oip_metadata, oip_rest
from serve_apps.protocols.oip import InferRequest
from serve_apps.protocols.plane import Answered, DecodedRows, Reply
from serve_apps.served import ServedModel, View

if TYPE_CHECKING:
    from serve_apps.gateway import Gateway


async def server(gateway: Gateway, call: Call) -> Reply:  # noqa: ARG001
    """GET /v2."""
    return to_json(oip_metadata.server_metadata(VERSION))


async def live(gateway: Gateway, call: Call) -> Reply:  # noqa: ARG001
    """GET /v2/health/live."""
    return to_json({"live": True})


async def ready(gateway: Gateway, call: Call) -> Reply:  # noqa: ARG001
    """GET /v2/health/ready."""
    return to_json({"ready": True})


async def index(gateway: Gateway, call: Call) -> Reply:  # noqa: ARG001
    """POST /v2/repository/index."""
    return to_json(oip_metadata.repository_index({name: model.versions() for name, model in gateway.models.items()}))


async def metadata(model: ServedModel, call: Call) -> tuple[None, Reply]:
    """GET /v2/models/NAME."""
    check_version(model, call.parameters.get("version", ""))
    return None, to_json(oip_metadata.model_metadata(model.current.schema, model=model.name, versions=model.versions()))


async def config(model: ServedModel, call: Call) -> tuple[None, Reply]:
    """GET /v2/models/NAME/config."""
    check_version(model, call.parameters.get("version", ""))
    most = model.settings.serving.max_rows
    return None, to_json(oip_metadata.model_config(model.current.schema, model=model.name, max_rows=most))


async def model_ready(model: ServedModel, call: Call) -> tuple[None, Reply]:
    """GET /v2/models/NAME/ready."""
    check_version(model, call.parameters.get("version", ""))
    return None, to_json({"name": model.name, "ready": True})


async def infer(model: ServedModel, call: Call) -> tuple[Answered, Reply]:
    """POST /v2/models/NAME/infer."""

    def decode(view: View, now: float) -> tuple[DecodedRows, InferRequest]:
        request = oip_rest.decode_infer(view.oip, call.body, call.scope["headers"], now=now)
        call.limit(request.timeout_s)
        return request.rows, request

    answered, request = await model.answer(call, decode)
    return answered, oip_rest.encode_infer(request, answered)


def check_version(model: ServedModel, wanted: str) -> None:
    """Raise `NotServed` unless no version is named (an empty one), or one that answers."""
    if wanted:
        model.check_version(wanted)
