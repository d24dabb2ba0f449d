"""TorchServe's routes: /predictions, and what it says of a model."""

from __future__ import annotations

import datetime as dt
import os
from typing import Final

from serve_apps.http import Call
from serve_apps.protocols import torchserve
from serve_apps.protocols.plane import Answered, Reply
from serve_apps.served import ServedModel

_STARTED: Final = dt.datetime.now(dt.UTC).isoformat(timespec="seconds")


async def predict(model: ServedModel, call: Call) -> tuple[Answered, Reply]:
    """POST /predictions/NAME."""
    answered, style = await model.answer(call, lambda view, now: torchserve.decode_predictions(call.body, view.reader, now=now))
    return answered, Reply(200, torchserve.render_predictions(answered, style))


async def describe(model: ServedModel, call: Call) -> tuple[None, Reply]:  # noqa: ARG001
    """GET /models/NAME."""
    worker = f"{os.uname().nodename}-{os.getpid()}"
    return None, Reply(200, torchserve.describe(model.name, model.current.version, worker=worker, started=_STARTED))
