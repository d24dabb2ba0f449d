"""The convention of all benchmarks: what a figure is, where a run was made, how both are shown and kept.

Each `python -m benchmarks.NAME` prints one table with peers and the limit side by side, writes `var/bench/NAME.json`
and takes `--quick`. Absolute figures belong to one machine and one hour; the ratios beside them travel.
"""

from __future__ import annotations

import argparse
import datetime as dt
import importlib.metadata
import os
import platform
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Literal

import msgspec
from rich.console import Console
from rich.table import Table

from cluster.records import Record
from training.lineage import code_commit

FOLDER: Final = Path("var/bench")
PACKAGES: Final = ("ray", "onnxruntime", "xgboost", "numpy", "uvicorn", "msgspec")
console = Console(highlight=False, width=None if sys.stdout.isatty() else 140)

Role = Literal["ours", "peer", "limit", "variant"]


class Context(Record, frozen=True, kw_only=True):
    """Where and when a run was made."""

    command: str
    date: str
    """ISO 8601, UTC."""
    commit: str | None
    """With `+` when the checkout had changes."""
    cores: int
    load_before: float
    """Load average of the minute before: well above 0 means that others were using the machine."""
    system: str
    python: str
    versions: dict[str, str]
    quick: bool


class Line(Record, frozen=True, kw_only=True):
    """The figures of one contender in one case."""

    who: str
    role: Role
    """`ours` once a case; `limit` is what the machine gives without any of the features, the best of them where there are several."""
    case: str
    figures: dict[str, float]


class Ratios(Record, frozen=True, kw_only=True):
    """A line's figure beside ours and the limit's of the same case; None where there is nothing to compare with."""

    to_ours: float | None
    to_limit: float | None


class Target(Record, frozen=True, kw_only=True):
    """A figure that was promised."""

    what: str
    bound: Literal["at least", "at most"]
    wanted: float
    found: float | None
    """None when it could not be measured."""

    @property
    def is_met(self) -> bool:
        """Whether the promise is kept; what was not measured is not."""
        if self.found is None:
            return False
        return self.found >= self.wanted if self.bound == "at least" else self.found <= self.wanted


class Report(Record, frozen=True, kw_only=True):
    """What `var/bench/NAME.json` holds."""

    name: str
    context: Context
    setup: dict[str, float]
    """Sizes of this benchmark; units in the names."""
    lines: list[Line]
    compared: str
    """The figure whose ratios these are."""
    ratios: list[Ratios]
    """One a line, in the order of `lines`."""
    targets: list[Target] = msgspec.field(default_factory=list)
    not_measured: dict[str, str] = msgspec.field(default_factory=dict)
    """Who, and why."""


def arguments(description: str) -> argparse.ArgumentParser:
    """The options every benchmark takes; add your own to it."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--quick", action="store_true", help="a short run: enough to see that it works, too short to quote")
    return parser


def context(*, quick: bool) -> Context:
    """Describe this run."""
    return Context(
        command="python -m " + " ".join([Path(sys.argv[0]).parent.name + "." + Path(sys.argv[0]).stem, *sys.argv[1:]]),
        date=dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        commit=code_commit(),
        cores=os.cpu_count() or 1,
        load_before=round(os.getloadavg()[0], 2),
        system=f"{platform.system()} {platform.machine()}",
        python=platform.python_version(),
        versions={name: importlib.metadata.version(name) for name in PACKAGES},
        quick=quick,
    )


def ratios(lines: Sequence[Line], *, of: str) -> list[Ratios]:
    """Each line's figure divided by that of ours, and by that of the best limit, in the same case.

    Parameters
    ----------
    of
        Key of the figure; more is better.
    """

    def base(role: Role, case: str) -> float | None:
        return max((line.figures[of] for line in lines if line.role == role and line.case == case), default=None)

    def ratio(line: Line, role: Role) -> float | None:
        divisor = base(role, line.case)
        return line.figures[of] / divisor if divisor else None

    return [Ratios(to_ours=ratio(line, "ours"), to_limit=ratio(line, "limit")) for line in lines]


def table(title: str, lines: Sequence[Line], *, compared: str) -> Table:
    """Lines by case, each with its ratio to ours and to the limit."""
    columns = list(lines[0].figures) if lines else []
    shown = Table(title=title, title_justify="left")
    for name in ("case", "who"):
        shown.add_column(name, no_wrap=True)
    for name in (*columns, "× ours", "× limit"):
        shown.add_column(name, justify="right")
    rows = list(zip(lines, ratios(lines, of=compared), strict=True))
    for case in dict.fromkeys(line.case for line in lines):
        for line, ratio in (row for row in rows if row[0].case == case):
            cells = [_number(line.figures[name]) for name in columns] + [_ratio(ratio.to_ours), _ratio(ratio.to_limit)]
            shown.add_row(case, line.who, *cells, style="bold" if line.role == "ours" else None)
        shown.add_section()
    return shown


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 or value == int(value) else f"{value:.2f}"


def _ratio(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def _target(target: Target) -> str:
    wanted = f"wanted {target.bound} {target.wanted:g}"
    if target.found is None:
        return f"{target.what}: not measured; {wanted}"
    return f"{target.what}: {target.found:.2f}; {wanted}: {'met' if target.is_met else 'not met'}"


def publish(report: Report, *, title: str, folder: Path = FOLDER) -> Path:
    """Print a report's table and write its JSON; returns the file."""
    console.print(table(title, report.lines, compared=report.compared))
    made = report.context
    for who, reason in report.not_measured.items():
        console.print(f"{who}: not measured: {reason}", soft_wrap=True, markup=False)
    for target in report.targets:
        console.print(_target(target), soft_wrap=True)
    console.print(f"{made.cores} cores, {made.system}, Python {made.python}, {made.date}, load before {made.load_before}", soft_wrap=True)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{report.name}.json"
    path.write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=1) + b"\n")
    console.print(f"written to {path}")
    return path
