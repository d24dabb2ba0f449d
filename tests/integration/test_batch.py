"""A batch job across processes: on Ray, and with its driver or a worker killed in the middle."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest
import yaml

from cluster.runtime import LocalCluster
from tests.builders import make_champion, make_settings
from tests.unit.training.batch.tables import Stage, read, write_folder
from training.batch import pool
from training.batch.job import Work, run
from training.batch.outputs import Done

FILES, ROWS = 8, 150_000
"""A unit a file: two would be more than a unit's rows."""
HOMEOSTAT = str(Path(sys.executable).with_name("homeostat"))


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A champion, its settings, a table, and the output of an uninterrupted run in one process."""
    root = tmp_path_factory.mktemp("batch")
    make_champion(root)
    (root / "late.yaml").write_text(yaml.safe_dump(make_settings(root).dump()))
    write_folder(root / "in", files=FILES, rows=ROWS, group=ROWS)
    assert predict(root, "whole", workers=0).wait() == 0
    return root


def predict(root: Path, output: str, *, workers: int) -> subprocess.Popen[bytes]:
    command = [HOMEOSTAT, "predict", str(root / "late.yaml"), "--input", str(root / "in"), "--output", str(root / output)]
    return subprocess.Popen([*command, "--keep", "id", "--workers", str(workers)], stdout=subprocess.DEVNULL)


def digests(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.rglob("*.parquet"))
    }


def wait_for_units(output: Path, process: subprocess.Popen[bytes], count: int) -> None:
    while len(list(output.glob("_work/done/*.json"))) < count:
        assert process.poll() is None, "it ended before it could be killed"
        time.sleep(0.005)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_killed_driver_is_followed_by_one_that_finishes(root: Path, ray_cluster: LocalCluster, workers: int) -> None:
    output = root / f"killed-{workers}"
    driver = predict(root, output.name, workers=workers)
    wait_for_units(output, driver, 2)
    driver.send_signal(signal.SIGKILL)
    assert driver.wait() == -signal.SIGKILL
    assert not (output / "predictions").exists()
    assert not (output / "_SUCCESS").exists()

    assert predict(root, output.name, workers=workers).wait() == 0
    assert digests(output) == digests(root / "whole")
    assert read(output / "predictions")["id"].to_pylist() == list(range(FILES * ROWS))


def test_a_killed_worker_is_replaced_and_its_unit_scored_again(root: Path, ray_cluster: LocalCluster) -> None:
    stage = Stage(root / "stage")
    job = stage.plan(root / "in", keep=["id"])
    output, killed = root / "worker", list[int]()
    work = Work(bundle=stage.pointer, output=str(output), cache=str(root / "cache"))
    stage.run(job, root / "whole-again")

    def kill_one(_done: Done) -> None:
        if not killed:
            killed.append(worker_of(ray_cluster))
            os.kill(killed[0], signal.SIGKILL)

    summary = run(job, str(output), partial(pool.score, job, work, workers=2), began=0.0, clock=time.time, tell=kill_one)
    assert killed
    assert (summary.rows, summary.units, summary.resumed_units) == (FILES * ROWS, FILES, 0)
    assert digests(output) == digests(root / "whole-again")


def worker_of(cluster: LocalCluster) -> int:
    """A process of our pool in this very cluster."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal() and b"UnitWorker" in _read(entry / "cmdline") and cluster.pid in _ancestors(int(entry.name)):
            return int(entry.name)
    raise AssertionError("no worker runs")


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:  # it ended meanwhile
        return b""


def _ancestors(pid: int) -> set[int]:
    found: set[int] = set()
    while pid > 1 and pid not in found:
        found.add(pid)
        pid = int(_read(Path(f"/proc/{pid}/stat")).rpartition(b")")[2].split()[1] or 0)
    return found
