"""The serving graph: a gateway in front, the ensemble behind it, both autoscaled from the model's YAML.

serve run serve_apps.app:build config=configs/flights.yaml
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from ray import serve
from ray.exceptions import RayError
from ray.serve import Application
from ray.serve.exceptions import RayServeException
from ray.serve.handle import DeploymentHandle

from cluster.errors import ConfigError, HomeostatError, NoChampion, Unavailable
from cluster.registry import read_pointers
from cluster.schema import Matrix
from cluster.settings import Scaling, Settings, load, parse
from serve_apps.cascade import AskEnsemble
from serve_apps.ensemble import Ensemble
from serve_apps.gateway import Gateway

logger = logging.getLogger("homeostat.serve")


def build(args: dict[str, str]) -> Application:
    """The application of one model.

    Parameters
    ----------
    args
        `config`: path of the model's YAML file.

    Raises
    ------
    ConfigError
        When the arguments or the YAML are wrong.
    NoChampion
        When the model has not been trained yet.
    """
    if set(args) != {"config"}:
        raise ConfigError(f"serve_apps.app:build takes one argument, config=PATH of the model's YAML; found: {', '.join(args) or 'none'}")
    settings = load(args["config"])
    published = read_pointers(settings.places.pointers(settings.model))
    if published is None or published.champion is None:
        raise NoChampion(
            f"model '{settings.model}' has no champion under '{settings.places.root}'; train one first: homeostat train {args['config']}"
        )
    plain = settings.dump()
    ensemble = serve.deployment(EnsembleReplica, name="Ensemble", **_options(settings.serving.ensemble)).bind(plain)
    return serve.deployment(GatewayReplica, name="Gateway", **_options(settings.serving.gateway)).bind(plain, ensemble)


def _options(scaling: Scaling) -> dict[str, Any]:
    replicas: dict[str, Any] = {"num_replicas": scaling.min_replicas}
    if scaling.min_replicas != scaling.max_replicas:
        target = scaling.target_ongoing_requests
        bounds = {"min_replicas": scaling.min_replicas, "max_replicas": scaling.max_replicas, "target_ongoing_requests": target}
        replicas = {"autoscaling_config": bounds}
    return {
        **replicas,
        "max_ongoing_requests": 1000,
        "ray_actor_options": {"num_cpus": scaling.cpus, "num_gpus": scaling.gpus},
        "health_check_period_s": 1,
        "logging_config": {"enable_access_log": False},
    }


class EnsembleReplica(Ensemble):
    """The ensemble as Serve constructs it, from plain types."""

    def __init__(self, plain: dict[str, Any]) -> None:
        super().__init__(parse(plain))


class GatewayReplica(Gateway):
    """The gateway as Serve constructs it, with a handle to the ensemble."""

    def __init__(self, plain: dict[str, Any], ensemble: DeploymentHandle) -> None:
        settings: Settings = parse(plain)
        super().__init__(settings, asker(ensemble, timeout_s=settings.serving.ensemble_timeout_s))


def asker(ensemble: DeploymentHandle, *, timeout_s: float) -> AskEnsemble:
    """A call of the ensemble that is tried twice within `timeout_s` and then gives up with `Unavailable`."""

    async def ask(version: str, matrix: Matrix) -> Matrix:
        async def attempts() -> Matrix:
            try:
                return await ensemble.score.remote(version, matrix)  # type: ignore[no-any-return]
            except (RayError, RayServeException) as error:
                logger.warning("the ensemble failed once, asking again: %s", type(error).__name__)
                return await ensemble.score.remote(version, matrix)  # type: ignore[no-any-return]

        try:
            return await asyncio.wait_for(attempts(), timeout_s)
        except (TimeoutError, RayError, RayServeException, HomeostatError) as error:
            raise Unavailable(f"the ensemble did not answer within {timeout_s} s: {type(error).__name__}") from error

    return ask
