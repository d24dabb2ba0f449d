"""The page a person looks at: the monitor makes it, the gateway hands it on, to those who may see it.

Owns what HTTP adds: who may look, what the browser may do with it, and that what has not changed is not sent twice.
"""

from __future__ import annotations

import hashlib
import html
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qsl

from cluster.errors import Unauthenticated, Unavailable
from serve_apps.http import Call
from serve_apps.protocols.plane import Answered, Reply
from serve_apps.served import ServedModel

if TYPE_CHECKING:
    from serve_apps.gateway import Gateway

AskMonitor = Callable[[str, str, dict[str, str]], Awaitable[tuple[int, str, bytes]]]
"""From model, path and query to status, content type and body; raises `Unavailable`."""
_HTML: Final = "text/html; charset=utf-8"
HEADERS: Final = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; style-src-attr 'unsafe-inline'; img-src 'self'; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "private, no-cache",
}
"""Nothing comes from elsewhere, and no script or style sheet stands in the page itself; drawings carry their style as attributes."""
_CHALLENGE: Final = {"WWW-Authenticate": 'Basic realm="Homeostat: any name, the token as password", charset="UTF-8"'}


class Page:
    """GET /MODEL/ui and what lies below it.

    It is an open route that lets its own callers in: browsers cannot send a bearer token (`Authenticator.identify_reader`).

    Parameters
    ----------
    ask
        Reaches the model's monitor.
    """

    def __init__(self, ask: AskMonitor) -> None:
        self._ask = ask

    async def __call__(self, model: ServedModel, call: Call) -> tuple[Answered | None, Reply]:
        """The page, or what says why there is none."""
        try:
            model.authenticator.identify_reader(call.headers)
        except Unauthenticated:
            return None, _notice(401, "The token is needed", "Give any user name, and the service's token as the password.", _CHALLENGE)
        query = dict(parse_qsl(call.scope.get("query_string", b"").decode("latin-1")))
        path = str(call.scope.get("root_path", "")).rstrip("/") + call.path
        try:
            status, content_type, body = await self._ask(model.name, path, query)
        except Unavailable as error:
            return None, _notice(503, "No page at the moment", f"{error.message}.", {"Retry-After": "5"})
        return None, _unless_known(call, Reply(status, body, content_type, HEADERS))


async def index(gateway: Gateway, call: Call) -> Reply:
    """GET /ui: to the only model's page, or a list of pages."""
    root = str(call.scope.get("root_path", "")).rstrip("/")
    if gateway.only is not None:
        return Reply(307, b"", _HTML, {"Location": f"{root}/{gateway.only.name}/ui"})
    links = "".join(f'<li><a href="{html.escape(f"{root}/{name}/ui")}">{html.escape(name)}</a></li>' for name in gateway.models)
    return Reply(200, _DOCUMENT.format(title="Models", body=f"<ul>{links}</ul>").encode(), _HTML, HEADERS)


def _unless_known(call: Call, reply: Reply) -> Reply:
    """304 when the browser has it already."""
    if reply.status != 200:
        return reply
    tag = f'"{hashlib.sha256(reply.body).hexdigest()[:32]}"'
    headers = {**reply.headers, "ETag": tag}
    if tag in call.header(b"if-none-match"):
        return Reply(304, b"", reply.content_type, headers)
    return reply._replace(headers=headers)


def _notice(status: int, title: str, text: str, headers: dict[str, str]) -> Reply:
    body = f"<p>{html.escape(text)}</p>"
    return Reply(status, _DOCUMENT.format(title=html.escape(title), body=body).encode(), _HTML, HEADERS | headers)


_DOCUMENT: Final = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark"><title>{title}: Homeostat</title></head>
<body><main><h1>{title}</h1>{body}</main></body></html>
"""
