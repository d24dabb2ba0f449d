import numpy as np
import pytest

from benchmarks import overload
from benchmarks.callers import BROKEN, HUNG_UP, Heard
from benchmarks.heavy import Heavy
from benchmarks.overload import Run
from benchmarks.report import Line

HEARD = [Heard(200, 0.1), Heard(200, 0.2), Heard(503, 0.001), Heard(503, 0.002), Heard(504, 0.2), Heard(HUNG_UP, 0.25), Heard(BROKEN, 0.1)]


def test_what_was_computed_and_not_answered_in_time_was_computed_for_nobody():
    found = overload.summarize(Run(HEARD, seconds=2.0, computed=8), capacity_s=4.0)
    assert found == {
        "offered/s": 3.5,
        "in time/s": 1.0,
        "of capacity": 0.25,
        "for nobody": 0.75,
        "p50 ms": pytest.approx(150),
        "p99 ms": pytest.approx(199),
        "refused": 3,
        "hung up": 1,
        "broken": 1,
    }


def test_a_server_that_answers_nothing_in_time_has_figures_too():
    found = overload.summarize(Run(HEARD[2:], seconds=2.0, computed=8), capacity_s=4.0)
    assert (found["in time/s"], found["for nobody"], found["p99 ms"]) == (0.0, 1.0, 0.0)
    assert overload.summarize(Run([], seconds=2.0, computed=0))["for nobody"] == 0.0


def test_the_promises_are_read_from_our_line_beyond_capacity():
    run = Run(HEARD, seconds=2.0, computed=8)
    lines = [
        Line(who="ours", role="ours", case="in turn", figures=overload.summarize(run)),
        Line(who="ours", role="ours", case=overload.BEYOND, figures=overload.summarize(run, capacity_s=4.0)),
        Line(who="peer", role="peer", case=overload.BEYOND, figures=overload.summarize(run, capacity_s=1.0)),
    ]
    assert [(target.bound, target.wanted, target.found) for target in overload.targets(lines)] == [
        ("at least", 0.9, 0.25),
        ("at most", 0.01, 0.75),
    ]


def test_both_contenders_have_the_same_environment_but_for_ports():
    ours, peer = (dict(contender.environment) for contender in overload.contenders())
    assert {name for name in ours if ours[name] != peer[name]} <= {"RAY_SERVE_HAPROXY_STATS_PORT", "RAY_SERVE_HAPROXY_METRICS_PORT"}
    assert ours["OPENBLAS_NUM_THREADS"] == "1"


def test_the_scorer_answers_the_first_column_and_counts_rows():
    heavy = Heavy()
    matrix = np.array([[3, 4], [5, 6]], dtype=np.float32)
    assert heavy(matrix).tolist() == [[3], [5]]
    assert heavy.rows == 2
