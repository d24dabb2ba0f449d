"""Measure and report; see `benchmarks.alarms`.

python -m benchmarks.alarms [--quick] [--streams N] [--only NAME] [--markdown]
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import Final, NamedTuple

import msgspec

from benchmarks import environments, report
from benchmarks.alarms import elsewhere, tables
from benchmarks.alarms.counting import SOON
from benchmarks.alarms.measure import cost, measure
from benchmarks.alarms.promises import targets_of
from benchmarks.alarms.streams import MEAN_RUN, WINDOW_ROWS
from benchmarks.alarms.trial import AFTER, BEFORE, BUDGET, HEALTHY, REFERENCE
from benchmarks.report import Context, Line, Report, console
from cluster.errors import HomeostatError

PROCESSES: Final = 2
STREAMS: Final = 200
QUICK_STREAMS: Final = 16
NAMES: Final = ("alarms", "alarms-found", "alarms-cost")
COMPARED: Final = ("any alarm %", "useful %", "cpu s per million rows")


class Run(NamedTuple):
    """What a run gave."""

    calm: list[Line]
    found: list[Line]
    costs: list[Line]
    off: dict[str, float]
    """How far our distances are from Evidently's, by table."""
    failed: dict[str, str]
    """What could not be measured, and why."""


def run(names: Sequence[str], *, streams: int) -> Run:
    """Tables side by side, each in a process of its own; then, with nothing beside it, what watching costs.

    Raises
    ------
    Unavailable
        When the environment of the peers cannot be made.
    """
    environments.python(elsewhere.ENVIRONMENT)
    made = Run([], [], [], {}, {})
    with ProcessPoolExecutor(PROCESSES, mp_context=multiprocessing.get_context("spawn")) as pool:
        waiting = {name: pool.submit(measure, name, streams=streams) for name in names}
        for name, future in waiting.items():
            try:
                calm, found = future.result()
            except HomeostatError as error:
                made.failed[name] = str(error)
            else:
                made.calm.extend(calm)
                made.found.extend(found)
    for name in names:
        try:
            lines, made.off[name] = cost(name)
        except HomeostatError as error:
            made.failed[f"{name}, cost"] = str(error)
        else:
            made.costs.extend(lines)
    return made


def reports(context: Context, made: Run, *, streams: int) -> list[Report]:
    """What is written: false alarms, with all that was promised; changes found; costs."""
    setup: dict[str, float] = {"streams": streams, "reference": REFERENCE, "healthy": HEALTHY, "before": BEFORE, "after": AFTER}
    setup |= {"budget_windows": BUDGET, "mean_run": MEAN_RUN, "soon": SOON}
    targets = targets_of(made.calm, made.found, made.costs, made.off)
    return [
        Report(
            name=name,
            context=context,
            setup=setup,
            lines=lines,
            compared=compared,
            ratios=report.ratios(lines, of=compared),
            targets=targets if lines is made.calm else [],
            not_measured=made.failed if lines is made.calm else {},
        )
        for name, lines, compared in zip(NAMES, (made.calm, made.found, made.costs), COMPARED, strict=True)
    ]


def _write(made: Sequence[Report], suffix: str) -> None:
    report.FOLDER.mkdir(parents=True, exist_ok=True)
    for one in made:
        (report.FOLDER / f"{one.name}{suffix}.json").write_bytes(msgspec.json.format(msgspec.json.encode(one), indent=1) + b"\n")


def _read(suffix: str) -> list[Report]:
    return [msgspec.json.decode((report.FOLDER / f"{name}{suffix}.json").read_bytes(), type=Report) for name in NAMES]


def _options() -> argparse.Namespace:
    parser = report.arguments("False alarms and detection delay, beside peers, on block-resampled real streams.")
    parser.add_argument(
        "--streams", type=int, metavar="N", help=f"healthy streams of each table, {STREAMS} unless told; a quarter of it a change"
    )
    parser.add_argument("--only", choices=list(WINDOW_ROWS), help="one table; written beside the whole run's files")
    parser.add_argument("--markdown", action="store_true", help="print the last run as Markdown, and measure nothing")
    return parser.parse_args()


def _measured(options: argparse.Namespace) -> list[Report]:
    streams = options.streams or (QUICK_STREAMS if options.quick else STREAMS)
    context = msgspec.structs.replace(report.context(quick=options.quick), command=" ".join(["python -m benchmarks.alarms", *sys.argv[1:]]))
    return reports(context, run([options.only] if options.only else list(WINDOW_ROWS), streams=streams), streams=streams)


def main() -> int:
    """Run and report, or render what the last run found; exit code 0, or 1 where something was not measured."""
    options = _options()
    suffix = f"-{options.only}" if options.only else ""
    if not options.markdown:
        try:
            _write(_measured(options), suffix)
        except HomeostatError as error:
            console.print(f"{type(error).__name__}: {error}", soft_wrap=True, markup=False)
            return 1
    made = _read(suffix)
    sys.stdout.write(tables.markdown(*made))
    return 1 if made[0].not_measured else 0


if __name__ == "__main__":
    sys.exit(main())
