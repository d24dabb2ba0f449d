"""Where the time of a one-row request goes: each step alone, in this process; and processor time by process, under load.

Steps are best of five, with warm caches. The service is `homeostat serve` over 16 connections, as in `benchmarks.serving`.

python -m benchmarks.request [--quick]
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
import timeit
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np

from benchmarks import load, report
from benchmarks.contenders import homeostat
from benchmarks.report import Line, Report
from benchmarks.servers import marked, running
from benchmarks.stage import Stage, prepare_stage
from cluster.bundle import Bundle
from cluster.environment import prepare
from cluster.journal import Writer
from cluster.margin import is_hard
from cluster.records import Prediction
from serve_apps.audit import choose
from serve_apps.protocols.plane import Answered
from serve_apps.protocols.rows import RowsCodec

CONNECTIONS = 16
COMPARED = "us"


def steps(stage: Stage, *, calls: int) -> list[Line]:
    """Microseconds of each step."""
    bundle = Bundle(Path(stage.bundle), version="1")
    codec = RowsCodec(bundle.schema, model=stage.settings.model, max_rows=10)
    body = msgspec.json.encode({"rows": [stage.rows[0]]})
    rows = codec.decode(body, now=0.0)
    matrix = bundle.encoder.columns(rows.columns)
    scores, nobody = bundle.student(matrix), np.zeros(1, dtype=np.uint8)
    answered = Answered("0123456789ab-0000-80", stage.settings.model, "1", bundle.schema.label, scores, nobody)
    with tempfile.TemporaryDirectory(prefix="homeostat-request-") as folder:
        writer = Writer(folder, clock_ns=time.time_ns)

        def append() -> str:
            by = nobody.tobytes()
            return writer.append(
                Prediction(bundle="1", event_times=rows.event_times, columns=rows.columns, scores=scores.tobytes(), by_ensemble=by)
            )

        work: dict[str, Callable[[], object]] = {
            "decode and check": lambda: codec.decode(body, now=0.0),
            "to a float32 row": lambda: bundle.encoder.columns(rows.columns),
            "student": lambda: bundle.student(matrix),
            "is it hard": lambda: is_hard(bundle.schema.label, scores, bundle.cascade.threshold),
            "ensemble": lambda: bundle.ensemble(matrix),
            "journal": append,
            "choose rows to audit": lambda: choose(answered.request_id, 1, stage.settings.serving.cascade.audit_share),
            "answer": lambda: codec.encode(answered),
        }
        return [
            Line(who=name, role="variant", case="a step alone", figures={COMPARED: _best_us(call, calls)}) for name, call in work.items()
        ]


def _best_us(call: Callable[[], object], calls: int) -> float:
    return min(timeit.repeat(call, number=calls, repeat=5)) / calls * 1e6


def processes(stage: Stage, *, duration_s: int) -> list[Line]:
    """Processor time a request, by process, of the five that use most."""
    contender = homeostat()(stage)
    bodies = [contender.shape([row]) for row in stage.rows[:256]]
    with running(contender, bodies[0], stage.headers, log=stage.logs / "request.log") as mark:
        time.sleep(20)  # monitor and steward have imported what they need
        load.run(contender.url, bodies, connections=CONNECTIONS, duration_s=3 * duration_s, headers=stage.headers)
        time.sleep(duration_s)  # the gateway that autoscaling has added is there
        before = _cpu_s(mark)
        seen = load.run(contender.url, bodies, connections=CONNECTIONS, duration_s=duration_s, headers=stage.headers)
        after = _cpu_s(mark)
    used = {name: (after[name] - before.get(name, 0.0)) / seen.requests * 1e6 for name in after}
    most = sorted(used, key=lambda name: -used[name])[:5]
    figures = {"all": sum(used.values())} | {name: used[name] for name in most}
    return [Line(who=name, role="variant", case="processor a request", figures={COMPARED: value}) for name, value in figures.items()]


def _cpu_s(mark: str) -> dict[str, float]:
    """Seconds computed so far, by name; processes of one name together."""
    found: dict[str, float] = {}
    for pid in marked(mark):
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
            name = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
        except OSError:
            continue  # it has ended
        name = "haproxy" if "haproxy -db" in name else name[:40] if name.startswith("ray::") else "others"
        found[name] = found.get(name, 0.0) + (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return found


def main() -> int:
    """Measure and report."""
    prepare()
    options = report.arguments("Where the time of a one-row request goes.").parse_args()
    made = report.context(quick=options.quick)
    stage = prepare_stage(report.FOLDER / "serving")
    lines = steps(stage, calls=200 if options.quick else 3000)
    lines += processes(stage, duration_s=1 if options.quick else 5)
    found = Report(name="request", context=made, setup={}, lines=lines, compared=COMPARED, ratios=report.ratios(lines, of=COMPARED))
    report.publish(found, title="where the time of a request goes, in microseconds")
    return 0


if __name__ == "__main__":
    sys.exit(main())
