"""The one table of routes: path, method, endpoint, and the shape that a protocol's errors have."""

from __future__ import annotations

import functools
import re
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Final, NamedTuple

from cluster.errors import HomeostatError
from serve_apps import monitor
from serve_apps.endpoints import explain, mlflow, oip, page, service, tfserving, torchserve, typed
from serve_apps.http import Call
from serve_apps.protocols import errors, oip_rest
from serve_apps.protocols import mlflow as mlflow_protocol
from serve_apps.protocols import tfserving as tfserving_protocol
from serve_apps.protocols import torchserve as torchserve_protocol
from serve_apps.protocols.plane import Answered, Reply
from serve_apps.served import ServedModel

if TYPE_CHECKING:
    from serve_apps.gateway import Gateway


class ForService(NamedTuple):
    """An endpoint of the whole service; anybody may ask."""

    answer: Callable[[Gateway, Call], Awaitable[Reply]]


class ForModel(NamedTuple):
    """An endpoint of one model; who asks must be known to it, unless it is open."""

    answer: Callable[[ServedModel, Call], Awaitable[tuple[Answered | None, Reply]]]
    is_open: bool = False


Methods = dict[str, ForService | ForModel]


class Route(NamedTuple):
    """A path and what answers there."""

    pattern: str
    """Parts in braces are named; they match anything but slashes and colons."""
    methods: Mapping[str, ForService | ForModel]
    render: Callable[[HomeostatError, int], bytes] = errors.render
    """The protocol's own shape of an error with its status."""
    one_status: bool = False
    """The protocol knows 400 for every request that is wrong, and not our finer statuses."""


_PAGE: Final = page.Page(monitor.page)
_TYPED: Final[tuple[Route, ...]] = (
    Route("/v1/predict", {"POST": ForModel(typed.predict)}),
    Route("/v1/labels", {"POST": ForModel(typed.labels)}),
    Route("/v1/explain", {"POST": ForModel(explain.explain)}),
    Route("/v1/model", {"GET": ForModel(typed.describe)}),
    Route("/livez", {"GET": ForService(service.live)}),
    Route("/readyz", {"GET": ForService(service.ready)}),
    Route("/docs", {"GET": ForService(service.index)}),
    Route("/openapi.json", {"GET": ForModel(service.document, is_open=True)}),
    Route("/ui", {"GET": ForService(page.index)}),
    Route("/docs/swagger-ui.css", {"GET": ForService(service.asset)}),
    Route("/docs/swagger-ui-bundle.js", {"GET": ForService(service.asset)}),
    Route("/{model}/v1/predict", {"POST": ForModel(typed.predict)}),
    Route("/{model}/v1/labels", {"POST": ForModel(typed.labels)}),
    Route("/{model}/v1/explain", {"POST": ForModel(explain.explain)}),
    Route("/{model}/v1/model", {"GET": ForModel(typed.describe)}),
    Route("/{model}/ui", {"GET": ForModel(_PAGE, is_open=True)}),
    Route("/{model}/ui/{part}", {"GET": ForModel(_PAGE, is_open=True)}),
    Route("/{model}/docs", {"GET": ForModel(service.page, is_open=True)}),
    Route("/{model}/openapi.json", {"GET": ForModel(service.document, is_open=True)}),
)

_VERSIONS: Final = ("", "/versions/{version}")
_OIP: Final[dict[str, Methods]] = {
    "/v2": {"GET": ForService(oip.server)},
    "/v2/health/live": {"GET": ForService(oip.live)},
    "/v2/health/ready": {"GET": ForService(oip.ready)},
    "/v2/repository/index": {"POST": ForService(oip.index)},
    **{f"/v2/models/{{model}}{version}": {"GET": ForModel(oip.metadata)} for version in _VERSIONS},
    **{f"/v2/models/{{model}}{version}/ready": {"GET": ForModel(oip.model_ready)} for version in _VERSIONS},
    **{f"/v2/models/{{model}}{version}/config": {"GET": ForModel(oip.config)} for version in _VERSIONS},
    **{f"/v2/models/{{model}}{version}/infer": {"POST": ForModel(oip.infer)} for version in _VERSIONS},
}
_TENSORFLOW: Final[dict[str, Methods]] = {
    **{f"/v1/models/{{model}}{version}": {"GET": ForModel(tfserving.status)} for version in _VERSIONS},
    **{f"/v1/models/{{model}}{version}/metadata": {"GET": ForModel(tfserving.metadata)} for version in _VERSIONS},
    **{f"/v1/models/{{model}}{version}:predict": {"POST": ForModel(tfserving.predict)} for version in _VERSIONS},
    **{f"/v1/models/{{model}}{version}:classify": {"POST": ForModel(tfserving.classify)} for version in _VERSIONS},
    **{f"/v1/models/{{model}}{version}:regress": {"POST": ForModel(tfserving.regress)} for version in _VERSIONS},
}
_TORCHSERVE: Final[dict[str, Methods]] = {
    "/predictions/{model}": {"POST": ForModel(torchserve.predict)},
    "/predictions/{model}/{version}": {"POST": ForModel(torchserve.predict)},
    "/models/{model}": {"GET": ForModel(torchserve.describe)},
    "/ping": {"GET": ForService(mlflow.ping)},
}
_MLFLOW: Final[dict[str, Methods]] = {
    "/invocations": {"POST": ForModel(mlflow.invocations)},
    "/{model}/invocations": {"POST": ForModel(mlflow.invocations)},
    "/health": {"GET": ForService(mlflow.health)},
    "/version": {"GET": ForService(mlflow.version)},
    "/{model}/health": {"GET": ForService(mlflow.health)},
    "/{model}/ping": {"GET": ForService(mlflow.ping)},
    "/{model}/version": {"GET": ForService(mlflow.version)},
}

ROUTES: Final[tuple[Route, ...]] = (
    *_TYPED,
    *(Route(pattern, methods, oip_rest.render, one_status=True) for pattern, methods in _OIP.items()),
    *(Route(pattern, methods, tfserving_protocol.error, one_status=True) for pattern, methods in _TENSORFLOW.items()),
    *(Route(pattern, methods, torchserve_protocol.error, one_status=True) for pattern, methods in _TORCHSERVE.items()),
    *(Route(pattern, methods, mlflow_protocol.error, one_status=True) for pattern, methods in _MLFLOW.items()),
)
PATHS: Final = tuple(route.pattern for route in ROUTES)
_COMPILED: Final = tuple((re.compile(re.sub(r"\\{(\w+)\\}", r"(?P<\1>[^/:]+)", re.escape(route.pattern))), route) for route in ROUTES)


_LONGEST_PATH: Final = 512


def find(path: str) -> tuple[Route | None, Mapping[str, str]]:
    """The route of a path and the parts that it names; exact paths come before those with names."""
    return _find(path) if len(path) <= _LONGEST_PATH else (None, {})


@functools.lru_cache(maxsize=4096)
def _find(path: str) -> tuple[Route | None, Mapping[str, str]]:
    for expression, route in _COMPILED:
        if match := expression.fullmatch(path):
            return route, match.groupdict()
    return None, {}
