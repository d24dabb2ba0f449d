"""Plain `@serve.batch`: one deployment, written as Ray Serve's documentation teaches, with sizes that suit the load.

python -m benchmarks.peers.plain_batch PORT
"""

from __future__ import annotations

import signal
import sys
from typing import Any

import numpy as np
import ray
from ray import serve
from starlette.requests import Request

from benchmarks.heavy import Heavy


class Batched:
    """Scores up to 64 rows at once, after at most 10 ms."""

    def __init__(self) -> None:
        self._heavy = Heavy()

    @serve.batch(max_batch_size=64, batch_wait_timeout_s=0.01)  # type: ignore[untyped-decorator]
    async def score(self, rows: list[list[float]]) -> list[list[float]]:
        """Scores of a list of rows."""
        scores: list[list[float]] = self._heavy(np.array(rows, dtype=np.float32)).tolist()
        return scores

    async def __call__(self, request: Request) -> Any:
        """POST scores a row; GET tells how many were computed."""
        return self._heavy.rows if request.method == "GET" else await self.score(await request.json())


def main() -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    ray.init(address="local", include_dashboard=False)
    serve.start(http_options={"host": "127.0.0.1", "port": int(sys.argv[1])})
    options: dict[str, Any] = {"max_ongoing_requests": 1000, "logging_config": {"enable_access_log": False}}
    serve.run(serve.deployment(Batched, **options).bind(), route_prefix="/")
    signal.pause()


if __name__ == "__main__":
    main()
