"""POST /v1/explain: why rows are scored as they are. Nothing is journaled: nobody was answered.

Explaining takes milliseconds a row, so it has one thread of its own in each process: explanations wait for each other, predictions for none
of them. Where the ensemble is placed elsewhere, LIME explains the student, which every gateway holds: an ensemble that others wait for
is not sent thousands of made-up rows. Exact contributions and the surrogate's rules need no graph; the trees are read when they
are first asked for.
"""

from __future__ import annotations

import asyncio
import functools
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Final
from weakref import WeakKeyDictionary

from cluster.bundle import Bundle
from cluster.errors import DeadlineExceeded, UnsupportedMediaType
from cluster.explaining.explainer import Asked, Explainer
from serve_apps.http import Call
from serve_apps.protocols import explain as protocol
from serve_apps.protocols.plane import Reply
from serve_apps.served import ServedModel, View

JSON: Final = "application/json"
_THREAD: Final = ThreadPoolExecutor(max_workers=1, thread_name_prefix="homeostat-explain")
_EXPLAINERS: Final[WeakKeyDictionary[Bundle, Explainer]] = WeakKeyDictionary()  # none outlives its bundle; known to that thread alone


async def explain(model: ServedModel, call: Call) -> tuple[None, Reply]:
    """POST /v1/explain."""
    if call.content_type != JSON:
        found = call.content_type or "not given"
        raise UnsupportedMediaType(f"the body's content type is '{found}'; allowed: {JSON}. Send the header: Content-Type: {JSON}")
    view = model.view(model.bundles.serving.pick(call.scope["headers"], call.body))
    work = functools.partial(_explain, model, view, call)
    try:
        async with asyncio.timeout(call.deadline - call.clock()):
            return None, Reply(200, await asyncio.get_running_loop().run_in_executor(_THREAD, work))
    except TimeoutError:
        raise _too_late() from None


def _explain(model: ServedModel, view: View, call: Call) -> bytes:
    if call.clock() >= call.deadline:
        raise _too_late()
    request = protocol.decode(call.body, view.codec, now=time.time())
    explainer = _explainer(view.bundle)
    chosen = explainer.choose(request.method)
    protocol.check(request, chosen)
    here = model.placement.where == "in_process"
    asked = Asked(
        chosen,
        "ensemble" if here else "student",
        view.bundle.ensemble if here else view.bundle.student,
        request.samples,
        request.seed,
        request.output,
    )
    found = explainer.explain(view.bundle.encoder.columns(request.rows.columns), asked)
    return protocol.encode(request, chosen, found, view.bundle.schema, model=model.name, bundle=view.bundle.version)


def _explainer(bundle: Bundle) -> Explainer:
    found = _EXPLAINERS.get(bundle)
    if found is None:
        found = _EXPLAINERS[bundle] = Explainer(bundle)
    return found


def _too_late() -> DeadlineExceeded:
    return DeadlineExceeded(
        "the rows were not explained within the request's time; send fewer rows or samples, or more time by the header X-Request-Timeout"
    )
