"""Three times the load that can be answered: how much is still answered in time, and how much is computed for nobody.

- Homeostat's batching with deadlines (`serve_apps.batching`) behind a thin ingress.
- Plain `@serve.batch`, as Ray Serve's documentation teaches it.

Both run the same scorer of known cost on Ray Serve with the same HTTP path, one after the other on the machine that also
runs the generator. First 64 callers take turns: that is the capacity. Then independent callers come at three times that rate,
at moments of a Poisson process that are the same for both; each allows one second, says so in `X-Request-Timeout`, and hangs up then.

python -m benchmarks.overload [--quick]
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Sequence
from typing import Final, NamedTuple

import httpx
import numpy as np

from benchmarks import callers, report
from benchmarks.callers import BROKEN, HUNG_UP, Heard
from benchmarks.report import Line, Report, Target, console
from benchmarks.servers import Contender, running
from cluster.environment import FAST_HTTP, LOCAL, ensure_token, prepare
from cluster.errors import HomeostatError
from cluster.runtime import free_port

TIMES: Final = 3
BUDGET_S: Final = 1.0
CALLERS: Final = 64
PATIENCE_S: Final = 10.0
BODY: Final = b"[1.0, 2.0]"
SEED: Final = 20261122
COMPARED: Final = "in time/s"
BEYOND: Final = f"{TIMES}× capacity"
OK: Final = 200


class Run(NamedTuple):
    """One phase of one contender."""

    heard: Sequence[Heard]
    seconds: float
    computed: int
    """Rows the server scored because of it."""


def contenders() -> list[Contender]:
    """Who is measured, in this order: same scorer, same settings of Ray, different batching."""
    ensure_token()
    return [
        _contender("Homeostat's batching", "ours", "benchmarks.deadline_batch"),
        _contender("plain @serve.batch", "peer", "benchmarks.peers.plain_batch"),
    ]


def _contender(who: str, role: report.Role, module: str) -> Contender:
    port = free_port()
    ports = {name: str(free_port()) for name in ("RAY_SERVE_HAPROXY_STATS_PORT", "RAY_SERVE_HAPROXY_METRICS_PORT")}
    environment = os.environ | FAST_HTTP | LOCAL | ports | {"OPENBLAS_NUM_THREADS": "1"}
    return Contender(who, role, [sys.executable, "-m", module, str(port)], environment, f"http://127.0.0.1:{port}/")


def computed(url: str) -> int:
    """Rows a contender has scored since it started, when it has nothing left to do."""
    before = -1
    while (now := int(httpx.get(url, timeout=PATIENCE_S * 3).text)) != before:
        before = now
        time.sleep(0.5)
    return now


def capacity(url: str, *, seconds: float) -> Run:
    """Callers in turn, who wait as long as it takes."""
    before = computed(url)
    heard = callers.closed_loop(url, BODY, callers=CALLERS, seconds=seconds, timeout_s=PATIENCE_S)
    return Run(heard, seconds, computed(url) - before)


def overload(url: str, *, per_second: float, seconds: float) -> Run:
    """Callers who do not wait for each other."""
    before = computed(url)
    due = callers.arrivals(per_second, seconds, rng=np.random.default_rng(SEED))
    heard = callers.open_loop(url, BODY, due, timeout_s=BUDGET_S)
    return Run(heard, seconds, computed(url) - before)


def summarize(run: Run, *, capacity_s: float | None = None) -> dict[str, float]:
    """The figures of one phase.

    Parameters
    ----------
    capacity_s
        Answers a second at capacity; None when this is the phase that measures it.
    """
    in_time = [heard.seconds for heard in run.heard if heard.status == OK]
    goodput = len(in_time) / run.seconds
    middle, late = np.percentile(in_time, [50, 99]) * 1e3 if in_time else (0.0, 0.0)
    return {
        "offered/s": len(run.heard) / run.seconds,
        COMPARED: goodput,
        "of capacity": goodput / capacity_s if capacity_s else 1.0,
        "for nobody": 1 - len(in_time) / run.computed if run.computed else 0.0,
        "p50 ms": float(middle),
        "p99 ms": float(late),
        "refused": sum(heard.status not in (OK, HUNG_UP, BROKEN) for heard in run.heard),
        "hung up": sum(heard.status == HUNG_UP for heard in run.heard),
        "broken": sum(heard.status == BROKEN for heard in run.heard),
    }


def measure(contender: Contender, *, quick: bool) -> list[Line]:
    """Both phases of one running contender, after a warm-up."""
    seconds = 4 if quick else 15
    capacity(contender.url, seconds=2)
    at_capacity = summarize(capacity(contender.url, seconds=seconds))
    rate = TIMES * at_capacity[COMPARED]
    beyond = summarize(overload(contender.url, per_second=rate, seconds=seconds), capacity_s=at_capacity[COMPARED])
    cases = ((f"{CALLERS} callers in turn", at_capacity), (BEYOND, beyond))
    return [Line(who=contender.who, role=contender.role, case=case, figures=figures) for case, figures in cases]


def targets(lines: Sequence[Line]) -> list[Target]:
    """What issue 3 promises of ours beyond capacity."""
    ours = next(line.figures for line in lines if line.role == "ours" and line.case == BEYOND)
    return [
        Target(what="answered in time, of capacity", bound="at least", wanted=0.9, found=ours["of capacity"]),
        Target(what="computed for nobody", bound="at most", wanted=0.01, found=ours["for nobody"]),
    ]


def compare(*, quick: bool) -> Report:
    """Measure both, one after the other.

    Raises
    ------
    Unavailable
        When a contender does not come up.
    """
    made, lines = report.context(quick=quick), list[Line]()
    for contender in contenders():
        log = report.FOLDER / "overload" / f"{contender.who}.log"
        with (
            console.status(f"{contender.who}: starting, then two phases"),
            running(contender, BODY, {"X-Request-Timeout": f"{PATIENCE_S:g}"}, log=log),
        ):
            lines += measure(contender, quick=quick)
    return Report(
        name="overload",
        context=made,
        setup={"times_capacity": TIMES, "budget_ms": BUDGET_S * 1e3, "callers": CALLERS},
        lines=lines,
        compared=COMPARED,
        ratios=report.ratios(lines, of=COMPARED),
        targets=targets(lines),
    )


def main() -> int:
    """Run and report; exit code 0, or 1 with a named error."""
    prepare()
    options = report.arguments("Goodput and wasted work at three times capacity, beside plain @serve.batch.").parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that contenders are ended
    try:
        found = compare(quick=options.quick)
    except HomeostatError as error:
        console.print(f"{type(error).__name__}: {error}", soft_wrap=True, markup=False)
        return 1
    report.publish(found, title=f"callers allow {BUDGET_S * 1e3:.0f} ms; latencies are of requests answered in time")
    return 0


if __name__ == "__main__":
    sys.exit(main())
