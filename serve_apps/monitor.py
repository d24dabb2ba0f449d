"""Reaches a model's monitor (Ray shell): the one thing that a gateway asks of it is its page."""

from __future__ import annotations

import asyncio
from typing import Any, Final

from cluster.errors import Unavailable
from cluster.runtime import NAMESPACE, monitor_name

_LONGEST_S: Final = 60.0
"""Not the time of a request for rows: the first page waits for the drawing library, and a monitor that has just begun reads its journal first."""


async def page(model: str, path: str, query: dict[str, str]) -> tuple[int, str, bytes]:
    """What the monitor answers a browser: status, content type and body.

    Raises
    ------
    Unavailable
        When there is no monitor, or it does not answer in time.
    """
    import ray  # the gateway runs without in tests

    try:
        actor: Any = await asyncio.to_thread(ray.get_actor, monitor_name(model), namespace=NAMESPACE)
        answer: tuple[int, str, bytes] = await asyncio.wait_for(actor.page.remote(path, query), _LONGEST_S)
    except ValueError as error:
        raise Unavailable(f"model '{model}' has no monitor; the service was started without one (--no-loop), or it has ended") from error
    except (TimeoutError, ray.exceptions.RayError) as error:
        raise Unavailable(f"the monitor of model '{model}' does not answer: {type(error).__name__}") from error
    return answer
