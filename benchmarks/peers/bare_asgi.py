"""Bare ASGI: one uvicorn process that decodes, scores and answers. A limit: what is left when every feature is left out.

python -m benchmarks.peers.bare_asgi BUNDLE PORT
"""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from typing import Any, Final

import msgspec
import uvicorn

from benchmarks.peers.model import Model

Message = dict[str, Any]
_HEADERS: Final = [(b"content-type", b"application/json")]


class Application:
    """The model as an ASGI application."""

    def __init__(self, folder: str) -> None:
        self._model = Model(folder)

    async def __call__(self, scope: Message, receive: Callable[[], Awaitable[Message]], send: Callable[[Message], Awaitable[None]]) -> None:
        """Answer one request, whatever its path."""
        if scope["type"] != "http":
            return
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message.get("body", b""), message.get("more_body", False)
        content = msgspec.json.encode(self._model(msgspec.json.decode(body)))
        length = (b"content-length", str(len(content)).encode())
        await send({"type": "http.response.start", "status": 200, "headers": [*_HEADERS, length]})
        await send({"type": "http.response.body", "body": content})


def main() -> None:
    folder, port = sys.argv[1:]
    uvicorn.run(Application(folder), host="127.0.0.1", port=int(port), log_level="warning", access_log=False, lifespan="off")


if __name__ == "__main__":
    main()
