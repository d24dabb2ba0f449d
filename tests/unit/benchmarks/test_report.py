import io
from pathlib import Path
from typing import Literal

import msgspec
import pytest
from rich.console import Console

from benchmarks import report
from benchmarks.report import Line, Ratios, Report, Role, Target

LINES = [
    Line(who="Homeostat", role="ours", case="16", figures={"requests/s": 3000.0, "p99 ms": 4.5}),
    Line(who="another", role="peer", case="16", figures={"requests/s": 600.0, "p99 ms": 30.0}),
    Line(who="bare", role="limit", case="16", figures={"requests/s": 4000.0, "p99 ms": 3.0}),
    Line(who="Homeostat", role="ours", case="64", figures={"requests/s": 2000.0, "p99 ms": 9.0}),
]


def shown(lines: list[Line]) -> str:
    screen = Console(file=io.StringIO(), width=100)
    screen.print(report.table("figures", lines, compared="requests/s"))
    assert isinstance(screen.file, io.StringIO)
    return screen.file.getvalue()


def test_every_line_is_compared_with_ours_and_the_limit_of_its_own_case():
    assert report.ratios(LINES, of="requests/s") == [
        Ratios(to_ours=1.0, to_limit=0.75),
        Ratios(to_ours=0.2, to_limit=0.15),
        Ratios(to_ours=4000 / 3000, to_limit=1.0),
        Ratios(to_ours=1.0, to_limit=None),
    ]


def test_a_contender_that_answered_nothing_makes_no_ratio_instead_of_an_infinite_one():
    lines = [
        msgspec.structs.replace(LINES[0], figures={"requests/s": 0.0}),
        msgspec.structs.replace(LINES[1], figures={"requests/s": 5.0}),
    ]
    assert report.ratios(lines, of="requests/s")[1].to_ours is None


def test_where_there_are_several_limits_the_best_is_the_measure():
    lines = [*LINES, Line(who="barer", role="limit", case="16", figures={"requests/s": 5000.0, "p99 ms": 9.0})]
    assert [ratio.to_limit for ratio in report.ratios(lines, of="requests/s")] == [0.6, 0.12, 0.8, None, 1.0]


@pytest.mark.parametrize(
    ("bound", "found", "is_met"),
    [("at least", 3.0, True), ("at least", 2.9, False), ("at most", 3.0, True), ("at most", 3.1, False), ("at most", None, False)],
)
def test_a_target_is_met_up_to_its_bound_and_never_unmeasured(bound: Literal["at least", "at most"], found: float | None, is_met: bool):
    assert Target(what="rate", bound=bound, wanted=3, found=found).is_met is is_met


def test_targets_and_what_was_not_measured_are_said_below_the_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    screen = Console(file=io.StringIO(), width=100)
    monkeypatch.setattr(report, "console", screen)
    made = Report(
        name="example",
        context=report.context(quick=True),
        setup={},
        lines=LINES,
        compared="requests/s",
        ratios=report.ratios(LINES, of="requests/s"),
        targets=[
            Target(what="rate / best peer's", bound="at least", wanted=3, found=5),
            Target(what="p99 / another's", bound="at most", wanted=0.5, found=None),
        ],
        not_measured={"BentoML": "the environment [bentoml] cannot be made"},
    )
    report.publish(made, title="an example", folder=tmp_path)
    assert isinstance(screen.file, io.StringIO)
    said = screen.file.getvalue().splitlines()
    assert "BentoML: not measured: the environment [bentoml] cannot be made" in said
    assert "rate / best peer's: 5.00; wanted at least 3: met" in said
    assert "p99 / another's: not measured; wanted at most 0.5" in said


def test_the_table_shows_figures_and_ratios_side_by_side():
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in shown(LINES).splitlines() if line.startswith("│")]
    assert rows == [
        ["16", "Homeostat", "3,000", "4.50", "1.00", "0.75"],
        ["16", "another", "600", "30", "0.20", "0.15"],
        ["16", "bare", "4,000", "3", "1.33", "1.00"],
        ["64", "Homeostat", "2,000", "9", "1.00", ""],
    ]


@pytest.mark.parametrize(("role", "expected"), [("ours", 1), ("variant", 0)])
def test_only_the_line_of_ours_is_the_measure(role: Role, expected: int):
    lines = [msgspec.structs.replace(LINES[0], role=role)]
    assert sum(ratio.to_ours is not None for ratio in report.ratios(lines, of="requests/s")) == expected


def test_the_file_holds_context_lines_and_ratios(tmp_path: Path):
    made = Report(
        name="example",
        context=report.context(quick=True),
        setup={"run_s": 2},
        lines=LINES,
        compared="requests/s",
        ratios=report.ratios(LINES, of="requests/s"),
    )
    path = report.publish(made, title="an example", folder=tmp_path)
    assert path == tmp_path / "example.json"
    read = msgspec.json.decode(path.read_bytes(), type=Report)
    assert read == made
    assert read.context.quick
    assert read.context.cores >= 1
    assert set(read.context.versions) == set(report.PACKAGES)
