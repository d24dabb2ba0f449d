import pytest

from benchmarks import serving
from benchmarks.contenders import ALL
from benchmarks.load import Load
from benchmarks.report import Line, Role
from benchmarks.serving import CASES, MAIN, Run


def load(rate: float, *, p99_ms: float = 4.0, refused: int = 0) -> Load:
    return Load(requests_s=rate, p50_ms=1.0, p99_ms=p99_ms, requests=int(rate), refused=refused, broken=0)


def line(who: str, role: Role, rate: float, p99_ms: float = 10.0, case: str = MAIN) -> Line:
    return Line(who=who, role=role, case=case, figures={"requests/s": rate, "p99 ms": p99_ms})


def test_rounds_become_medians_a_spread_and_sums():
    runs = [Run(load(1000, p99_ms=9), 2.0, 300), Run(load(3000, p99_ms=3, refused=2), 4.0, 310), Run(load(2000, p99_ms=5), 6.0, 305)]
    assert serving.summarize(runs) == {
        "requests/s": 2000,
        "low": 1000,
        "high": 3000,
        "p50 ms": 1.0,
        "p99 ms": 5,
        "CPU s/1,000": 2.0,
        "peak MiB": 310,
        "errors": 2,
    }


def test_a_contender_that_answered_nothing_has_no_cpu_figure_instead_of_an_infinite_one():
    assert serving.summarize([Run(load(0), 1.0, 10)])["CPU s/1,000"] == 0


def test_targets_compare_with_the_best_of_each_kind():
    lines = [
        line("Homeostat", "ours", 3000, p99_ms=8),
        line("MLServer", "peer", 800, p99_ms=40),
        line("MLServer, encoded rows", "peer", 900, p99_ms=20),
        line("LitServe", "peer", 1000),
        line("plain Ray Serve", "peer", 150),
        line("bare uvicorn", "limit", 4000),
        line("bare granian", "limit", 5000),
        line("LitServe", "peer", 9999, case=str(CASES[0])),
        line("plain Ray Serve, fast path", "variant", 9999),
    ]
    assert [target.found for target in serving.targets(lines)] == [3.0, 20.0, 0.6, 0.4]
    assert [target.is_met for target in serving.targets(lines)] == [True, True, False, True]


@pytest.mark.parametrize("lines", [[], [line("Homeostat", "ours", 3000)], [line("LitServe", "peer", 1000)]])
def test_what_was_not_measured_is_neither_met_nor_made_up(lines: list[Line]):
    assert [target.found for target in serving.targets(lines)] == [None] * 4
    assert not any(target.is_met for target in serving.targets(lines))


def test_cases_are_named_by_rows_and_connections():
    assert [str(case) for case in CASES] == ["1 row × 1", "1 row × 16", "1 row × 64", "64 rows × 16"]


def test_homeostat_is_measured_first_and_the_limits_last():
    assert next(iter(ALL)) == "homeostat"
    assert list(ALL)[-2:] == ["uvicorn", "granian"]
