"""Requests a second and latency of one-row requests, at 1, 16 and 64 connections, from outside.

- Homeostat as `homeostat serve` starts it: token, validation, cascade, journal and monitor on. Only retraining is off.
- Plain Ray Serve with its default settings, the same student graph, and no checks.
- Bare ASGI (uvicorn) with the same graph: the limit.

All get the same bodies, warm-up and durations, one server after another on the machine that also runs the generator.
The peers answer with the student alone, which favours them: Homeostat also asks its ensemble about the rows that need it.

python -m benchmarks.serving [--quick]
"""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import msgspec
import numpy as np
import pyarrow.parquet as pq
import yaml

from benchmarks import load, report
from benchmarks.report import Line, Report, console
from benchmarks.servers import Contender, ask, running
from cluster.environment import FAST_HTTP, LOCAL, ensure_token, prepare
from cluster.errors import HomeostatError, Unavailable
from cluster.registry import read_pointers
from cluster.runtime import free_port
from cluster.settings import Settings, absolute
from cluster.settings import load as load_settings
from training import datasets

CONNECTIONS: Final = (1, 16, 64)
REPETITIONS: Final = 3
NUM_BODIES: Final = 256
HOMEOSTAT: Final = str(Path(sys.executable).with_name("homeostat"))
SECRET: Final = "HOMEOSTAT_BENCHMARK_SECRET"
COMPARED: Final = "requests/s"
_DEFAULT_HTTP: Final = {"RAY_SERVE_ENABLE_HA_PROXY": "0", "RAY_SERVE_THROUGHPUT_OPTIMIZED": "0"}
_HAPROXY_PORTS: Final = ("RAY_SERVE_HAPROXY_STATS_PORT", "RAY_SERVE_HAPROXY_METRICS_PORT")


class Stage(NamedTuple):
    """What all contenders share."""

    settings: Settings
    config: Path
    bundle: Path
    bodies: list[bytes]
    headers: Mapping[str, str]
    logs: Path


def prepare_stage(root: Path) -> Stage:
    """A trained model under `root`, once made kept; its configuration on free ports; bodies from flights it has not seen."""
    config = write_config(root)
    settings = load_settings(config)
    cache, seen = root / "data", Path("var/data")
    if not cache.exists() and seen.exists():
        shutil.copytree(seen, cache)
    published = read_pointers(settings.places.pointers(settings.model))
    if published is None or published.champion is None:
        console.print("training the flights model, once (a minute or two)")
        if subprocess.run([HOMEOSTAT, "train", str(config)], check=False).returncode:
            raise Unavailable("training failed; its message is above")
        published = read_pointers(settings.places.pointers(settings.model))
    if published is None or published.champion is None:
        raise Unavailable(f"training left no champion under '{root}'")
    for place in (settings.places.journal(settings.model), settings.places.verdicts(settings.model)):
        shutil.rmtree(place, ignore_errors=True)
    headers = {"Authorization": f"Bearer {secrets.token_urlsafe()}"}
    return Stage(settings, config, Path(published.champion.uri), make_bodies(settings, cache), headers, root / "log")


def write_config(root: Path) -> Path:
    """configs/flights.yaml on free ports and under `root`, with a token and without retraining."""
    content = yaml.safe_load(Path("configs/flights.yaml").read_text())
    content["places"] = {"root": absolute(str(root)), "mlflow": f"sqlite:///{absolute(str(root))}/mlflow.db"}
    content.setdefault("serving", {}).update(port=free_port(), token_env=SECRET)
    content.setdefault("monitoring", {}).update(metrics_port=free_port())
    content.setdefault("loop", {}).update(enabled=False)
    root.mkdir(parents=True, exist_ok=True)
    path = root / "model.yaml"
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return path


def make_bodies(settings: Settings, cache: Path) -> list[bytes]:
    """One-row requests: flights spread evenly over the week after the training data, without their time, so that they count as now."""
    table = pq.read_table(datasets.locate(settings.data.source, cache=cache))
    times = table.column("scheduled").to_numpy()
    first, last = np.searchsorted(times, [np.datetime64("2013-04-01"), np.datetime64("2013-04-08")])
    chosen = table.select([f.name for f in settings.columns.features]).take(np.linspace(first, last - 1, NUM_BODIES).astype(int))
    return [msgspec.json.encode({"rows": [row]}) for row in chosen.to_pylist()]


