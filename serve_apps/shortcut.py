"""The shortcut: an ASGI middleware that hands a replica's requests straight to its gateway.

Ray Serve calls `middlewares` in every process that serves HTTP, when RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH names it
(`cluster.environment`). In a replica that holds a gateway, requests then skip what Serve does for each between its
HTTP server and the deployment: tasks, metadata, contexts, a log line. What those are for is done otherwise:
autoscaling goes by the processor (`serve_apps.autoscaling`), draining is the HTTP server's own, admission and metrics
are the gateway's. Without the variable, or in Serve's own proxy, a request takes Serve's way to the same gateway.
docs/decisions/011-the-shortcut.md has the figures.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

from starlette.middleware import Middleware

from serve_apps.http import Receive, Scope, Send

Application = Callable[[Scope, Receive, Send], Awaitable[None]]
_SERVES_OWN: Final = "/-/"
"""Serve's health checks and routes."""
_here: list[Application] = []
"""The gateway of this process, if it has one."""


def install(gateway: Application) -> None:
    """Make this process's requests go to `gateway`."""
    _here[:] = [gateway]


class Shortcut:
    """The middleware, around whatever Serve would call."""

    def __init__(self, app: Application) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer by the gateway of this process, or go the long way."""
        if _here and scope["type"] == "http" and not scope["path"].removeprefix(scope.get("root_path", "")).startswith(_SERVES_OWN):
            await _here[0](scope, receive, send)
        else:
            await self._app(scope, receive, send)


def middlewares() -> list[Middleware]:
    """What Serve puts around its own application."""
    return [Middleware(Shortcut)]
