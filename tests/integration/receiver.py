"""A receiver of webhooks on this machine: answers as it is told, and remembers who told it what."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, NamedTuple, Self


class Told(NamedTuple):
    """One request."""

    fingerprint: str
    status: int
    token: str | None
    content: dict[str, Any]


class Receiver:
    """Listens for as long as the block of `with` takes.

    Parameters
    ----------
    answer
        Gives the status of a request, from how many came before it; 0 hangs up without one.
    port
        0 takes any.
    """

    def __init__(self, answer: Callable[[int], int] = lambda _: 200, *, port: int = 0) -> None:
        self.told: list[Told] = []
        self._answer = answer
        self._server = ThreadingHTTPServer(("127.0.0.1", port), self._handler())
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self._server.server_port}/hook"

    @property
    def port(self) -> int:
        """The port of `url`."""
        return int(self._server.server_port)

    def accepted(self) -> list[str]:
        """Fingerprints that were answered with 200, in order."""
        return [told.fingerprint for told in self.told if told.status == 200]

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                content = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                status = receiver._answer(len(receiver.told))
                receiver.told.append(Told(content["alerts"][0]["fingerprint"], status, self.headers["Authorization"], content))
                if status:
                    self.send_response(status)
                    self.send_header("Content-Length", "0")
                    self.end_headers()

            def log_message(self, *_: object) -> None:
                """Nothing."""

        return Handler
