"""Few rows are fitted in this process, on all threads; a run that ended in the middle goes on from there."""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cluster.errors import DataError
from cluster.training_settings import Training
from training.fitting import Cuts, Fits, Fold
from training.members import Crew, Fit, Member, Rows
from training.workers.distributed import fit_members

ROWS = Rows(np.arange(60, dtype=np.float32).reshape(30, 2), np.arange(30.0))
CUTS = Cuts(Fold(6, 10), [Fold(10, 20), Fold(20, 30)])


@dataclass(frozen=True)
class Counting:
    """Counts to four, once a fit; may be interrupted before a step of a given fit."""

    log: Any
    name: str = "counting"
    native_name: str = "counting.json"
    stops_in: int | None = None
    stops_at: int = 2

    def __repr__(self) -> str:
        return self.name

    def effort_for(self, effort: int, growth: float) -> int:  # the same, whatever the rows
        return effort

    def fit(self, train: Rows, valid: Rows | None, crew: Crew, *, effort: int | None = None) -> Fit:
        """Notes where it starts, and the crew."""
        fits = len(self.log)
        start = int(crew.resume or 0)
        self.log.append((self.name, len(train), 0 if valid is None else len(valid), start))
        for number in range(start, 4):
            if fits == self.stops_in and number == self.stops_at:
                raise KeyboardInterrupt
            crew.save(partial(_state, number + 1))
        return Fit(f"{train.y.sum():g} {crew.threads} {crew.seed} {crew.size}".encode(), effort or 4)


def _state(done: int) -> bytes:
    return str(done).encode()


def fit(member: Any, folder: Path, *, training: Training | None = None, run: str = "run", rows: Rows = ROWS, every_s: float = 0) -> Fits:
    members: list[Member] = [replace(member, name="first"), member]
    return fit_members(members, rows, CUTS, training or Training(), str(folder), run=run, keep_every_s=every_s)


def test_few_rows_are_fitted_here_with_the_threads_of_all_workers(tmp_path: Path) -> None:
    log: list[Any] = []
    fits = fit(Counting(log), tmp_path, training=Training(num_workers=3, cpus_per_worker=2, seed=11))
    assert fits.folds == [{"first": b"45 6 11 1", "counting": b"45 6 11 1"}, {"first": b"190 6 11 1", "counting": b"190 6 11 1"}]
    assert fits.final == {"first": b"435 6 11 1", "counting": b"435 6 11 1"}
    assert log == [(name, *rows, 0) for rows in ((6, 4), (10, 0), (20, 0), (10, 20), (30, 0)) for name in ("first", "counting")]
    assert list(tmp_path.iterdir()) == []


def test_an_interrupted_run_goes_on_from_the_state_it_kept(tmp_path: Path) -> None:
    whole = fit(Counting([]), tmp_path)
    with pytest.raises(KeyboardInterrupt):
        fit(Counting([], stops_in=3), tmp_path)
    log: list[Any] = []
    fits = fit(Counting(log), tmp_path)
    assert log == [
        ("counting", 10, 0, 2),
        *((name, rows, valid, 0) for rows, valid in ((20, 0), (10, 20), (30, 0)) for name in ("first", "counting")),
    ]
    assert fits == whole
    assert list(tmp_path.iterdir()) == []


def test_states_are_kept_only_so_often(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        fit(Counting([], stops_in=3), tmp_path, every_s=3600)
    log: list[Any] = []
    fit(Counting(log), tmp_path)
    assert log[0] == ("counting", 10, 0, 0)


@pytest.mark.parametrize(
    "other", [{"run": "another"}, {"training": Training(seed=8)}, {"rows": Rows(ROWS.X + 1, ROWS.y)}], ids=["run", "settings", "rows"]
)
def test_another_run_shares_no_steps(tmp_path: Path, other: dict[str, Any]) -> None:
    with pytest.raises(KeyboardInterrupt):
        fit(Counting([], stops_in=3), tmp_path)
    log: list[Any] = []
    fit(Counting(log), tmp_path, **other)
    assert len(log) == 10


def test_rows_without_a_label_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="rows without a label cannot be fitted"):
        fit(Counting([]), tmp_path, rows=Rows(ROWS.X, np.where(ROWS.y == 3, np.nan, ROWS.y)))


def test_no_ray_train_is_imported_for_few_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "training.workers.group", None)
    assert fit(Counting([]), tmp_path).efforts == {"first": 4, "counting": 4}
