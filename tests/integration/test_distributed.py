"""Ray Train fits every member as one process would, and goes on where it was after a worker, a node or the driver was killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from cluster.errors import HomeostatError, Unavailable
from cluster.training_settings import Training
from tests.integration.recorders import ROUNDS, Mortal, Recorder
from tests.unit.training import tables
from training.composing import graphs
from training.composing.calibration import loss
from training.fitting import Cuts, Fold
from training.members import Rows
from training.workers.distributed import fit_members

ROOT = Path(__file__).parents[2]
ROWS = Rows(np.arange(602, dtype=np.float32).reshape(301, 2), np.arange(301.0), weight=np.ones(301))
CUTS = Cuts(Fold(150, 200), [Fold(200, 250), Fold(250, 301)])
GROUP = Training(num_workers=2, local_rows=0)


def sums(train: int) -> bytes:
    """What a recorder adds up on the rows [0, train), without validation."""
    return str([float(ROUNDS), ROUNDS * float(ROWS.X[:train].sum(dtype=np.float64)), ROUNDS * float(ROWS.y[:train].sum()), 0.0]).encode()


EXPECTED = [sums(200), sums(250), sums(301)]


@pytest.mark.usefixtures("ray_cluster")
def test_two_workers_fit_every_member_well_and_their_graphs_agree(tmp_path: Path) -> None:
    members, label = tables.members_of("binary"), tables.schema_of("binary").label
    rows, cuts = tables.rows_of("binary", 2500), Cuts(Fold(1600, 2000), [Fold(2000, 2500)])
    group = fit_members(members, rows, cuts, GROUP, str(tmp_path), run="group")
    alone = fit_members(members, rows, cuts, Training(), str(tmp_path), run="alone")
    valid = rows[2000:]
    assert list(group.final) == ["xgboost", "torch", "linear"]
    for member in members:
        scores = member.score(group.folds[0][member.name], valid.X)
        by_one = member.score(alone.folds[0][member.name], valid.X)
        assert loss(label, valid.y, scores) < 1.05 * loss(label, valid.y, by_one), member.name
        np.testing.assert_allclose(graphs.run(member.to_onnx(group.folds[0][member.name]), valid.X), scores, atol=1e-5)
    assert fit_members(members, rows, cuts, GROUP, str(tmp_path), run="again") == group  # to the byte


@pytest.mark.usefixtures("ray_cluster")
def test_a_worker_killed_in_a_fit_restarts_the_group_which_goes_on_from_the_last_state(tmp_path: Path) -> None:
    first, second = Recorder(str(tmp_path), name="first"), Recorder(str(tmp_path), dies_at=3)
    fits = fit_members([first, second], ROWS, CUTS, GROUP, str(tmp_path / "runs"), run="run", keep_every_s=0)
    once = [
        "0/2 from 0: 100 0",
        "0/2 from 0: 100 51",
        "0/2 from 0: 125 0",
        "0/2 from 0: 151 0",
        "0/2 from 0: 75 25",
        "1/2 from 0: 100 0",
        "1/2 from 0: 100 50",
        "1/2 from 0: 125 0",
        "1/2 from 0: 150 0",
        "1/2 from 0: 75 25",
    ]
    assert first.noted() == once
    again = [line for line in second.noted() if "from 0" not in line]
    assert sorted(line for line in second.noted() if "from 0" in line) == once
    assert [line.split()[0] for line in again] == ["0/2", "1/2"]
    assert {line.split(maxsplit=1)[1] for line in again} <= {f"from {number}: 75 25" for number in (1, 2, 3)}
    assert [models["recorder"] for models in (*fits.folds, fits.final)] == EXPECTED  # what an uninterrupted run gives
    assert [models["first"] for models in (*fits.folds, fits.final)] == EXPECTED
    assert list((tmp_path / "runs").iterdir()) == []


@pytest.mark.usefixtures("ray_cluster")
@pytest.mark.parametrize("family", ["xgboost", "torch"])
def test_a_real_fit_whose_worker_is_killed_ends_in_the_bytes_of_one_that_was_never_stopped(family: str, tmp_path: Path) -> None:
    (member,) = [member for member in tables.members_of("binary") if member.name == family]
    rows, cuts = tables.rows_of("binary", 1200), Cuts(Fold(700, 900), [Fold(900, 1200)])
    spared, mortal = (Mortal(member, str(tmp_path / name)) for name in ("spared", "mortal"))
    for name in ("spared", "mortal"):
        (tmp_path / name).mkdir()
    (tmp_path / "spared" / f"{family}.died").touch()
    whole, again = (fit_members([one], rows, cuts, GROUP, f"{one.folder}/runs", run="run", keep_every_s=0) for one in (spared, mortal))
    assert again == whole
    assert "from a state" in (tmp_path / "mortal" / f"{family}.txt").read_text()
    assert "from a state" not in (tmp_path / "spared" / f"{family}.txt").read_text()


@pytest.mark.usefixtures("ray_cluster")
def test_a_member_that_cannot_be_fitted_is_reported_with_its_reason(tmp_path: Path) -> None:
    with pytest.raises(HomeostatError, match="these rows cannot be fitted"):
        fit_members([Recorder(str(tmp_path), refuses=True)], ROWS, CUTS, Training(local_rows=0), str(tmp_path / "runs"), run="run")
    assert list((tmp_path / "runs").iterdir()) == []


@pytest.mark.usefixtures("ray_cluster")
def test_workers_that_no_node_can_hold_are_refused_at_once(tmp_path: Path) -> None:
    training = Training(num_workers=3, cpus_per_worker=1000, local_rows=0)
    with pytest.raises(Unavailable, match=r"3 workers of 1000 CPU each do not fit this cluster, which has room for 0 \(nodes: \d+ CPU\)"):
        fit_members([Recorder(str(tmp_path))], ROWS, CUTS, training, str(tmp_path / "runs"), run="run")


NODES = """
import sys, threading, time
from pathlib import Path
from cluster.environment import ensure_token, prepare
prepare()
ensure_token()
import ray
from ray.cluster_utils import Cluster
from cluster.runtime import connect
from cluster.training_settings import Training
from tests.integration.recorders import Recorder
from tests.integration.test_distributed import CUTS, ROWS
from training.workers.distributed import fit_members

