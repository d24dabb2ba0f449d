"""TensorFlow Serving's REST routes: /v1/models."""

from __future__ import annotations

from serve_apps.endpoints.oip import check_version
from serve_apps.http import Call
from serve_apps.protocols import tfserving
from serve_apps.protocols.plane import Answered, Reply
from serve_apps.served import ServedModel


async def predict(model: ServedModel, call: Call) -> tuple[Answered, Reply]:
    """POST /v1/models/NAME:predict."""
    answered, style = await model.answer(call, lambda view, now: tfserving.decode_predict(call.body, view.reader, now=now))
    return answered, Reply(200, tfserving.render_predict(answered, style))


async def classify(model: ServedModel, call: Call) -> tuple[Answered, Reply]:
    """POST /v1/models/NAME:classify."""
    answered, _ = await model.answer(call, lambda view, now: (tfserving.decode_examples(call.body, view.reader, "classify", now=now), None))
    return answered, Reply(200, tfserving.render_classify(answered))


async def regress(model: ServedModel, call: Call) -> tuple[Answered, Reply]:
    """POST /v1/models/NAME:regress."""
    answered, _ = await model.answer(call, lambda view, now: (tfserving.decode_examples(call.body, view.reader, "regress", now=now), None))
    return answered, Reply(200, tfserving.render_regress(answered))


async def status(model: ServedModel, call: Call) -> tuple[None, Reply]:
    """GET /v1/models/NAME."""
    version = call.parameters.get("version", "")
    check_version(model, version)
    return None, Reply(200, tfserving.status(version or model.current.version))


async def metadata(model: ServedModel, call: Call) -> tuple[None, Reply]:
    """GET /v1/models/NAME/metadata."""
    version = call.parameters.get("version", "")
    check_version(model, version)
    return None, Reply(200, tfserving.metadata(model.current.schema, model=model.name, version=version or model.current.version))
