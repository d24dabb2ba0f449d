"""Who is measured: each a function from the stage to the process that answers, in an environment of its own where it needs one."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from typing import Final

from benchmarks import environments
from benchmarks.bodies import Shape, as_matrix, as_rows, as_split, as_tensors
from benchmarks.peers.model import Model
from benchmarks.report import Role
from benchmarks.servers import Contender
from benchmarks.stage import HOMEOSTAT, Stage
from cluster.environment import FAST_HTTP, LOCAL
from cluster.runtime import free_port

_DEFAULT_HTTP: Final = {"RAY_SERVE_ENABLE_HA_PROXY": "0", "RAY_SERVE_THROUGHPUT_OPTIMIZED": "0"}
_HAPROXY_PORTS: Final = ("RAY_SERVE_HAPROXY_STATS_PORT", "RAY_SERVE_HAPROXY_METRICS_PORT")
_AUTOSCALING_S: Final = 15
"""A second gateway is asked for after five seconds of load, and takes some more to start."""
Make = Callable[[Stage], Contender]


def plain_environment() -> dict[str, str]:
    """The environment of the caller, without what makes Ray fast."""
    return {name: value for name, value in os.environ.items() if name not in FAST_HTTP | LOCAL}


def our_environment(stage: Stage) -> dict[str, str]:
    """The environment of `homeostat serve`: its token, and HAProxy's ports, which another cluster may be taking at this moment."""
    return plain_environment() | dict(stage.secret) | {name: str(free_port()) for name in _HAPROXY_PORTS}


def homeostat(who: str = "Homeostat", role: Role = "ours", extra: Mapping[str, str] | None = None) -> Make:
    """`homeostat serve`, everything on but retraining."""

    def make(stage: Stage) -> Contender:
        url = f"http://127.0.0.1:{stage.settings.serving.port}/v1/predict"
        command = [HOMEOSTAT, "serve", str(stage.config)]
        return Contender(who, role, command, our_environment(stage) | dict(extra or {}), url, warm_up_s=_AUTOSCALING_S)

    return make


def peer(
    who: str,
    module: str,
    *,
    role: Role = "peer",
    environment: str | None = None,
    path: str = "/",
    shape: Shape = as_rows,
    extra: Mapping[str, str] | None = None,
) -> Make:
    """A module of `benchmarks.peers`.

    Parameters
    ----------
    environment
        Key of `environments.PINS`; None is ours.
    """

    def make(stage: Stage) -> Contender:
        port, python = free_port(), environments.python(environment) if environment else sys.executable
        command = [python, "-m", f"benchmarks.peers.{module}", str(stage.bundle), str(port)]
        return Contender(who, role, command, plain_environment() | dict(extra or {}), f"http://127.0.0.1:{port}{path}", shape)

    return make


def mlserver_matrix(stage: Stage) -> Contender:
    """MLServer with nothing to decode: the caller has encoded the rows."""
    made = mlserver(stage)
    return made._replace(who="MLServer, encoded rows", shape=as_matrix(Model(str(stage.bundle)).encode))


mlserver: Final = peer("MLServer", "mlserver_runtime", environment="mlserver", path="/v2/models/student/infer", shape=as_tensors)
ALL: Final[dict[str, Make]] = {
    "homeostat": homeostat(),
    "mlserver": mlserver,
    "mlserver-matrix": mlserver_matrix,
    "litserve": peer("LitServe", "litserve_api", environment="litserve", path="/predict"),
    "bentoml": peer("BentoML", "bentoml_service", environment="bentoml", path="/predict"),
    "mlflow": peer("mlflow models serve", "mlflow_models", path="/invocations", shape=as_split),
    "ray-serve": peer("plain Ray Serve", "plain_ray_serve"),
    "uvicorn": peer("bare uvicorn", "bare_asgi", role="limit", environment="bare"),
    "granian": peer("bare granian", "bare_granian", role="limit", environment="bare"),
}
VARIANTS: Final[dict[str, Make]] = {
    "mlflow-bundle": peer("mlflow, the bundle", "mlflow_bundle", role="variant", path="/invocations", shape=as_split),
    "homeostat-default-path": homeostat("Homeostat, default path", "variant", _DEFAULT_HTTP),
    "ray-serve-fast-path": peer("plain Ray Serve, fast path", "plain_ray_serve", role="variant", extra=FAST_HTTP),
}
