"""Ray Train with two workers fits every member, as one worker would and again after a worker died."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import pytest

from cluster.errors import HomeostatError
from cluster.schema import Matrix
from cluster.training_settings import Training
from tests.unit.training import tables
from training import ensemble, graphs
from training.distributed import fit_members
from training.members import Crew, Rows

pytestmark = pytest.mark.usefixtures("ray_cluster")


@dataclass(frozen=True)
class Recorder:
    """A member that notes each fit, and dies in the first one if told to."""

    folder: str
    name: str = "recorder"
    native_name: str = "recorder.json"
    dies_once: bool = False
    refuses: bool = False

    def fit(self, train: Rows, valid: Rows, crew: Crew) -> bytes:
        """Note rank and rows; agree on the total through the crew."""
        if self.refuses:
            raise ValueError("these rows cannot be fitted")
        fits = Path(self.folder) / f"{self.name}-{crew.rank}.txt"
        with fits.open("a") as file:
            file.write(f"{len(train)} {len(valid)}\n")
        if self.dies_once and crew.rank == 1 and len(fits.read_text().splitlines()) == 1:
            self._wait_for_a_checkpoint()
            os.kill(os.getpid(), signal.SIGKILL)
        total = crew.total(np.array([float(len(train)), float(train.X.sum())]))
        return str(crew.share([float(v) for v in total] if crew.rank == 0 else None)).encode()

    def _wait_for_a_checkpoint(self) -> None:
        """A report returns before the controller has seen it; a kill in between would rightly repeat the member."""
        deadline = time.monotonic() + 30
        while not list(Path(self.folder).rglob("checkpoint_manager_snapshot.json")) and time.monotonic() < deadline:
            time.sleep(0.02)

    def score(self, native: bytes, matrix: Matrix) -> Matrix:
        """Unused."""
        raise NotImplementedError

    def to_onnx(self, native: bytes) -> onnx.ModelProto:
        """Unused."""
        raise NotImplementedError


def test_two_workers_fit_every_member_well_and_their_graphs_agree(tmp_path):
    members = tables.members_of("binary")
    train, valid = tables.rows_of("binary", 2000), tables.rows_of("binary", 500, seed=1)
    natives = fit_members(members, train, valid, Training(num_workers=2), str(tmp_path))
    assert list(natives) == ["xgboost", "torch", "linear"]
    for member in members:
        label, scores = tables.schema_of("binary").label, member.score(natives[member.name], valid.X)
        alone = member.score(member.fit(train, valid, Crew()), valid.X)
        assert ensemble.loss(label, valid.y, scores) < 1.05 * ensemble.loss(label, valid.y, alone), member.name
        np.testing.assert_allclose(graphs.run(member.to_onnx(natives[member.name]), valid.X), scores, atol=1e-5)


def test_a_killed_worker_restarts_the_group_which_skips_finished_members(tmp_path):
    members = [Recorder(str(tmp_path), name="first", native_name="first.json"), Recorder(str(tmp_path), dies_once=True)]
    rows = tables.rows_of("binary", 301)
    rows = Rows(np.nan_to_num(rows.X), np.where(np.arange(301) == 0, np.nan, rows.y))  # one row has no label
    natives = fit_members(members, rows, rows, Training(num_workers=2), str(tmp_path / "runs"))
    assert (tmp_path / "first-0.txt").read_text() == "150 300\n"
    assert (tmp_path / "recorder-1.txt").read_text() == "150 300\n150 300\n"
    assert natives["recorder"] == natives["first"]
    assert natives["first"].startswith(b"[300.0, ")
    assert list((tmp_path / "runs").iterdir()) == []


def test_a_member_that_cannot_be_fitted_is_reported_with_its_reason(tmp_path):
    rows = tables.rows_of("binary", 100)
    with pytest.raises(HomeostatError, match="these rows cannot be fitted"):
        fit_members([Recorder(str(tmp_path), refuses=True)], rows, rows, Training(num_workers=1), str(tmp_path / "runs"))
    assert list((tmp_path / "runs").iterdir()) == []
