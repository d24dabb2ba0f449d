"""Brings the whole application up on a Ray cluster, and down again: HTTP, and every actor a room announces.

Knows the rooms only as strings: Serve's import path, and entry points of the group `homeostat.services`, each a
function from settings to an actor handle.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import ray
from ray import serve

from cluster.errors import ConfigError
from cluster.runtime import NAMESPACE, is_free
from cluster.settings import Settings

APPLICATION: Final = "serve_apps.app:build"
GRPC: Final = "serve_apps.protocols.oip_grpc.add_GRPCInferenceServiceServicer_to_server"
SERVICES: Final = "homeostat.services"


def up(models: Mapping[str, Settings], *, loop: bool = True) -> str:
    """Deploy the application of some models and start their actors; returns the base URL.

    Parameters
    ----------
    models
        Settings by the path of the YAML they came from; the application reads it again where it is built.
    loop
        Also start monitor and steward, for each model.

    Raises
    ------
    ConfigError
        When a port is taken, or models that are to be served together do not agree.
    NoChampion
        When a model has not been trained yet.
    """
    serving = next(iter(models.values())).serving
    if not _is_serving():
        for key, port in {"port": serving.port, "grpc_port": serving.grpc_port}.items():
            if port is not None and not is_free(port, serving.host):
                raise ConfigError(f"port {port} on {serving.host} is taken; set serving.{key} to a free one, or stop what listens there")
    module, _, name = APPLICATION.partition(":")
    application = getattr(importlib.import_module(module), name)({"config": ",".join(models)})
    logging.getLogger("ray.serve").setLevel(logging.WARNING)
    serve.start(
        http_options={"host": serving.host, "port": serving.port},
        grpc_options=None if serving.grpc_port is None else {"port": serving.grpc_port, "grpc_servicer_functions": [GRPC]},
        logging_config={"enable_access_log": False},
    )
    serve.run(application, name=application_name(models.values()), route_prefix="/", logging_config={"enable_access_log": False})
    if loop:
        for settings in models.values():
            start_services(settings)
    return f"http://{serving.host}:{serving.port}"


def application_name(models: Iterable[Settings]) -> str:
    """What Serve calls the application: the model, or the models."""
    return ".".join(settings.model for settings in models)


def _is_serving() -> bool:
    """Whether this cluster runs Serve already: then the port is its own."""
    return any(actor["name"] == "SERVE_CONTROLLER_ACTOR" for actor in ray.util.list_named_actors(all_namespaces=True))


def start_services(settings: Settings) -> dict[str, Any]:
    """Start the actor of every announced service; one that runs already is taken as it is."""
    found = importlib.metadata.entry_points(group=SERVICES)
    return {entry.name: entry.load()(settings) for entry in sorted(found, key=lambda entry: entry.name)}


def down(models: Sequence[Settings]) -> None:
    """Stop the application of some models and their actors; the Ray cluster stays."""
    serve.delete(application_name(models))
    for settings in models:
        for entry in importlib.metadata.entry_points(group=SERVICES):
            try:
                ray.kill(ray.get_actor(f"homeostat-{entry.name}-{settings.model}", namespace=NAMESPACE))
            except ValueError:
                continue  # it was not running


def replicas(settings: Settings) -> dict[str, dict[str, Any]]:
    """State of the deployments that serve a model: status, message, and replicas by their state; empty when it is not served."""
    for name, application in serve.status().applications.items():
        if settings.model in name.split("."):
            return {
                deployment: {"status": str(found.status), "message": found.message, "replicas": dict(found.replica_states)}
                for deployment, found in application.deployments.items()
            }
    return {}
