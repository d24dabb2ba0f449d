"""How the figures of quality are shown: a table a data set, on a terminal or as Markdown for the documentation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from rich.table import Table

from benchmarks.quality.cases import CASES
from benchmarks.report import Line, Report, Target

_COSTS: Final = ("train_s", "trials", "one_row_us")
_HEADINGS: Final = {"train_s": "training, s", "one_row_us": "one row, µs"}
_BOLD: Final = "ensemble"


def table(case: str, lines: Sequence[Line]) -> Table:
    """The figures of one data set."""
    names = _names(lines)
    shown = Table(title=case, title_justify="left")
    shown.add_column("who", no_wrap=True)
    for name in names:
        shown.add_column(_heading(name), justify="right")
    for line in lines:
        shown.add_row(line.who, *_cells(line, names), style="bold" if line.who == _BOLD else None)
    return shown


def markdown(report: Report) -> str:
    """Every data set with its split, its figures and its verdicts."""
    how = {case.name: case.how for case in CASES}
    parts = []
    for case in dict.fromkeys(line.case for line in report.lines):
        lines = [line for line in report.lines if line.case == case]
        names = _names(lines)
        rows = [["", *map(_heading, names)], ["---", *("---:" for _ in names)]]
        rows += [[f"**{line.who}**" if line.who == _BOLD else line.who, *_cells(line, names)] for line in lines]
        verdicts = [f"- {verdict(target)}" for target in report.targets if target.what.startswith(f"{case}: ")]
        parts.append("\n".join([f"### {case}", f"{how[case]}.", "", *("| " + " | ".join(row) + " |" for row in rows), "", *verdicts]))
    made = report.context
    where = f"{made.cores} cores, {made.system}, Python {made.python}, {made.date}, load before {made.load_before}; `{made.command}`"
    return "\n\n".join([*parts, where]) + "\n"


def verdict(target: Target) -> str:
    """A promise, what was found, and whether it is kept."""
    if target.found is None:
        return f"{target.what}: not measured"
    return f"{target.what}: {target.found:.4f}, wanted {target.bound} {target.wanted:g}: {'yes' if target.is_met else 'no'}"


def _names(lines: Sequence[Line]) -> list[str]:
    """Metrics first, then what they cost."""
    found = list(dict.fromkeys(name for line in lines for name in line.figures))
    return [name for name in found if name not in _COSTS] + [name for name in _COSTS if name in found]


def _heading(name: str) -> str:
    return _HEADINGS.get(name, name.replace("_", " "))


def _cells(line: Line, names: Sequence[str]) -> list[str]:
    return [_number(name, line.figures[name]) if name in line.figures else "" for name in names]


def _number(name: str, value: float) -> str:
    if name == "one_row_us":
        return f"{value:.1f}" if value < 100 else f"{value:.0f}"
    return f"{value:.0f}" if name in _COSTS else f"{value:.4f}"
