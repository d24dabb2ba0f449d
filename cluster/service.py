"""Brings the whole application up on a Ray cluster, and down again: HTTP, and every actor a room announces.

Knows the rooms only as strings: Serve's import path, and entry points of the group `homeostat.services`, each a
function from settings to an actor handle.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import logging
from typing import Any, Final

import ray
from ray import serve

from cluster.errors import ConfigError
from cluster.runtime import NAMESPACE, is_free
from cluster.settings import Settings

APPLICATION: Final = "serve_apps.app:build"
SERVICES: Final = "homeostat.services"


def up(settings: Settings, config: str, *, loop: bool = True) -> str:
    """Deploy the model's application and start its actors; returns the base URL.

    Parameters
    ----------
    config
        Path of the YAML that `settings` came from; the application reads it again where it is built.
    loop
        Also start monitor and steward.

    Raises
    ------
    ConfigError
        When the port is taken.
    NoChampion
        When the model has not been trained yet.
    """
    serving = settings.serving
    if not _is_serving() and not is_free(serving.port, serving.host):
        raise ConfigError(f"port {serving.port} on {serving.host} is taken; set serving.port to a free one, or stop what listens there")
    module, _, name = APPLICATION.partition(":")
    application = getattr(importlib.import_module(module), name)({"config": config})
    logging.getLogger("ray.serve").setLevel(logging.WARNING)
    serve.start(http_options={"host": serving.host, "port": serving.port}, logging_config={"enable_access_log": False})
    serve.run(application, name=settings.model, route_prefix="/", logging_config={"enable_access_log": False})
    if loop:
        start_services(settings)
    return f"http://{serving.host}:{serving.port}"


def _is_serving() -> bool:
    """Whether this cluster runs Serve already: then the port is its own."""
    return any(actor["name"] == "SERVE_CONTROLLER_ACTOR" for actor in ray.util.list_named_actors(all_namespaces=True))


def start_services(settings: Settings) -> dict[str, Any]:
    """Start the actor of every announced service; one that runs already is taken as it is."""
    found = importlib.metadata.entry_points(group=SERVICES)
    return {entry.name: entry.load()(settings) for entry in sorted(found, key=lambda entry: entry.name)}


def down(settings: Settings) -> None:
    """Stop the application and its actors; the Ray cluster stays."""
    serve.delete(settings.model)
    for entry in importlib.metadata.entry_points(group=SERVICES):
        try:
            ray.kill(ray.get_actor(f"homeostat-{entry.name}-{settings.model}", namespace=NAMESPACE))
        except ValueError:
            continue  # it was not running
