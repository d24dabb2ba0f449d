"""Measure and report; see `benchmarks.alarms`.

python -m benchmarks.alarms [--quick] [--only NAME]
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from benchmarks import report
from benchmarks.alarms import detectors
from benchmarks.alarms.changes import CHANGES, LABELS, Change
from benchmarks.alarms.streams import MEAN_RUN, WINDOW_ROWS, World, prepare
from benchmarks.alarms.trial import Found, Make, healthy, planted, upper_bound
from benchmarks.report import Line, Report, Target, console
from cluster.errors import HomeostatError

REFERENCE: Final = 60
HEALTHY: Final = 100
BEFORE: Final = 20
AFTER: Final = 50
BUDGET: Final = 2000.0
"""Windows to a false alarm: within 100 of them, the bound of the chance is then 5 %."""
SEED: Final = 20261126
SOON: Final = 10

OURS: Final = "Homeostat"
PEERS: Final[dict[str, Any]] = {"PSI > 0.2": detectors.Psi, "KS, Bonferroni": detectors.KsBonferroni, "KS, FDR": detectors.KsFdr}


def makers() -> dict[str, Make]:
    """Who is measured, by name."""

    def ours(world: World, windows: Sequence[Any]) -> detectors.Detector:
        return detectors.Ours(world, windows, threshold=BUDGET)

    return {OURS: ours, **PEERS}


def false_alarms(world: World, who: str, make: Make, *, streams: int) -> Line:
    """Streams in which nothing changes."""
    outcomes = [healthy(world, make, reference=REFERENCE, windows=HEALTHY, rng=np.random.default_rng([SEED, i])) for i in range(streams)]
    hits = sum(outcome.at is not None for outcome in outcomes)
    watched = sum(HEALTHY if outcome.at is None else outcome.at + 1 for outcome in outcomes)
    figures = {"streams": float(streams), "any alarm %": 100 * hits / streams, "upper %": 100 * upper_bound(hits, streams)}
    figures["first alarms in 1000 windows"] = 1000 * hits / watched
    return Line(who=who, role="ours" if who == OURS else "peer", case=world.name, figures=figures)


def detection(world: World, make: Make, change: Change, *, streams: int) -> list[Found]:
    """Streams in which one thing changes; none where the world has no such column."""
    found = []
    for i in range(streams):
        rng = np.random.default_rng([SEED, 1, i])
        one = planted(world, make, change, reference=REFERENCE, before=BEFORE, after=AFTER, rng=rng)
        if one is None:
            return []
        found.append(one)
    return found


def detection_line(world: World, who: str, change: Change, found: Sequence[Found]) -> Line:
    """How often a change was found, by whom it was rightly blamed, and how soon."""
    useful = [one.delay for one in found if one.is_right and not one.early and one.delay is not None]
    figures = {
        "useful %": 100 * len(useful) / len(found),
        "early %": 100 * sum(one.early for one in found) / len(found),
        f"within {SOON} %": 100 * sum(delay < SOON for delay in useful) / len(found),
    }
    if useful:
        figures["median delay"] = float(np.median(useful)) + 1
    return Line(who=who, role="ours" if who == OURS else "peer", case=f"{world.name}: {change.name}", figures=figures)


def cost(world: World) -> Line:
    """Processor seconds of the monitor's path for a million rows."""
    rows = [(world.X[w], world.scores[w], world.y[w]) for w in world.windows]
    watcher = detectors.Ours(world, rows[:REFERENCE], threshold=BUDGET)
    began, count = time.process_time(), 0
    for one in rows[REFERENCE:]:
        watcher.look(*one)
        count += len(one[2])
    figures = {"cpu s per million rows": (time.process_time() - began) / count * 1e6, "features": float(len(world.schema.features))}
    return Line(who=OURS, role="ours", case=world.name, figures=figures)


def run(names: Sequence[str], *, quick: bool) -> tuple[list[Line], list[Line], list[Line]]:
    """False alarms, detection, cost."""
    calm, found, costs = list[Line](), list[Line](), list[Line]()
    streams, each = (10, 4) if quick else (200, 25)
    for name in names:
        world = prepare(name)
        costs.append(cost(world))
        for who, make in makers().items():
            with console.status(f"{name}: {who}"):
                calm.append(false_alarms(world, who, make, streams=streams if who == OURS else min(streams, 40)))
                if who == OURS:
                    for change in (*CHANGES, LABELS):
                        if seen := detection(world, make, change, streams=each):
                            found.append(detection_line(world, who, change, seen))
    return calm, found, costs


def targets_of(calm: Sequence[Line], found: Sequence[Line], costs: Sequence[Line]) -> list[Target]:
    """What is promised."""
    made = []
    for line in (line for line in calm if line.role == "ours"):
        made.append(Target(what=f"{line.case}: streams with an alarm, %", bound="at most", wanted=5.0, found=line.figures["any alarm %"]))
        made.append(Target(what=f"{line.case}: its upper bound, %", bound="at most", wanted=10.0, found=line.figures["upper %"]))
    useful = float(np.mean([line.figures["useful %"] for line in found]))
    made.append(Target(what="planted changes found usefully, %", bound="at least", wanted=45.0, found=useful))
    plain = {change.name for change in CHANGES if change.plain}
    soon = [line.figures[f"within {SOON} %"] for line in found if line.case.partition(": ")[2] in plain]
    made.append(Target(what=f"plain changes within {SOON} windows, %", bound="at least", wanted=90.0, found=float(np.mean(soon))))
    worst = max(line.figures["cpu s per million rows"] for line in costs)
    made.append(Target(what="processor seconds per million rows, the worst", bound="at most", wanted=5.0, found=worst))
    return made


def main() -> int:
    """Run and report; exit code 0, or 1 with a named error."""
    parser = report.arguments("False alarms and detection delay, beside peers, on block-resampled real streams.")
    parser.add_argument("--only", action="append", metavar="NAME", choices=list(WINDOW_ROWS), help=f"one of: {', '.join(WINDOW_ROWS)}")
    options = parser.parse_args()
    context, names = report.context(quick=options.quick), options.only or list(WINDOW_ROWS)
    try:
        calm, found, costs = run(names, quick=options.quick)
    except HomeostatError as error:
        console.print(f"{type(error).__name__}: {error}", soft_wrap=True, markup=False)
        return 1
    setup = {"reference": REFERENCE, "healthy": HEALTHY, "before": BEFORE, "after": AFTER, "budget_windows": BUDGET, "mean_run": MEAN_RUN}
    targets = targets_of(calm, found, costs)
    for name, lines, compared, title in (
        ("alarms", calm, "any alarm %", f"streams of {HEALTHY} windows in which nothing changes"),
        ("alarms-found", found, "useful %", f"changes found within {AFTER} windows, with the column among two blamed"),
        ("alarms-cost", costs, "cpu s per million rows", "what watching costs"),
    ):
        kept, ratios = targets if lines is calm else [], report.ratios(lines, of=compared)
        made = Report(name=name, context=context, setup=setup, lines=lines, compared=compared, ratios=ratios, targets=kept)
        report.publish(made, title=title)
    return 0


if __name__ == "__main__":
    sys.exit(main())