def lose_a_node():
    while not member.hung:
        time.sleep(0.1)
    cluster.remove_node(next(node for node in cluster.worker_nodes if node.node_id == member.hung), allow_graceful=False)

if __name__ == "__main__":
    folder = sys.argv[1]
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    for _ in range(2):
        cluster.add_node(num_cpus=1)
    connect(address=cluster.address)
    member = Recorder(folder, hangs_at=3)
    threading.Thread(target=lose_a_node, daemon=True).start()
    training = Training(num_workers=2, min_workers=1, local_rows=0)
    fits = fit_members([member], ROWS, CUTS, training, folder + "/runs", run="run", keep_every_s=0)
    (Path(folder) / "fits.txt").write_text(str([models["recorder"] for models in (*fits.folds, fits.final)]))
    ray.shutdown()
    cluster.shutdown()
"""


def test_when_a_node_is_lost_the_others_go_on_with_all_rows(tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"} | {
        "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "20"
    }
    subprocess.run([sys.executable, "-c", NODES, str(tmp_path)], cwd=ROOT, env=environment, check=True)
    noted = Recorder(str(tmp_path)).noted()
    assert [line for line in noted if "/2 " in line] == ["0/2 from 0: 75 25", "1/2 from 0: 75 25"]
    alone = [line for line in noted if "/1 " in line]
    assert alone[:4] == ["0/1 from 0: 200 0", "0/1 from 0: 200 101", "0/1 from 0: 250 0", "0/1 from 0: 301 0"]
    assert alone[4] in {f"0/1 from {number}: 150 50" for number in (1, 2, 3)}
    assert (tmp_path / "fits.txt").read_text() == str(EXPECTED)


DRIVER = """
import sys
from pathlib import Path
from tests.integration.recorders import Recorder
from tests.integration.test_distributed import CUTS, ROWS
from cluster.training_settings import Training
from training.workers.distributed import fit_members

folder = sys.argv[1]
members = [Recorder(folder, name="first"), Recorder(folder, dies_at=3)]
fits = fit_members(members, ROWS, CUTS, Training(), folder + "/runs", run="run", keep_every_s=0)
(Path(folder) / "fits.txt").write_text(str([models["recorder"] for models in (*fits.folds, fits.final)]))
"""


def test_a_driver_killed_in_a_fit_goes_on_when_it_is_started_again(tmp_path: Path) -> None:
    command = [sys.executable, "-c", DRIVER, str(tmp_path)]
    assert subprocess.run(command, cwd=ROOT, check=False).returncode == -signal.SIGKILL
    assert subprocess.run(command, cwd=ROOT, check=False).returncode == 0
    once = ["0/1 from 0: 150 50", "0/1 from 0: 200 0", "0/1 from 0: 200 101", "0/1 from 0: 250 0", "0/1 from 0: 301 0"]
    assert Recorder(str(tmp_path), name="first").noted() == once
    assert Recorder(str(tmp_path)).noted() == sorted([*once, "0/1 from 3: 150 50"])
    assert (tmp_path / "fits.txt").read_text() == str(EXPECTED)
    assert list((tmp_path / "runs").iterdir()) == []
