"""How many gateways there should be: by how busy they are, not by how many requests they hold. Pure.

A gateway computes on its event loop. Requests that wait for it wait in the kernel and in the loop's queue, where
counting ongoing requests never sees them; the processor time it uses cannot be missed, and costs no request anything.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Final, Protocol

BUSY: Final = "busy"
"""The metric that replicas report: cores that the process keeps busy."""


class Situation(Protocol):
    """What Ray Serve tells a policy; the part that is read here."""

    current_num_replicas: int
    aggregated_metrics: Mapping[str, Mapping[Any, float]] | None


class BusyPolicy:
    """The policy as Serve calls it.

    Parameters
    ----------
    target_load
        Share of a core that a replica may be busy.
    """

    def __init__(self, target_load: float) -> None:
        self._target_load = target_load

    def __call__(self, situation: Situation) -> tuple[float, dict[str, Any]]:
        """How many replicas are wanted (delays and limits are Serve's), and a state, of which there is none."""
        reported = (situation.aggregated_metrics or {}).get(BUSY, {})
        return desired(reported.values(), situation.current_num_replicas, self._target_load), {}


def desired(busy: Collection[float], current: int, target_load: float) -> float:
    """Replicas among which the load would be at its target.

    Replicas that have not reported yet count as being at the target: they were started for a reason.

    Examples
    --------
    >>> desired([0.9, 0.9], 2, 0.6)
    3.0
    >>> desired([0.9], 2, 0.6)
    2.5
    """
    unknown = max(0, current - len(busy))
    return round(sum(busy) / target_load + unknown, 3)
