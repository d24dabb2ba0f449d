"""Batching with deadlines on Ray Serve: an ingress that hands each request's remaining time to a batched deployment.

python -m benchmarks.deadline_batch PORT
"""

from __future__ import annotations

import asyncio
import signal
import sys
import time
from typing import Any, Final

import numpy as np
from ray import serve
from ray.serve.handle import DeploymentHandle
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from benchmarks.heavy import Heavy
from cluster.errors import HomeostatError
from cluster.runtime import connect
from cluster.schema import Matrix
from serve_apps.batching import Batcher, Scorer
from serve_apps.pacing import CostCurve
from serve_apps.protocols import errors

USABLE: Final = 0.9
"""Share of the caller's time that the ensemble may use; the rest is for the way to it and back."""


class Ensemble:
    """What `serve_apps.ensemble` is, without a bundle."""

    def __init__(self) -> None:
        self._heavy = Heavy()
        self._scorer = Scorer("1", self._heavy, CostCurve())
        self._batcher = Batcher(max_rows=1024)

    async def score(self, matrix: Matrix, budget_s: float) -> Matrix | HomeostatError:
        """Scores of shape (n, 1). A refusal is answered, not raised: Ray writes a traceback for each error that leaves a replica."""
        try:
            return await self._batcher.score(self._scorer, matrix, deadline=asyncio.get_running_loop().time() + budget_s)
        except HomeostatError as error:
            return error

    async def computed(self) -> int:
        """Rows scored so far."""
        return self._heavy.rows


class Ingress:
    """Reads the row and the caller's time, and answers."""

    def __init__(self, ensemble: DeploymentHandle) -> None:
        self._ensemble = ensemble

    async def __call__(self, request: Request) -> Response:
        """POST scores a row; GET tells how many were computed."""
        began = time.monotonic()
        if request.method == "GET":
            return JSONResponse(await self._ensemble.computed.remote())
        matrix = np.array([await request.json()], dtype=np.float32)
        budget_s = USABLE * float(request.headers["x-request-timeout"]) - (time.monotonic() - began)
        answer: Any = await self._ensemble.score.remote(matrix, budget_s)
        if isinstance(answer, HomeostatError):
            status = errors.status_of(answer)
            return Response(errors.render(answer, status), status, errors.headers_of(answer), "application/json")
        return JSONResponse(answer.tolist())


def main() -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # leaving runs Ray's own shutdown
    connect()
    serve.start(http_options={"host": "127.0.0.1", "port": int(sys.argv[1])})
    options: dict[str, Any] = {"max_ongoing_requests": 1000, "logging_config": {"enable_access_log": False}}
    ensemble = serve.deployment(Ensemble, **options).bind()
    serve.run(serve.deployment(Ingress, **options).bind(ensemble), route_prefix="/")
    signal.pause()


if __name__ == "__main__":
    main()
