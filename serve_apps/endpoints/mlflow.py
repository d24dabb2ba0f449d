"""The routes of MLflow's scoring server: /invocations."""

from __future__ import annotations

from typing import TYPE_CHECKING

from serve_apps.endpoints.service import VERSION
from serve_apps.http import Call
from serve_apps.protocols import mlflow, torchserve
from serve_apps.protocols.bulk import CSV, decode_csv
from serve_apps.protocols.plane import Answered, DecodedRows, Reply
from serve_apps.served import ServedModel, View

if TYPE_CHECKING:
    from serve_apps.gateway import Gateway


async def invocations(model: ServedModel, call: Call) -> tuple[Answered, Reply]:
    """POST /invocations."""

    def decode(view: View, now: float) -> tuple[DecodedRows, None]:
        read = decode_csv if call.content_type == CSV else mlflow.decode_invocations
        return read(call.body, view.reader, now=now), None

    answered, _ = await model.answer(call, decode)
    return answered, Reply(200, mlflow.render_predictions(answered))


async def ping(gateway: Gateway, call: Call) -> Reply:  # noqa: ARG001
    """GET /ping: TorchServe's words; MLflow's clients look at the status alone."""
    return Reply(200, torchserve.PING)


async def health(gateway: Gateway, call: Call) -> Reply:  # noqa: ARG001
    """GET /health."""
    return Reply(200, mlflow.PING)


async def version(gateway: Gateway, call: Call) -> Reply:  # noqa: ARG001
    """GET /version."""
    return Reply(200, VERSION.encode(), "text/plain")
