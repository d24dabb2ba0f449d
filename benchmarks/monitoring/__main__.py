"""Both halves of the benchmark, and their tables."""

from __future__ import annotations

import signal
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Final

from benchmarks import report
from benchmarks.monitoring import alone, turns, watched
from benchmarks.monitoring.journaled import POLL_ROWS
from benchmarks.monitoring.path import Cost
from benchmarks.report import Context, Report, console
from benchmarks.serving import COMPARED
from cluster.environment import ensure_token, prepare
from cluster.errors import HomeostatError, Unavailable

HALVES: Final = ("path", "serving")
_WINDOW_ROWS: Final = 300_000
_QUICK_WINDOW_ROWS: Final = 30_000
_ROUNDS: Final = {"path": 3, "serving": 10}


def path(context: Context, *, quick: bool, rounds: int) -> Report:
    """Rows a second and core, beside Evidently.

    Raises
    ------
    Unavailable
        When the path itself cannot be measured.
    """
    folder, window_rows = report.FOLDER / "monitoring", _QUICK_WINDOW_ROWS if quick else _WINDOW_ROWS
    bundle = watched.prepare(folder, window_rows=window_rows)
    settings = watched.settings_of(folder)
    categories = [feature.name for feature in settings.columns.features if feature.type == "category"]
    ours: Mapping[int, Mapping[str, list[Cost]]] = {size: defaultdict(list) for size in alone.ENTRY_ROWS}
    peer, lacking = list[Cost](), dict[str, str]()
    for number in range(1, rounds + 1):
        for size, ways in ours.items():
            with console.status(f"round {number} of {rounds}: {alone.case_of(size)}"):
                for way, cost in alone.ours(folder, bundle, size).items():
                    ways[way].append(cost)
        with console.status(f"round {number} of {rounds}: Evidently"):
            try:
                peer += [] if lacking else [alone.evidently(folder, categories)]
            except Unavailable as error:
                lacking["evidently"] = str(error)
    lines = alone.lines_of(ours, peer)
    return Report(
        name="monitoring",
        context=context,
        setup={"features": len(settings.columns.names), "window_rows": window_rows, "poll_rows": POLL_ROWS, "rounds": rounds},
        lines=lines,
        compared=alone.COMPARED,
        ratios=report.ratios(lines, of=alone.COMPARED),
        targets=alone.targets(lines),
        not_measured=lacking,
    )


def serving(context: Context, *, quick: bool, rounds: int) -> Report:
    """Requests a second with the monitor and without."""
    ensure_token()
    duration_s = 1 if quick else 4
    taken = turns.take_turns(report.FOLDER / "serving", rounds=rounds, duration_s=duration_s)
    lines = turns.lines_of(taken)
    return Report(
        name="monitoring-serving",
        context=context,
        setup={"run_s": duration_s, "rounds": rounds},
        lines=lines,
        compared=COMPARED,
        ratios=report.ratios(lines, of=COMPARED),
        targets=turns.targets(taken),
    )


def run(halves: Sequence[str], *, quick: bool, rounds: int | None) -> None:
    """Measure and publish."""
    context = report.context(quick=quick)
    if "path" in halves:
        found = path(context, quick=quick, rounds=rounds or (1 if quick else _ROUNDS["path"]))
        report.publish(
            found, title=f"{found.setup['features']:.0f} features, windows of {found.setup['window_rows']:,.0f} rows; one core each"
        )
    if "serving" in halves:
        found = serving(context, quick=quick, rounds=rounds or (2 if quick else _ROUNDS["serving"]))
        report.publish(found, title=f"rows a request × connections, {found.setup['rounds']:.0f} rounds of {found.setup['run_s']:.0f} s")


def main() -> int:
    """Run and report; exit code 0, or 1 with a named error."""
    prepare()
    parser = report.arguments("Rows a second and core of the monitoring path, beside Evidently; and serving with the monitor on and off.")
    parser.add_argument("--only", choices=HALVES, help="one half")
    parser.add_argument(
        "--rounds", type=int, help=f"{_ROUNDS['path']} of the path and {_ROUNDS['serving']} of serving; 1 and 2 with --quick"
    )
    options = parser.parse_args()
    if options.rounds is not None and options.rounds < 1:
        parser.error("--rounds must be at least 1")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the service is ended
    try:
        run([options.only] if options.only else HALVES, quick=options.quick, rounds=options.rounds)
    except HomeostatError as error:
        console.print(f"{type(error).__name__}: {error}", soft_wrap=True, markup=False)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
