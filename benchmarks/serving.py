"""Requests a second, latency, CPU and memory beside peers and limits: one-row requests over 1, 16 and 64 connections, 64-row over 16.

- Homeostat as `homeostat serve` starts it: token, validation, cascade, journal and monitor on. Only retraining is off.
- Peers, with the same student graph, each as its documentation teaches: MLServer, LitServe, BentoML, `mlflow models serve`, plain Ray Serve.
- Limits: bare uvicorn and bare granian, which decode, score and answer, and no more.

All score the same rows, one server after another on the machine that also runs the generator; rounds repeat the whole circle, so that
what drifts on the machine is seen as spread. Peers answer with the student alone, which favours them: Homeostat also asks its ensemble
about the rows that need it.

python -m benchmarks.serving [--quick] [--rounds N] [--only NAME] [--variants]
"""

from __future__ import annotations

import signal
import statistics
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from benchmarks import load, report
from benchmarks.contenders import ALL, VARIANTS, Make
from benchmarks.report import Line, Report, Target, console
from benchmarks.servers import Contender, ask, running
from benchmarks.stage import Stage, prepare_stage
from benchmarks.usage import Meter
from cluster.environment import ensure_token, prepare
from cluster.errors import HomeostatError, Unavailable

COMPARED: Final = "requests/s"
ROUNDS: Final = 3


class Case(NamedTuple):
    """Rows in a request, and connections that send them."""

    rows: int
    connections: int

    def __str__(self) -> str:
        return f"{self.rows} row{'s' * (self.rows > 1)} × {self.connections}"


CASES: Final = (Case(1, 1), Case(1, 16), Case(1, 64), Case(64, 16))
MAIN: Final = str(Case(1, 16))


class Run(NamedTuple):
    """What one run of load saw, and what it cost the contender."""

    load: load.Load
    cpu_s: float
    peak_mib: float


def measure(contender: Contender, stage: Stage, mark: str, *, duration_s: int) -> Iterator[tuple[Case, Run]]:
    """All cases of one running contender, once, after a warm-up."""
    bodies = {case.rows: [contender.shape(block) for block in stage.blocks(case.rows)] for case in CASES}

    def one(case: Case, seconds: int) -> load.Load:
        return load.run(contender.url, bodies[case.rows], connections=case.connections, duration_s=seconds, headers=stage.headers)

    one(Case(64, 16), 1)
    one(Case(1, 16), contender.warm_up_s)
    for case in CASES:
        with Meter(mark) as meter:
            found = one(case, duration_s)
        yield case, Run(found, meter.cpu_s, meter.peak_mib)


def summarize(runs: Sequence[Run]) -> dict[str, float]:
    """Medians over rounds, the spread of the throughput, the highest memory, and all errors."""
    rates = [run.load.requests_s for run in runs]
    answered = sum(run.load.requests for run in runs)
    return {
        COMPARED: statistics.median(rates),
        "low": min(rates),
        "high": max(rates),
        "p50 ms": statistics.median(run.load.p50_ms for run in runs),
        "p99 ms": statistics.median(run.load.p99_ms for run in runs),
        "CPU s/1,000": sum(run.cpu_s for run in runs) / answered * 1000 if answered else 0.0,
        "peak MiB": max(run.peak_mib for run in runs),
        "errors": sum(run.load.errors for run in runs),
    }


def targets(lines: Sequence[Line]) -> list[Target]:
    """What issue 3 promises of one-row requests over 16 connections."""
    found = {line.who: line for line in lines if line.case == MAIN}
    ours = next((line for line in found.values() if line.role == "ours"), None)
    plain = "plain Ray Serve"
    servers = [line.figures[COMPARED] for line in found.values() if line.role == "peer" and line.who != plain]
    limits = [line.figures[COMPARED] for line in found.values() if line.role == "limit"]
    tails = [line.figures["p99 ms"] for line in found.values() if line.who.startswith("MLServer")]

    def ratio(figure: str, divisor: float | None) -> float | None:
        return ours.figures[figure] / divisor if ours and divisor else None

    alone = found[plain].figures[COMPARED] if plain in found else None
    return [
        Target(what="requests/s / best peer's", bound="at least", wanted=3, found=ratio(COMPARED, max(servers, default=None))),
        Target(what="requests/s / plain Ray Serve's", bound="at least", wanted=15, found=ratio(COMPARED, alone)),
        Target(what="requests/s / best limit's", bound="at least", wanted=0.7, found=ratio(COMPARED, max(limits, default=None))),
        Target(what="p99 / MLServer's", bound="at most", wanted=0.5, found=ratio("p99 ms", min(tails, default=None))),
    ]


