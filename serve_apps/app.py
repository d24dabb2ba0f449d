"""The serving graph: a gateway in front, an ensemble behind it for each model that needs one, autoscaled from the YAML.

serve run serve_apps.app:build config=configs/flights.yaml
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

import grpc
from ray import serve
from ray.exceptions import RayError
from ray.serve import Application
from ray.serve.exceptions import RayServeException
from ray.serve.handle import DeploymentHandle
from starlette.requests import Request
from starlette.responses import Response

from cluster import tracing
from cluster.bundle import Bundle
from cluster.errors import ConfigError, HomeostatError, NoChampion, Unavailable
from cluster.registry import read_pointers
from cluster.schema import Matrix
from cluster.serving_settings import Scaling
from cluster.settings import Settings, load, parse
from serve_apps import loading, placement, shortcut, traces
from serve_apps.access_log import AccessLog
from serve_apps.autoscaling import BUSY
from serve_apps.cascade import AskEnsemble
from serve_apps.endpoints.oip_grpc import OipService
from serve_apps.ensemble import Ensemble
from serve_apps.follower import Export, Follower
from serve_apps.metrics import AuditMetrics, EnsembleMetrics, GatewayMetrics
from serve_apps.periodic import Periodic
from serve_apps.placement import Placement
from serve_apps.served import ServedModel

logger = logging.getLogger("homeostat.serve")
MOST_ONGOING: Final = 1000
_SHUTDOWN_S: Final = 60
"""For a gateway to end; Serve first waits RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S, 30 by default, then finishes what is under way."""
ITS_PART: Final = 0.9
"""Of a caller's time, what the ensemble may use: an answer that arrives at the deadline is late."""


def build(args: dict[str, str]) -> Application:
    """The application of one model, or of several in one group of processes.

    Parameters
    ----------
    args
        `config`: path of the model's YAML file; of several, joined by commas.

    Raises
    ------
    ConfigError
        When the arguments or a YAML are wrong, or two models want different addresses or gateways.
    NoChampion
        When a model has not been trained yet.
    """
    if set(args) != {"config"}:
        raise ConfigError(f"serve_apps.app:build takes one argument, config=PATH of the model's YAML; found: {', '.join(args) or 'none'}")
    models = {path: load(path) for path in args["config"].split(",")}
    first = agree(models)
    for settings in models.values():
        tracing.check(settings.tracing)
    places = {settings.model: _place(settings, path) for path, settings in models.items()}
    plain = [settings.dump() for settings in models.values()]
    ensembles = {s.model: _ensemble(s, alone=len(models) == 1) for s in models.values() if places[s.model].where == "deployment"}
    gateway = serve.deployment(GatewayReplica, name="Gateway", **_gateway_options(first))
    return gateway.bind(plain, {name: tuple(place) for name, place in places.items()}, ensembles)


def agree(models: Mapping[str, Settings]) -> Settings:
    """The settings that speak for the whole process group: the first model's, with which the others must agree.

    Raises
    ------
    ConfigError
        Naming the files and the keys.
    """
    (first_path, first), *others = models.items()
    for path, settings in others:
        for key in ("host", "port", "grpc_port", "gateway"):
            wanted, found = getattr(first.serving, key), getattr(settings.serving, key)
            if wanted != found:
                raise ConfigError(
                    f"'{path}' has serving.{key} {found!r} and '{first_path}' has {wanted!r}; models served together share it"
                )
        if settings.model in {s.model for p, s in models.items() if p != path}:
            raise ConfigError(f"'{path}' names the model '{settings.model}', and so does another file")
    return first


def _place(settings: Settings, path: str) -> Placement:
    published = read_pointers(settings.places.pointers(settings.model))
    if published is None or published.champion is None:
        raise NoChampion(
            f"model '{settings.model}' has no champion under '{settings.places.root}'; train one first: homeostat train {path}"
        )
    wanted, pointer = settings.serving.ensemble, published.champion
    costs = Bundle(loading.fetch(pointer), digest=pointer.digest, parts=()).costs
    return placement.decide(wanted.placement, costs, gpus=wanted.gpus)


def _ensemble(settings: Settings, *, alone: bool) -> Application:
    name = "Ensemble" if alone else f"Ensemble-{settings.model}"
    scaling = settings.serving.ensemble
    bounds = {"target_ongoing_requests": scaling.target_ongoing_requests}
    return serve.deployment(EnsembleReplica, name=name, **_options(scaling, bounds)).bind(settings.dump())


def _gateway_options(settings: Settings) -> dict[str, Any]:
    scaling = settings.serving.gateway
    policy = {"policy_function": "serve_apps.autoscaling:BusyPolicy", "policy_kwargs": {"target_load": scaling.target_load}}
    return _options(scaling, {"policy": policy}) | {"graceful_shutdown_timeout_s": _SHUTDOWN_S}


