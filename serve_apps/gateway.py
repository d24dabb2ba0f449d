"""The gateway: authenticates, decodes, scores, journals, answers. One plain class, one table of routes.

Knows HTTP and the order of steps; what each step does lives in `protocols`, `cascade`, `champion`,
`cluster.journal` and `cluster.security`. Serve wraps it in `serve_apps.app`; tests call it as it is.
"""

from __future__ import annotations

import asyncio
import functools
import importlib.metadata
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
from starlette.requests import Request
from starlette.responses import Response
from swagger_ui_bundle import swagger_ui_path

from cluster.bundle import Bundle
from cluster.errors import BadRequestShape, BodyTooLarge, HomeostatError, MethodNotAllowed, RouteNotFound, UnsupportedMediaType
from cluster.journal import Writer, find_rows
from cluster.records import Prediction
from cluster.security import Authenticator
from cluster.settings import Settings
from serve_apps.cascade import ENSEMBLE, AskEnsemble, answer
from serve_apps.champion import Champion
from serve_apps.protocols import errors, openapi
from serve_apps.protocols.labels import LABELS_A_ROW, decode_labels
from serve_apps.protocols.rows import RowsCodec

logger = logging.getLogger("homeostat.serve")
VERSION: Final = importlib.metadata.version("homeostat")
_JSON: Final = "application/json"
_LARGE_ROWS: Final = 256
"""Blocks of at least this many rows are scored in a thread: some 2 ms during which the loop answers others."""

Handler = Callable[["Gateway", Request], Awaitable[Response]]