def escalated(contender: Contender, stage: Stage) -> float:
    """Share of the rows that the ensemble answers."""
    answers = [ask(contender.url, body, stage.headers).json()["predictions"][0]["answered_by"] for body in stage.bodies]
    return answers.count("ensemble") / len(answers)


class Tally:
    """What has been measured so far, and who could not be."""

    def __init__(self, stage: Stage, *, duration_s: int) -> None:
        self._stage, self._duration_s = stage, duration_s
        self._runs: dict[tuple[str, report.Role, Case], list[Run]] = defaultdict(list)
        self.not_measured: dict[str, str] = {}
        self.ensemble_share = 0.0

    def prepare(self, chosen: Mapping[str, Make]) -> list[Contender]:
        """Those that can be started here."""
        found = []
        for name, make in chosen.items():
            with console.status(f"{name}: an environment of its own takes a minute, once"):
                try:
                    found.append(make(self._stage))
                except Unavailable as error:
                    self.not_measured[name] = str(error)
        return found

    def visit(self, contender: Contender) -> None:
        """Start a contender, measure it in all cases, and end it; one that does not come up is left out from then on."""
        if contender.who in self.not_measured:
            return
        stage = self._stage
        stage.forget()
        try:
            with running(contender, contender.shape(stage.rows[:1]), stage.headers, log=stage.logs / f"{contender.who}.log") as mark:
                if contender.role == "ours":
                    self.ensemble_share = escalated(contender, stage)
                for case, run in measure(contender, stage, mark, duration_s=self._duration_s):
                    self._runs[contender.who, contender.role, case].append(run)
        except Unavailable as error:
            if contender.role == "ours":
                raise
            self.not_measured[contender.who] = str(error)

    def lines(self) -> list[Line]:
        """One a contender and case, medians over rounds."""
        return [Line(who=who, role=role, case=str(case), figures=summarize(runs)) for (who, role, case), runs in self._runs.items()]


def compare(chosen: Mapping[str, Make], *, name: str, quick: bool, rounds: int) -> Report:
    """Measure contenders, one after another, round after round.

    Raises
    ------
    ConfigError
        When the load generator is missing.
    Unavailable
        When Homeostat does not come up.
    """
    made = report.context(quick=quick)
    load.generator()
    ensure_token()
    duration_s = 1 if quick else 4
    tally = Tally(prepare_stage(report.FOLDER / "serving"), duration_s=duration_s)
    contenders = tally.prepare(chosen)
    for number in range(1, rounds + 1):
        for contender in contenders:
            with console.status(f"round {number} of {rounds}: {contender.who}"):
                tally.visit(contender)
    lines = tally.lines()
    return Report(
        name=name,
        context=made,
        setup={"run_s": duration_s, "rounds": rounds, "ensemble_share": tally.ensemble_share},
        lines=lines,
        compared=COMPARED,
        ratios=report.ratios(lines, of=COMPARED),
        targets=targets(lines),
        not_measured=tally.not_measured,
    )


def main() -> int:
    """Run and report; exit code 0, or 1 with a named error."""
    prepare()
    parser = report.arguments("Requests a second, latency, CPU and memory, beside peers and limits.")
    parser.add_argument("--rounds", type=int, help=f"how often the whole circle is run; {ROUNDS}, or 1 with --quick")
    parser.add_argument(
        "--only", action="append", metavar="NAME", choices=[*ALL, *VARIANTS], help=f"one of: {', '.join([*ALL, *VARIANTS])}"
    )
    parser.add_argument("--variants", action="store_true", help="also the HTTP paths exchanged, and the registered bundle in mlflow")
    options = parser.parse_args()
    if options.rounds is not None and options.rounds < 1:
        parser.error("--rounds must be at least 1")
    everyone = ALL | VARIANTS if options.variants or options.only else ALL
    chosen = {key: make for key, make in everyone.items() if not options.only or key in options.only}
    name = "serving" + "-variants" * options.variants + "-part" * bool(options.only)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that contenders are ended
    try:
        found = compare(chosen, name=name, quick=options.quick, rounds=options.rounds or (1 if options.quick else ROUNDS))
    except HomeostatError as error:
        console.print(f"{type(error).__name__}: {error}", soft_wrap=True, markup=False)
        return 1
    setup = found.setup
    title = f"rows a request × connections; median of {setup['rounds']} rounds of {setup['run_s']} s; {setup['ensemble_share']:.0%} need the ensemble"
    report.publish(found, title=title)
    return 0


if __name__ == "__main__":
    sys.exit(main())
