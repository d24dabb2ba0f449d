"""Whether a cluster has room for the workers of a fit, asked before they are waited for. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cluster.errors import Unavailable
from cluster.training_settings import Training


def check_places(training: Training, nodes: Sequence[dict[str, Any]]) -> None:
    """Refuse a group that the cluster could never place, whoever leaves; nodes that an autoscaler might add are not counted.

    Parameters
    ----------
    nodes
        As `ray.nodes()` gives them.

    Raises
    ------
    Unavailable
        Saying what was asked for and what there is.
    """
    asked, least = resources(training), training.min_workers or training.num_workers
    alive = [node["Resources"] for node in nodes if node["Alive"]]
    places = sum(int(min(node.get(name, 0.0) / amount for name, amount in asked.items())) for node in alive)
    if places < least:
        have = "; ".join(", ".join(f"{node.get(name, 0.0):g} {name}" for name in asked) for node in alive)
        raise Unavailable(
            f"{least} workers of {', '.join(f'{amount:g} {name}' for name, amount in asked.items())} each do not fit this cluster, which has "
            f"room for {places} (nodes: {have}); lower training.num_workers or training.cpus_per_worker, or add nodes"
        )


def resources(training: Training) -> dict[str, float]:
    """What one worker reserves, by the names that Ray gives them."""
    return {"CPU": training.cpus_per_worker} | ({"GPU": 1.0} if training.use_gpu else {})
