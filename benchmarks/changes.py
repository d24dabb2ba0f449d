"""What callers notice while something changes: swaps, rolling updates, scaling, and killed processes, under steady load.

`homeostat serve` with the model of `benchmarks.serving`, sixteen connections that always have one request under way, and one kind
of change after another. A call that fails is sent again once, as a client would (for up to eight seconds where HAProxy dies).

python -m benchmarks.changes [--quick] [--only NAME]
"""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable, Sequence
from typing import Final, Literal, NamedTuple

import numpy as np

from benchmarks import report
from benchmarks.contenders import homeostat
from benchmarks.report import Line, Report, Target, console
from benchmarks.servers import running
from benchmarks.service import Service, Span
from benchmarks.stage import Stage, prepare_stage
from benchmarks.steady import BROKEN, OK, Call, calling, make_plan
from cluster.environment import ensure_token, prepare
from cluster.errors import HomeostatError

CONNECTIONS: Final = 16
STEADY_S: Final = 15
COMPARED: Final = "p99 ms"


class Calls(NamedTuple):
    """What became of calls, column by column, each of shape (n,)."""

    began: np.ndarray
    ended: np.ndarray
    stumbled: np.ndarray
    """Whether the first try failed."""
    broken: np.ndarray
    """Whether it was not answered at all."""
    failed: np.ndarray
    """Whether the last try failed."""

    @classmethod
    def of(cls, calls: Sequence[Call]) -> Calls:
        """The columns of a list."""
        began, ended, first, last = np.array([(c.began, c.ended, c.statuses[0], c.statuses[-1]) for c in calls]).reshape(-1, 4).T
        return cls(began, ended, first != OK, first == BROKEN, last != OK)

    def during(self, spans: Sequence[Span]) -> Calls:
        """Those under way at some moment of the spans."""
        chosen = np.zeros(len(self.began), dtype=bool)
        for span in spans:
            chosen |= (self.began < span.ended) & (self.ended > span.began)
        return Calls(*(column[chosen] for column in self))

    def under_way(self, moments: Sequence[float]) -> np.ndarray:
        """Whether each was under way at one of the moments."""
        found = np.zeros(len(self.began), dtype=bool)
        for moment in moments:
            found |= (self.began <= moment) & (self.ended > moment)
        return found

    def longest_gap_s(self, span: Span) -> float:
        """The longest time in a span without a good answer."""
        moments = self.ended[~self.failed & (self.ended > span.began) & (self.ended < span.ended)]
        return float(np.diff(np.sort(np.concatenate([span, moments]))).max())


class Kind(NamedTuple):
    """One kind of change, and what is promised while it happens."""

    title: str
    times: int
    quick_times: int
    change: Callable[[Service], Span]
    promise: Literal["no failure", "in flight only", "answers soon"]
    gateways: int = 1
    """So many are running when it begins."""
    rest_s: float = 2.0
    """Between one change and the next."""

    @property
    def patience_s(self) -> float:
        """How long a caller goes on trying."""
        return 8.0 if self.promise == "answers soon" else 0.0


def _there_and_back(service: Service) -> Span:
    return Span(service.scale(3).began, service.scale(1).ended)


KINDS: Final[dict[str, Kind]] = {
    "swaps": Kind("swap of the champion", 100, 3, Service.swap, "no failure", rest_s=0.2),
    "updates": Kind("rolling update", 10, 1, Service.update, "no failure"),
    "scaling": Kind("gateways 1 → 3 → 1", 1, 1, _there_and_back, "no failure"),
    "gateway": Kind("kill -9, one of two gateways", 10, 1, Service.kill_gateway, "in flight only", gateways=2),
    "haproxy": Kind("kill -9, HAProxy", 3, 1, Service.kill_haproxy, "answers soon"),
    "manager": Kind("kill -9, HAProxy's manager", 3, 1, Service.kill_manager, "answers soon"),
}


class Observation(NamedTuple):
    """What callers saw of one kind of change."""

    kind: Kind
    steady: Span
    changes: list[Span]
    calls: Calls


def observe(service: Service, stage: Stage, kind: Kind, *, quick: bool) -> Observation:
    """Call steadily, then change while calling."""
    service.scale(kind.gateways)
    patient = kind.patience_s > 0
    plan = make_plan(
        f"http://127.0.0.1:{stage.settings.serving.port}/v1/predict",
        stage.bodies,
        connections=CONNECTIONS,
        headers=stage.headers,
        retries=1_000 if patient else 1,
        patience_s=kind.patience_s or 60.0,
        pause_s=0.1,
    )
    changes = []
    with calling(plan) as calls:
        time.sleep(1 if quick else 3)  # warms up
        began = time.monotonic()
        time.sleep(2 if quick else STEADY_S)
        steady = Span(began, time.monotonic())
        for _ in range(kind.quick_times if quick else kind.times):
            changes.append(kind.change(service))
            time.sleep(kind.rest_s)
    return Observation(kind, steady, changes, Calls.of(calls))


