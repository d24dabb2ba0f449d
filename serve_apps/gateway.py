"""The gateway: finds the endpoint of a request, says who asks, lets it answer, and renders what goes wrong.

One plain class for any number of models. Knows HTTP and the order of steps; what a route does lives in
`serve_apps.endpoints`, the way of the rows in `serve_apps.served`. Serve wraps it in `serve_apps.app`; tests call it as it is.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterable
from typing import Final

from cluster.errors import DeadlineExceeded, HomeostatError, MethodNotAllowed, Overloaded, RouteNotFound, Unavailable, UnknownModel
from serve_apps import routes
from serve_apps.http import Call, Receive, Scope, Send
from serve_apps.load import Load
from serve_apps.meter import Event, Meter
from serve_apps.protocols import errors
from serve_apps.protocols.plane import Answered, Reply
from serve_apps.routes import Route
from serve_apps.served import ServedModel

logger = logging.getLogger("homeostat.serve")
MOST_UNDER_WAY: Final = 1000
"""Requests that may wait for something in one process; more are refused at once."""
_FINER: Final = (413, 415, 422)
_SHED_AFTER_S: Final = 1.0
"""A loop that is this late with everything refuses what it can refuse cheaply, until it has caught up."""


class Gateway:
    """Answers for some models.

    Parameters
    ----------
    models
        At least one.
    """

    def __init__(self, models: Iterable[ServedModel]) -> None:
        self.models = {model.name: model for model in models}
        self.only = next(iter(self.models.values())) if len(self.models) == 1 else None
        self.meter = Meter()
        self.load = Load()
        self.loop: asyncio.AbstractEventLoop | None = None
        """Where it answers; known once it has been asked."""
        self._under_way = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, as an ASGI application."""
        reply = await self.respond(scope, receive)
        head = [(b"content-type", reply.content_type.encode()), (b"content-length", str(len(reply.body)).encode())]
        head += [(name.lower().encode(), value.encode("latin-1")) for name, value in reply.headers.items()]
        await send({"type": "http.response.start", "status": reply.status, "headers": head})
        await send({"type": "http.response.body", "body": reply.body})

    async def respond(self, scope: Scope, receive: Receive) -> Reply:
        """The whole answer to one request; every failure has the shape that its protocol documents."""
        self.loop = asyncio.get_running_loop()
        path = str(scope["path"]).removeprefix(scope.get("root_path", "")).rstrip("/") or "/"
        call = Call(scope, receive, path=path)
        route, call.parameters = routes.find(path)
        self._under_way += 1
        try:
            model, answered, reply = await self._answer(route, call)
        finally:
            self._under_way -= 1
        self.note(route.pattern if route else "", call, model, answered, reply.status)
        return reply

    async def _answer(self, route: Route | None, call: Call) -> tuple[str, Answered | None, Reply]:
        model = ""
        try:
            if route is None:
                raise RouteNotFound(f"there is no '{call.path}'; there is: {', '.join(routes.PATHS)}")
            endpoint = route.methods.get("GET" if call.method == "HEAD" else call.method)
            if endpoint is None:
                details = [{"found": call.method, "allowed": list(route.methods)}]
                raise MethodNotAllowed(f"'{call.path}' takes {', '.join(route.methods)}, not {call.method}", details=details)
            if isinstance(endpoint, routes.ForService):
                if "model" in call.parameters:
                    model = self.model(call).name
                return model, None, await endpoint.answer(self, call)
            served = self.model(call)
            model = served.name
            if not endpoint.is_open:
                served.authenticator.identify(call.headers)
            self.admit()
            serving = served.settings.serving
            call.set_deadline(serving.timeout_s)
            if call.method == "POST":
                await _read(call, serving.max_body_bytes)
            answered, reply = await endpoint.answer(served, call)
            if answered is not None:
                reply = reply._replace(
                    headers={**reply.headers, "X-Homeostat-Request": answered.request_id, "X-Homeostat-Bundle": answered.bundle}
                )
        except HomeostatError as error:
            return model, None, _refusal(route, call, error)
        except Exception:
            logger.exception("%s %s failed", call.method, call.path)
            return model, None, _refusal(route, call, errors.INTERNAL)
        return model, answered, reply

    def model(self, call: Call) -> ServedModel:
        """The model that a request names, or the only one.

        Raises
        ------
        UnknownModel
            Listing those that are served.
        """
        name = call.parameters.get("model")
        if name is not None:
            return self.named(name)
        if self.only is not None:
            return self.only
        raise UnknownModel(
            f"several models are served here, and '{call.path}' names none; write for example '/{next(iter(self.models))}{call.path}'",
            details=[{"found": None, "allowed": list(self.models)}],
        )

    def named(self, name: str) -> ServedModel:
        """The model of this name.

        Raises
        ------
        UnknownModel
            Listing those that are served.
        """
        if name not in self.models:
            raise UnknownModel(
                f"model '{name}' is not served here; there is: {', '.join(self.models)}",
                details=[{"found": name, "allowed": list(self.models)}],
            )
        return self.models[name]

    def admit(self) -> None:
        """Raise `Overloaded` when this process has more under way than it can answer in time."""
        self.loop = asyncio.get_running_loop()
        if self._under_way > MOST_UNDER_WAY or self.load.lag_s > _SHED_AFTER_S:
            raise Overloaded(
                f"{self._under_way} requests are under way and the process is {self.load.lag_s:.1f} s behind; try again in a second"
            )

    def note(self, route: str, call: Call, model: str, answered: Answered | None, status: int) -> Event:
        """Meter a request that was answered; returns what was noted."""
        seconds = call.clock() - call.started
        counts, bundle = (0, 0, 0), ""
        if answered is not None:
            bundle, counts = answered.bundle, answered.counts()
        event = Event(time.time() - seconds, model, route, call.method, status, seconds, bundle, *counts)
        self.meter.note(event)
        return event


async def _read(call: Call, most_bytes: int) -> None:
    try:
        async with asyncio.timeout(call.deadline - call.clock()):
            await call.read(most_bytes=most_bytes)
    except TimeoutError:
        raise DeadlineExceeded("the body did not arrive within the request's time; nothing was computed") from None


def _refusal(route: Route | None, call: Call, error: HomeostatError) -> Reply:
    status = errors.status_of(error)
    if status >= 500 and error is not errors.INTERNAL and not isinstance(error, Unavailable):
        logger.error("%s %s: %s: %s", call.method, call.path, type(error).__name__, error)
    if route is not None and route.one_status and status in _FINER:
        status = 400
    render = route.render if route else errors.render
    return Reply(status, render(error, status), headers=errors.headers_of(error) or {})
