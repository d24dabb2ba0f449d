"""What callers lose while the monitor runs: one service, asked in turns with its monitor and without.

A round asks both, one right after the other; who is first changes from round to round, so that what drifts on the machine cancels out.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
from scipy import stats

from benchmarks import load
from benchmarks.bodies import as_rows
from benchmarks.contenders import homeostat
from benchmarks.monitoring.switch import Switch, fixed
from benchmarks.report import Line, Target, console
from benchmarks.servers import running
from benchmarks.serving import COMPARED, Case, Run, summarize
from benchmarks.stage import Stage, prepare_stage
from benchmarks.usage import Meter

CASES: Final = (Case(1, 16), Case(64, 16))
WANTED: Final = 0.95
CONFIDENCE: Final = 0.95
WARM_UP_S: Final = 3


class Interval(NamedTuple):
    """A ratio, and where it lies with `CONFIDENCE`."""

    ratio: float
    lower: float
    upper: float


def order(rounds: int) -> Iterator[tuple[int, str]]:
    """Rounds from 1, each with both states; who is first changes."""
    for number in range(1, rounds + 1):
        for state in ("off", "on") if number % 2 else ("on", "off"):
            yield number, state


def ask(url: str, stage: Stage, case: Case, mark: str, *, duration_s: int) -> Run:
    """One run of load."""
    bodies = [as_rows(block) for block in stage.blocks(case.rows)]
    with Meter(mark) as meter:
        found = load.run(url, bodies, connections=case.connections, duration_s=duration_s, headers=stage.headers)
    return Run(found, meter.cpu_s, meter.peak_mib)


Turns = dict[tuple[Case, str], list[Run]]
"""By case, and `on` or `off`: a run a round."""


def take_turns(root: Path, *, rounds: int, duration_s: int) -> Turns:
    """All rounds of one service.

    Raises
    ------
    ConfigError
        When the load generator is missing.
    Unavailable
        When the service does not come up.
    """
    import ray

    load.generator()
    stage, turns = fixed(prepare_stage(root)), defaultdict[tuple[Case, str], list[Run]](list)
    contender = homeostat()(stage)
    with running(contender, stage.bodies[0], stage.headers, log=stage.logs / "switched.log") as mark:
        try:
            switch = Switch(stage)
            switch.ready()
            switch.on()
            for case in CASES:
                ask(contender.url, stage, case, mark, duration_s=WARM_UP_S)
            for number, state in order(rounds):
                with console.status(f"round {number} of {rounds}: {state}"):
                    switch.on() if state == "on" else switch.off()
                    for case in CASES:
                        turns[case, state].append(ask(contender.url, stage, case, mark, duration_s=duration_s))
        finally:
            ray.shutdown()  # a driver that outlives its cluster is ended by Ray without a word
    return turns


def interval(on: Sequence[float], off: Sequence[float]) -> Interval | None:
    """The geometric mean of on / off over rounds, with Student's interval of its logarithm; no bounds of a single round, None where a rate is 0.

    Assumes that rounds are independent of each other, and logarithms near enough to a normal law for their mean to have one.
    """
    if not on or min(*on, *off) <= 0:
        return None
    logs = np.log(np.array(on) / np.array(off))
    half = np.inf if len(logs) < 2 else stats.t.ppf((1 + CONFIDENCE) / 2, len(logs) - 1) * logs.std(ddof=1) / np.sqrt(len(logs))
    return Interval(*(float(value) for value in np.exp([logs.mean(), logs.mean() - half, logs.mean() + half])))


def ratio_of(turns: Turns, case: Case) -> Interval | None:
    """Throughput with the monitor beside that without, in one case."""
    on, off = ([run.load.requests_s for run in turns[case, state]] for state in ("on", "off"))
    return interval(on, off)


def lines_of(turns: Turns) -> list[Line]:
    """On beside off, which is the limit."""
    return [
        Line(who=f"monitor {state}", role="ours" if state == "on" else "limit", case=str(case), figures=summarize(runs))
        for (case, state), runs in turns.items()
    ]


def targets(turns: Turns) -> list[Target]:
    """What issue 5 promises of serving while the monitor runs."""
    found = []
    for case in CASES:
        ratio = ratio_of(turns, case)
        spread = "" if ratio is None else f" (95 % interval {ratio.lower:.3f} to {ratio.upper:.3f})"
        what = f"{case}: {COMPARED} on / off, geometric mean of rounds{spread}"
        found.append(Target(what=what, bound="at least", wanted=WANTED, found=None if ratio is None else ratio.ratio))
    return found
