from __future__ import annotations

from typing import Literal

import pytest

from cluster.costs import Curve
from serve_apps.placement import Placement, decide
from tests.builders import make_costs


def curve(one_s: float, sixty_four_s: float) -> Curve:
    return Curve(rows=[1, 64], seconds=[one_s, sixty_four_s])


def test_an_ensemble_cheaper_than_the_hop_runs_in_process() -> None:
    assert decide("auto", make_costs()) == Placement(
        "in_process",
        "placement is auto: the ensemble scores a row in 0.06 ms and 64 rows in 0.69 ms; a hop to another process costs 1.3 ms",
    )


def test_an_ensemble_dearer_than_the_hop_gets_its_own_deployment() -> None:
    assert decide("auto", make_costs(ensemble=curve(1.5e-3, 4e-3))) == Placement(
        "deployment",
        "placement is auto: the ensemble scores a row in 1.5 ms and 64 rows in 4 ms; a hop to another process costs less, 1.3 ms",
    )


def test_an_ensemble_that_blocks_the_loop_for_many_rows_gets_its_own_deployment() -> None:
    assert decide("auto", make_costs(ensemble=curve(0.2e-3, 12.3e-3))) == Placement(
        "deployment",
        "placement is auto: the ensemble scores a row in 0.2 ms and 64 rows in 12 ms; "
        "more than 5 ms would keep the gateway from answering others",
    )


def test_the_hop_is_what_it_is_measured_against() -> None:
    assert decide("auto", make_costs(), hop_s=59e-6).where == "deployment"
    assert decide("auto", make_costs(), hop_s=61e-6).where == "in_process"


def test_a_gpu_means_a_deployment_however_cheap_the_cpu_is() -> None:
    assert decide("auto", make_costs(), gpus=0.5) == Placement(
        "deployment", "placement is auto, and the ensemble asks for 0.5 GPU a replica"
    )


def test_without_figures_it_is_a_deployment() -> None:
    assert decide("auto", None) == Placement("deployment", "placement is auto, and the bundle says nothing of its costs")


@pytest.mark.parametrize("setting", ["in_process", "deployment"])
def test_a_setting_is_obeyed_whatever_the_figures(setting: Literal["in_process", "deployment"]) -> None:
    assert decide(setting, make_costs(ensemble=curve(1.0, 2.0)), gpus=1.0) == Placement(setting, f"serving.ensemble.placement is {setting}")
