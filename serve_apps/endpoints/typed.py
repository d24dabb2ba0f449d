"""Homeostat's own routes for a model: typed rows, bulk bodies, labels, and what the model is."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Final

import msgspec

from cluster.errors import UnsupportedMediaType
from serve_apps.http import Call, to_json
from serve_apps.protocols import bulk
from serve_apps.protocols.bulk import ARROW_FILE, ARROW_STREAM, CSV
from serve_apps.protocols.labels import LABELS_A_ROW, decode_labels
from serve_apps.protocols.plane import Answered, DecodedRows, Reply
from serve_apps.served import ServedModel, View, run

JSON: Final = "application/json"


async def predict(model: ServedModel, call: Call) -> tuple[Answered, Reply]:
    """POST /v1/predict: rows by any of the bodies it takes; the answer in the form that is asked for."""
    decode = DECODERS.get(call.content_type)
    if decode is None:
        raise _unsupported(call, ", ".join(DECODERS))
    answered, codec = await model.answer(call, lambda view, now: (decode(view, call.body, now), view.codec))
    render = _ENCODERS.get(call.accept)
    return answered, Reply(200, codec.encode(answered)) if render is None else Reply(200, render(answered), call.accept)


def _json(view: View, body: bytes, now: float) -> DecodedRows:
    return view.codec.decode(body, now=now)


def _arrow(view: View, body: bytes, now: float) -> DecodedRows:
    return bulk.decode_arrow(body, view.reader, now=now)


def _csv(view: View, body: bytes, now: float) -> DecodedRows:
    return bulk.decode_csv(body, view.reader, now=now)


DECODERS: Final[dict[str, Callable[[View, bytes, float], DecodedRows]]] = {
    JSON: _json,
    ARROW_STREAM: _arrow,
    ARROW_FILE: _arrow,
    CSV: _csv,
}


_ENCODERS: Final[dict[str, Callable[[Answered], bytes]]] = {ARROW_STREAM: bulk.encode_arrow, CSV: bulk.encode_csv}


_LARGE_LABELS: Final = 4096
"""Bodies of labels of at least this many bytes are checked in a thread."""


async def labels(model: ServedModel, call: Call) -> tuple[None, Reply]:
    """POST /v1/labels: check against the journal, append, acknowledge."""
    if call.content_type != JSON:
        raise _unsupported(call, JSON)
    decode = functools.partial(
        decode_labels,
        call.body,
        model=model.name,
        label=model.current.schema.label,
        rows_of=model.rows_of,
        max_labels=LABELS_A_ROW * model.settings.serving.max_rows,
    )
    taken = await run(len(call.body) >= _LARGE_LABELS, decode)  # a look into the journal for each request they name
    model.append(taken)
    return None, Reply(200, b'{"accepted":%d}' % len(taken.entries))


async def describe(model: ServedModel, call: Call) -> tuple[None, Reply]:  # noqa: ARG001
    """GET /v1/model: the champion that answers, and how."""
    bundle, challenger = model.current, model.bundles.challenger
    return None, to_json(
        {
            "model": model.name,
            "bundle": bundle.version,
            "created": bundle.manifest.created,
            "task": bundle.schema.label.task,
            "label": bundle.schema.label.model_dump(mode="json"),
            "columns": [*bundle.schema.names, *bundle.schema.side_columns],
            "time": bundle.schema.time,
            "cascade": msgspec.to_builtins(bundle.cascade) | {"audit_share": model.settings.serving.cascade.audit_share},
            "placement": {"ensemble": model.placement.where, "reason": model.placement.reason},
            "challenger": None if challenger is None else {"bundle": challenger.version, "share": model.bundles.share},
            "metrics": bundle.json("metrics.json"),
        }
    )


def _unsupported(call: Call, allowed: str) -> UnsupportedMediaType:
    found = call.content_type or "not given"
    return UnsupportedMediaType(
        f"the body's content type is '{found}'; allowed: {allowed}. Send for example the header: Content-Type: {JSON}"
    )