class Gateway:
    """Answers for one model.

    Parameters
    ----------
    settings
        The model's settings.
    ask_ensemble
        Scores rows by the ensemble of a version.

    Raises
    ------
    NoChampion
        When no version has been promoted yet.
    """

    def __init__(self, settings: Settings, ask_ensemble: AskEnsemble) -> None:
        self._settings = settings
        self._ask_ensemble = ask_ensemble
        self._authenticator = Authenticator(settings.serving.token_env)
        self._champion = Champion(settings.places.pointers(settings.model), parts=("student",))
        self._root = settings.places.journal(settings.model)
        self._journal = Writer(self._root, clock_ns=time.time_ns)
        self._rows_of = functools.lru_cache(maxsize=4096)(functools.partial(find_rows, self._root))
        self._codec = self._codec_of(self._champion.current)
        self._follower: asyncio.Task[None] | None = None

    def _codec_of(self, bundle: Bundle) -> tuple[Bundle, RowsCodec]:
        return bundle, RowsCodec(bundle.schema, model=self._settings.model, max_rows=self._settings.serving.max_rows)

    async def __call__(self, request: Request) -> Response:
        """Answer one request; every failure leaves in the documented shape."""
        if self._follower is None:
            self._follower = asyncio.create_task(self._follow_champion())
        await asyncio.sleep(0)  # lets waiting requests be counted as ongoing, or autoscaling would never see them
        try:
            return await self._route(request)(self, request)
        except HomeostatError as error:
            status = errors.status_of(error)
            if status >= 500:
                logger.error("%s %s: %s: %s", request.method, request.url.path, type(error).__name__, error)
            return Response(errors.render(error), status, errors.headers_of(error), _JSON)
        except Exception:
            logger.exception("%s %s failed", request.method, request.url.path)
            return Response(errors.INTERNAL, 500, None, _JSON)

    def _route(self, request: Request) -> Handler:
        path = str(request.scope["path"]).removeprefix(request.scope.get("root_path", "")).rstrip("/") or "/"
        methods = ROUTES.get(path)
        if methods is None:
            raise RouteNotFound(f"there is no '{path}'; there is: {', '.join(ROUTES)}")
        if request.method not in methods:
            details = [{"found": request.method, "allowed": list(methods)}]
            raise MethodNotAllowed(f"'{path}' takes {', '.join(methods)}, not {request.method}", details=details)
        if path.startswith("/v1/"):
            self._authenticator.identify(request.headers)
        return methods[request.method]

    async def _follow_champion(self) -> None:
        """Look at the champion pointer until the process ends."""
        while True:
            await asyncio.sleep(self._settings.serving.poll_s)
            try:
                if await asyncio.to_thread(self._champion.refresh):
                    logger.info("version %s answers now", self._champion.current.version)
            except Exception:  # a task's main loop: the next look may succeed
                logger.exception("cannot follow the champion")

    def _current(self) -> tuple[Bundle, RowsCodec]:
        """The champion and the codec of its schema; one assignment, so that a request sees both of one version."""
        if self._codec[0] is not self._champion.current:
            self._codec = self._codec_of(self._champion.current)
        return self._codec

    async def predict(self, request: Request) -> Response:
        """POST /v1/predict: decode, score, journal, answer."""
        body = await self._body(request)
        now_ns = time.time_ns()
        bundle, codec = self._current()
        rows = codec.decode(body, now=now_ns / 1e9)
        if len(rows.event_times) < _LARGE_ROWS:
            matrix = bundle.encoder.columns(rows.columns)
        else:
            matrix = await asyncio.to_thread(bundle.encoder.columns, rows.columns)
        scores, answered_by = await answer(bundle, matrix, self._ask_ensemble)
        by_ensemble = (answered_by == ENSEMBLE).astype(np.uint8).tobytes()
        request_id = self._journal.append(
            Prediction(
                bundle=bundle.version, event_times=rows.event_times, columns=rows.columns, scores=scores.tobytes(), by_ensemble=by_ensemble
            )
        )
        return Response(codec.encode(request_id, bundle.version, scores, answered_by), 200, None, _JSON)

    async def labels(self, request: Request) -> Response:
        """POST /v1/labels: check against the journal, append, acknowledge."""
        body = await self._body(request)
        labels = decode_labels(
            body,
            model=self._settings.model,
            label=self._champion.current.schema.label,
            rows_of=self._rows_of,
            max_labels=LABELS_A_ROW * self._settings.serving.max_rows,
        )
        self._journal.append(labels)
        return Response(b'{"accepted":%d}' % len(labels.entries), 200, None, _JSON)

    async def model(self, request: Request) -> Response:  # noqa: ARG002
        """GET /v1/model: the champion that answers."""
        bundle = self._champion.current
        content = {
            "model": self._settings.model,
            "bundle": bundle.version,
            "created": bundle.manifest.created,
            "task": bundle.schema.label.task,
            "label": bundle.schema.label.model_dump(mode="json"),
            "columns": [*bundle.schema.names, *bundle.schema.side_columns],
            "time": bundle.schema.time,
            "cascade": bundle.cascade,
            "metrics": bundle.json("metrics.json"),
        }
        return _json(content)

    async def live(self, request: Request) -> Response:  # noqa: ARG002
        """GET /livez: the process is alive."""
        return _json({"status": "alive"})

    async def ready(self, request: Request) -> Response:  # noqa: ARG002
        """GET /readyz: a champion is loaded."""
        return _json({"status": "ready", "bundle": self._champion.current.version})

    async def openapi(self, request: Request) -> Response:  # noqa: ARG002
        """GET /openapi.json."""
        schema = self._champion.current.schema
        return _json(openapi.document(schema, model=self._settings.model, version=VERSION, max_rows=self._settings.serving.max_rows))

    async def docs(self, request: Request) -> Response:
        """GET /docs: the OpenAPI page, without the network."""
        return Response(_DOCS.replace("ROOT", request.scope.get("root_path", "").rstrip("/")), 200, None, "text/html")

    async def asset(self, request: Request) -> Response:
        """GET /docs/…: Swagger UI's own files."""
        name = request.url.path.rsplit("/", 1)[1]
        content = await asyncio.to_thread((Path(swagger_ui_path) / name).read_bytes)
        return Response(content, 200, {"Cache-Control": "max-age=86400"}, "text/css" if name.endswith("css") else "text/javascript")

    async def _body(self, request: Request) -> bytes:
        """Read a JSON body without ever holding more than is allowed."""
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != _JSON:
            raise UnsupportedMediaType(f"the body's content type is '{kind or 'not given'}'; send the header: Content-Type: {_JSON}")
        most = self._settings.serving.max_body_bytes
        announced = request.headers.get("content-length", "0")
        if not announced.isdecimal():
            raise BadRequestShape("the header Content-Length is not a number")
        chunks, size = [], int(announced)
        if size <= most:
            size = 0
            async for chunk in request.stream():
                size += len(chunk)
                if size > most:
                    break
                chunks.append(chunk)
        if size > most:
            raise BodyTooLarge(f"the body has more than {most} bytes; send fewer rows at once, or raise serving.max_body_bytes")
        return b"".join(chunks)


def _json(content: Any) -> Response:
    return Response(msgspec.json.encode(content), 200, None, _JSON)


ROUTES: Final[Mapping[str, Mapping[str, Handler]]] = {
    "/v1/predict": {"POST": Gateway.predict},
    "/v1/labels": {"POST": Gateway.labels},
    "/v1/model": {"GET": Gateway.model},
    "/livez": {"GET": Gateway.live},
    "/readyz": {"GET": Gateway.ready},
    "/docs": {"GET": Gateway.docs},
    "/openapi.json": {"GET": Gateway.openapi},
    "/docs/swagger-ui.css": {"GET": Gateway.asset},
    "/docs/swagger-ui-bundle.js": {"GET": Gateway.asset},
}

_DOCS: Final = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Homeostat</title>
<link rel="stylesheet" href="ROOT/docs/swagger-ui.css"></head>
<body><div id="page"></div><script src="ROOT/docs/swagger-ui-bundle.js"></script>
<script>SwaggerUIBundle({url: "ROOT/openapi.json", dom_id: "#page"})</script></body></html>
"""
