"""A group that no cluster could place is refused at once."""

from __future__ import annotations

from typing import Any

import pytest

from cluster.errors import Unavailable
from cluster.training_settings import Training
from training.workers.placement import check_places, resources


def node(*, alive: bool = True, **has: float) -> dict[str, Any]:
    return {"Alive": alive, "Resources": {"memory": 1e9, **has}}


def test_a_group_that_fits_passes() -> None:
    check_places(Training(num_workers=4, cpus_per_worker=2), [node(CPU=4.0), node(CPU=5.0)])
    check_places(Training(num_workers=2, use_gpu=True), [node(CPU=4.0, GPU=2.0), node(CPU=8.0)])


def test_what_was_asked_and_what_there_is_are_told() -> None:
    with pytest.raises(Unavailable) as refused:
        check_places(Training(num_workers=4, cpus_per_worker=3), [node(CPU=8.0), node(CPU=3.0), node(alive=False, CPU=64.0)])
    assert str(refused.value).startswith(
        "4 workers of 3 CPU each do not fit this cluster, which has room for 3 (nodes: 8 CPU; 3 CPU); lower training.num_workers"
    )


def test_a_worker_needs_all_it_asks_for_on_one_node() -> None:
    with pytest.raises(Unavailable, match=r"1 workers of 1 CPU, 1 GPU each .* room for 0 \(nodes: 0 CPU, 1 GPU; 4 CPU, 0 GPU\)"):
        check_places(Training(use_gpu=True), [node(GPU=1.0), node(CPU=4.0)])


def test_the_fewest_workers_that_may_go_on_are_enough() -> None:
    check_places(Training(num_workers=8, min_workers=2), [node(CPU=2.0)])
    with pytest.raises(Unavailable, match="3 workers"):
        check_places(Training(num_workers=8, min_workers=3), [node(CPU=2.0)])


def test_a_worker_reserves_a_gpu_only_when_asked() -> None:
    assert resources(Training(cpus_per_worker=1.5)) == {"CPU": 1.5}
    assert resources(Training(use_gpu=True)) == {"CPU": 1.0, "GPU": 1.0}