def contenders(stage: Stage, *, variants: bool) -> list[Contender]:
    """Who is measured, in this order."""
    ensure_token()
    plain = {name: value for name, value in os.environ.items() if name not in FAST_HTTP | LOCAL}
    ours = plain | {SECRET: stage.headers["Authorization"].removeprefix("Bearer ")}
    ours |= {name: str(free_port()) for name in _HAPROXY_PORTS}  # another cluster may be taking the usual ones at this moment
    url = f"http://127.0.0.1:{stage.settings.serving.port}/v1/predict"
    serve = [HOMEOSTAT, "serve", str(stage.config)]
    found = [Contender("Homeostat", "ours", serve, ours, url)]
    if variants:
        found.append(Contender("Homeostat, default HTTP path", "variant", serve, ours | _DEFAULT_HTTP, url))
        found.append(_peer("plain Ray Serve, fast path", "variant", "plain_ray_serve", stage, ours | FAST_HTTP))
    found.append(_peer("plain Ray Serve", "peer", "plain_ray_serve", stage, plain))
    found.append(_peer("bare ASGI", "limit", "bare_asgi", stage, plain))
    return found


def _peer(who: str, role: report.Role, module: str, stage: Stage, environment: Mapping[str, str]) -> Contender:
    port = free_port()
    command = [sys.executable, "-m", f"benchmarks.peers.{module}", str(stage.bundle), str(port)]
    return Contender(who, role, command, environment, f"http://127.0.0.1:{port}/")


def measure(contender: Contender, stage: Stage, *, duration_s: int) -> list[Line]:
    """All cases of one running contender: a warm-up, then the median of three repetitions, cases in turn."""

    def one(connections: int, seconds: int) -> load.Load:
        return load.run(contender.url, stage.bodies, connections=connections, duration_s=seconds, headers=stage.headers)

    one(16, duration_s)
    runs: dict[int, list[load.Load]] = {connections: [] for connections in CONNECTIONS}
    for _ in range(REPETITIONS):
        for connections, kept in runs.items():
            kept.append(one(connections, duration_s))
    return [
        Line(who=contender.who, role=contender.role, case=f"{connections} connection" + "s" * (connections > 1), figures=summarize(kept))
        for connections, kept in runs.items()
    ]


def summarize(runs: Sequence[load.Load]) -> dict[str, float]:
    """Medians over repetitions, the spread of the throughput, and all errors."""
    rates = [run.requests_s for run in runs]
    return {
        COMPARED: statistics.median(rates),
        "lowest": min(rates),
        "highest": max(rates),
        "p50 ms": statistics.median(run.p50_ms for run in runs),
        "p99 ms": statistics.median(run.p99_ms for run in runs),
        "errors": sum(run.errors for run in runs),
    }


def escalated(contender: Contender, stage: Stage) -> float:
    """Share of the bodies that the ensemble answers."""
    answers = [ask(contender.url, body, stage.headers).json()["predictions"][0]["answered_by"] for body in stage.bodies]
    return answers.count("ensemble") / len(answers)


def compare(*, quick: bool, variants: bool) -> Report:
    """Measure all contenders, one after another.

    Raises
    ------
    ConfigError
        When the load generator is missing.
    Unavailable
        When a contender does not come up.
    """
    made = report.context(quick=quick)
    load.generator()
    stage = prepare_stage(report.FOLDER / "serving")
    duration_s = 2 if quick else 8
    lines, share = [], 0.0
    for contender in contenders(stage, variants=variants):
        with (
            console.status(f"{contender.who}: starting, then {duration_s * (1 + REPETITIONS * len(CONNECTIONS))} s of load"),
            running(contender, stage.bodies[0], stage.headers, log=stage.logs / f"{contender.who}.log"),
        ):
            if contender.role == "ours":
                share = escalated(contender, stage)
            lines += measure(contender, stage, duration_s=duration_s)
    return Report(
        name="serving-variants" if variants else "serving",
        context=made,
        setup={"run_s": duration_s, "repetitions": REPETITIONS, "bodies": NUM_BODIES, "ensemble_share": share},
        lines=lines,
        compared=COMPARED,
        ratios=report.ratios(lines, of=COMPARED),
    )


def main() -> int:
    """Run and report; exit code 0, or 1 with a named error."""
    prepare()
    parser = report.arguments("Requests a second and latency, beside plain Ray Serve and bare ASGI.")
    parser.add_argument("--variants", action="store_true", help="also with the HTTP paths exchanged; writes serving-variants.json")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that contenders are ended
    try:
        found = compare(quick=options.quick, variants=options.variants)
    except HomeostatError as error:
        console.print(f"{type(error).__name__}: {error}", soft_wrap=True, markup=False)
        return 1
    setup = found.setup
    report.publish(
        found,
        title=f"one-row requests, median of {REPETITIONS} runs of {setup['run_s']} s; {setup['ensemble_share']:.0%} need the ensemble",
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
