"""What it costs that threads which wait sleep: fits under OpenMP's ways to wait, on an idle machine and on a busy one.

XGBoost's and torch's members are fitted on made-up rows with as many threads as there are cores. *Busy* means that as many processes
as there are cores compute at the same time, as gateways and a monitor do beside a retrain. `docs/decisions/014-threads-that-wait-sleep.md`
says which way is ours.

python -m benchmarks.threads [--quick]
"""

from __future__ import annotations

import json
import os
import resource
import statistics
import subprocess
import sys
import time
from typing import Final

import numpy as np

from benchmarks import report
from benchmarks.report import Line, Report
from cluster.environment import THREADS

ROWS, FEATURES, ROUNDS, EPOCHS = 60_000, 24, 180, 2
WAYS: Final[dict[str, dict[str, str]]] = {
    "ours": dict(THREADS),
    "as it comes": {},
    "asleep at once": {"OMP_WAIT_POLICY": "PASSIVE"},
    "10,000 looks": {"GOMP_SPINCOUNT": "10000"},
    "100,000 looks": {"GOMP_SPINCOUNT": "100000"},
}
"""By name, what is set; a look is one turn of the loop in which a thread waits before it sleeps."""
_CHILD: Final = "from benchmarks.threads import fit; fit({name!r}, {rows})"
_BUSY: Final = "while True: pass"


def fit(name: str, rows: int) -> None:
    """Fit one member in this process, and print wall and processor seconds."""
    from cluster import member_settings
    from cluster.schema import Feature, FeatureSchema, Label
    from cluster.settings import Data, Settings
    from training.members import Crew, Rows, build

    rng = np.random.default_rng(0)
    X = rng.normal(size=(rows, FEATURES)).astype(np.float32)
    made = Rows(X, (rng.random(rows) < 1 / (1 + np.exp(-X[:, 0] * X[:, 1]))).astype(np.float64))
    schema = FeatureSchema(
        features=tuple(Feature(name=f"f{i}", type="number") for i in range(FEATURES)), label=Label(name="y", classes=(0, 1))
    )
    members = member_settings.Members(xgboost=member_settings.XGBoost(), torch=member_settings.Torch(), linear=None)
    member = next(m for m in build(Settings(model="m", data=Data(source="-"), columns=schema, members=members), schema) if m.name == name)
    crew = Crew(threads=os.cpu_count() or 1)
    member.fit(made[:2000], None, crew, effort=2)  # what is done once
    began, used = time.perf_counter(), _cpu_s()
    member.fit(made, None, crew, effort=ROUNDS if name == "xgboost" else EPOCHS)
    sys.stdout.write(json.dumps([time.perf_counter() - began, _cpu_s() - used]))


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _measure(name: str, way: dict[str, str], rows: int) -> tuple[float, float]:
    environment = {key: value for key, value in os.environ.items() if key not in {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT"}} | way
    command = [sys.executable, "-c", _CHILD.format(name=name, rows=rows)]
    wall, cpu = json.loads(subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout)
    return wall, cpu


def main() -> int:
    """Measure every way, in turn, idle and busy."""
    chosen = report.arguments("What it costs that threads which wait sleep.").parse_args()
    rows, repeats = (6000, 1) if chosen.quick else (ROWS, 3)
    lines: list[Line] = []
    for busy in (False, True):
        others = [subprocess.Popen([sys.executable, "-c", _BUSY]) for _ in range(os.cpu_count() or 1 if busy else 0)]
        try:
            for name in ("xgboost", "torch"):
                found: dict[str, list[tuple[float, float]]] = {who: [] for who in WAYS}
                for _ in range(repeats):
                    for who, way in WAYS.items():
                        found[who].append(_measure(name, way, rows))
                case = f"{name}, {'busy' if busy else 'idle'}"
                for who, pairs in found.items():
                    wall, cpu = (statistics.median(values) for values in zip(*pairs, strict=True))
                    role: report.Role = "ours" if who == "ours" else "peer" if who == "as it comes" else "variant"
                    lines.append(Line(who=who, role=role, case=case, figures={"fits/s": 1 / wall, "seconds": wall, "CPU s": cpu}))
        finally:
            for other in others:
                other.kill()
                other.wait()
    made = Report(
        name="threads",
        context=report.context(quick=chosen.quick),
        setup={"rows": rows, "features": FEATURES, "trees": ROUNDS, "epochs": EPOCHS, "repeats": repeats},
        lines=lines,
        compared="fits/s",
        ratios=report.ratios(lines, of="fits/s"),
    )
    report.publish(made, title=f"fits of {rows:,} rows, median of {repeats}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
