"""Plain Ray Serve: one deployment, written as its documentation teaches, with every setting at its default.

python -m benchmarks.peers.plain_ray_serve BUNDLE PORT
"""

from __future__ import annotations

import signal
import sys
from typing import Any

import ray
from ray import serve
from starlette.requests import Request

from benchmarks.peers.model import Model


class Scorer:
    """Loads the model once, scores what comes."""

    def __init__(self, folder: str) -> None:
        self._model = Model(folder)

    async def __call__(self, request: Request) -> dict[str, Any]:
        """Answer one request."""
        return self._model(await request.json())


def main() -> None:
    folder, port = sys.argv[1:]
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # leaving runs Ray's own shutdown
    ray.init(address="local", include_dashboard=False)
    serve.start(http_options={"host": "127.0.0.1", "port": int(port)})
    serve.run(serve.deployment(Scorer).bind(folder), route_prefix="/")
    signal.pause()


if __name__ == "__main__":
    main()