def _options(scaling: Scaling, more: Mapping[str, Any]) -> dict[str, Any]:
    replicas: dict[str, Any] = {"num_replicas": scaling.min_replicas}
    if scaling.min_replicas != scaling.max_replicas:
        bounds = {
            "min_replicas": scaling.min_replicas,
            "max_replicas": scaling.max_replicas,
            "upscale_delay_s": scaling.upscale_delay.total_seconds(),
            "downscale_delay_s": scaling.downscale_delay.total_seconds(),
            "metrics_interval_s": 1,
            "look_back_period_s": 5,
        }
        replicas = {"autoscaling_config": bounds | dict(more)}
    return {
        **replicas,
        "max_ongoing_requests": MOST_ONGOING,
        "max_surge_percent": 100,  # in an update the new replicas answer before the old ones stop
        "ray_actor_options": {"num_cpus": scaling.cpus, "num_gpus": scaling.gpus},
        "health_check_period_s": 1,
        "logging_config": {"enable_access_log": False},
    }


_FAILURES: Final = (RayError, RayServeException, grpc.RpcError)
"""What a call to another deployment may end with beside its answer."""


class EnsembleReplica(Ensemble):
    """The ensemble as Serve constructs it, from plain types."""

    def __init__(self, plain: dict[str, Any]) -> None:
        settings = parse(plain)
        super().__init__(settings)
        metrics = EnsembleMetrics(settings.model)
        steps = [(settings.serving.poll_s, self.refresh), (1.0, lambda: metrics(self.stats()))]
        Periodic("homeostat-ensemble", steps).start()

    async def answer(self, version: str, matrix: Matrix, budget_s: float) -> Matrix | HomeostatError:
        """Scores, or why there are none: Serve logs a traceback of every exception that leaves a replica, and under overload refusals are many."""
        try:
            return await self.score(version, matrix, budget_s)
        except HomeostatError as error:
            return error


class GatewayReplica(OipService):
    """The gateway as Serve constructs it, with handles to the ensembles that run elsewhere; gRPC's methods are inherited."""

    def __init__(
        self, plain: Sequence[dict[str, Any]], places: Mapping[str, tuple[Any, str]], ensembles: Mapping[str, DeploymentHandle]
    ) -> None:
        models = [_served(parse(content), places, ensembles) for content in plain]
        super().__init__(traces.gateway_of(models))
        shortcut.install(self._gateway)
        audits = AuditMetrics({model.name: model.audits.stats for model in models})
        exports: list[Export] = [GatewayMetrics(), audits, AccessLog({model.name: model.settings for model in models})]
        if isinstance(self._gateway, traces.TracedGateway):
            exports.append(self._gateway.export)
        self._follower = Follower(self._gateway, exports=exports)
        self._follower.start()

    async def __call__(self, request: Request) -> Response:
        """Answer a request that came Serve's own way."""
        reply = await self._gateway.respond(request.scope, request.receive)
        return Response(reply.body, reply.status, dict(reply.headers), reply.content_type)

    async def record_autoscaling_stats(self) -> dict[str, float]:
        """What `serve_apps.autoscaling` decides by."""
        return {BUSY: self._gateway.load.demand}

    def __del__(self) -> None:
        if hasattr(self, "_follower"):  # not when there was no champion to start with
            self._follower.stop()
            if isinstance(self._gateway, traces.TracedGateway):
                self._gateway.close()


def _served(settings: Settings, places: Mapping[str, tuple[Any, str]], ensembles: Mapping[str, DeploymentHandle]) -> ServedModel:
    ensemble = ensembles.get(settings.model)
    return traces.model_of(settings)(settings, Placement(*places[settings.model]), None if ensemble is None else asker(ensemble))


def asker(ensemble: DeploymentHandle) -> AskEnsemble:
    """A call of the ensemble that is tried twice within its time when Ray fails, as it does when a replica dies, and then gives up with `Unavailable`."""

    async def ask(bundle: Bundle, matrix: Matrix, budget_s: float) -> Matrix:
        deadline = time.monotonic() + budget_s

        async def attempt() -> Matrix | HomeostatError:
            left_s = ITS_PART * (deadline - time.monotonic())
            return await ensemble.answer.remote(bundle.version, matrix, left_s)  # type: ignore[no-any-return]

        async def attempts() -> Matrix | HomeostatError:
            try:
                return await attempt()
            except _FAILURES as error:
                logger.warning("the ensemble failed once, asking again: %s", type(error).__name__)
                return await attempt()

        try:
            answer = await asyncio.wait_for(attempts(), budget_s)
        except (TimeoutError, *_FAILURES) as error:
            raise Unavailable(f"the ensemble did not answer within {budget_s:.3g} s: {type(error).__name__}") from error
        if isinstance(answer, HomeostatError):
            raise answer
        return answer

    return ask