def summarize(calls: Calls, spans: Sequence[Span]) -> dict[str, float]:
    """Counts, latencies and the longest gap of the calls under way in the spans."""
    seen = calls.during(spans)
    latencies_ms = (seen.ended - seen.began)[~seen.failed] * 1e3
    p50, p99 = np.percentile(latencies_ms, [50, 99]) if latencies_ms.size else (0.0, 0.0)
    return {
        "requests": len(seen.began),
        "failed": int(seen.stumbled.sum()),
        "broken": int(seen.broken.sum()),
        "failed, retried": int(seen.failed.sum()),
        "p50 ms": float(p50),
        COMPARED: float(p99),
        "longest gap s": max((calls.longest_gap_s(span) for span in spans), default=0.0),
    }


def lines_of(seen: Observation) -> list[Line]:
    """The changes beside the same service when nothing changes."""
    case = f"{len(seen.changes)} × {seen.kind.title}"
    return [
        Line(who="steady", role="limit", case=case, figures=summarize(seen.calls, [seen.steady])),
        Line(who="during", role="ours", case=case, figures=summarize(seen.calls, seen.changes)),
    ]


def targets_of(seen: Observation) -> list[Target]:
    """What issue 3 promises of a kind of change."""
    steady, changing = (line.figures for line in lines_of(seen))
    title = seen.kind.title

    def at_most(wanted: float, what: str, found: float) -> Target:
        return Target(what=f"{title}: {what}", bound="at most", wanted=wanted, found=found)

    found = [at_most(0, "failed, with retries", changing["failed, retried"])]
    if seen.kind.promise == "no failure":
        found.append(at_most(0, "failed", changing["failed"]))
    if seen.kind.promise == "in flight only":
        found.append(at_most(0, "failed, of those sent after the kill", _failed_later(seen)))
    if seen.kind.promise == "answers soon":
        found.append(at_most(6, "seconds without an answer", changing["longest gap s"]))
    if seen.kind.change is Service.swap and steady[COMPARED]:
        found.append(at_most(2, "p99 / steady p99", changing[COMPARED] / steady[COMPARED]))
    return found


def _failed_later(seen: Observation) -> int:
    """Calls whose first try failed though nothing was done to the service while it was under way: those sent after a kill."""
    calls = seen.calls.during(seen.changes)
    return int((calls.stumbled & ~calls.under_way([span.began for span in seen.changes])).sum())


def compare(chosen: Sequence[str], *, name: str, quick: bool) -> Report:
    """Start the service once and make every kind of change.

    Raises
    ------
    Unavailable
        When the service does not come up, or a change does not come into force.
    """
    import ray

    made = report.context(quick=quick)
    ensure_token()
    stage = prepare_stage(report.FOLDER / "serving")
    observed = []
    with running(homeostat()(stage), stage.bodies[0], stage.headers, log=stage.logs / "changes.log") as mark:
        try:
            service = Service(stage, mark)
            for kind in chosen:
                with console.status(KINDS[kind].title):
                    observed.append(observe(service, stage, KINDS[kind], quick=quick))
        finally:
            ray.shutdown()  # a driver that outlives its cluster is ended by Ray without a word
    lines = [line for seen in observed for line in lines_of(seen)]
    return Report(
        name=name,
        context=made,
        setup={"connections": CONNECTIONS, "steady_s": 2 if quick else STEADY_S},
        lines=lines,
        compared=COMPARED,
        ratios=report.ratios(lines, of=COMPARED),
        targets=[target for seen in observed for target in targets_of(seen)],
    )


def main() -> int:
    """Run and report; exit code 0, or 1 with a named error."""
    prepare()
    parser = report.arguments("What callers notice while something changes.")
    parser.add_argument("--only", action="append", metavar="NAME", choices=list(KINDS), help=f"one of: {', '.join(KINDS)}")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the service is ended
    try:
        found = compare(options.only or list(KINDS), name="changes" + "-part" * bool(options.only), quick=options.quick)
    except HomeostatError as error:
        console.print(f"{type(error).__name__}: {error}", soft_wrap=True, markup=False)
        return 1
    report.publish(found, title=f"{CONNECTIONS} connections, each with a request under way; × limit: beside the steady service")
    return 0


if __name__ == "__main__":
    sys.exit(main())
