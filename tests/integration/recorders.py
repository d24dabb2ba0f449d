"""Members whose workers can be killed in a fit: one whose fits are counted and whose model is a sum that is known, and the real ones."""

from __future__ import annotations

import itertools
import os
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import onnx
import ray
from optuna import Trial

from cluster.schema import Matrix, Section
from training.members import Crew, Fit, Member, Rows, xgboost

ROUNDS = 6
_NOTHING = Section()


def is_first(folder: str, name: str) -> bool:
    """Whether nobody asked before, over all processes."""
    try:
        (Path(folder) / f"{name}.died").touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


def wait_for_a_state(folder: str, name: str) -> None:
    """A report returns before the controller has seen it; a kill in between would rightly repeat more."""
    deadline = time.monotonic() + 30
    while not _has_state(folder, name) and time.monotonic() < deadline:
        time.sleep(0.02)


def _has_state(folder: str, name: str) -> bool:
    snapshots = Path(folder).rglob("checkpoint_manager_snapshot.json")
    return any(f"{name}.partial" in str(p) for s in snapshots for p in s.parent.rglob("*.partial"))


@dataclass(frozen=True)
class Mortal:
    """A real member whose last worker is killed once, in the middle of a fit, after it has kept a state."""

    member: Member
    folder: str

    def __getattr__(self, name: str) -> Any:
        """All but how it is fitted is the member's."""
        if name in ("member", "folder") or name.startswith("__"):
            raise AttributeError(name)
        return getattr(self.member, name)

    def fit(self, train: Rows, valid: Rows | None, crew: Crew, *, effort: int | None = None) -> Fit:
        """As the member does, in short slices, so that a small fit has states."""
        xgboost.LONG_FIT, xgboost.SLICE_ROUNDS = 0, 3
        saved = itertools.count(1)

        def save(state: Callable[[], bytes]) -> None:
            crew.save(state)
            if next(saved) == 2 and crew.rank == crew.size - 1 and is_first(self.folder, self.member.name):
                wait_for_a_state(self.folder, self.member.name)
                os.kill(os.getpid(), signal.SIGKILL)

        fitted = self.member.fit(train, valid, replace(crew, save=save), effort=effort)
        with (Path(self.folder) / f"{self.member.name}.txt").open("a") as file:
            file.write("from a state\n" if crew.resume else "from the beginning\n")
        return fitted


@dataclass(frozen=True)
class Recorder:
    """Adds up the rows of all workers, `ROUNDS` times over, and notes each fit: rank, size, first round, rows to fit and to validate."""

    folder: str
    name: str = "recorder"
    native_name: str = "recorder.json"
    dies_at: int | None = None
    """The last worker is killed before this round, the first time."""
    hangs_at: int | None = None
    """The last worker waits for ever before this round, the first time; `hung` says on which node."""
    refuses: bool = False
    settings: Section = _NOTHING

    def effort_for(self, effort: int, growth: float) -> int:
        """The same, whatever the rows."""
        return effort

    def fit(self, train: Rows, valid: Rows | None, crew: Crew, *, effort: int | None = None) -> Fit:
        """The sum of all numbers and labels of the training rows, and of the labels of the validation rows."""
        if self.refuses:
            raise ValueError("these rows cannot be fitted")
        state = np.frombuffer(crew.resume) if crew.resume else np.zeros(4)
        self._note(f"{crew.rank}/{crew.size} from {int(state[0])}: {len(train)} {0 if valid is None else len(valid)}")
        held = 0.0 if valid is None else float(valid.y.sum())
        sums = crew.total(np.array([float(np.nansum(train.X, dtype=np.float64)), float(train.y.sum()), held]))
        for number in range(int(state[0]), ROUNDS):
            if number == self.dies_at and crew.rank == crew.size - 1 and self._is_first_time():
                self._wait_for_a_state(crew)
                os.kill(os.getpid(), signal.SIGKILL)
            if number == self.hangs_at and crew.rank == crew.size - 1 and self._is_first_time():
                self._wait_for_a_state(crew)
                self._hang()
            state = np.array([number + 1, *(state[1:] + sums)])
            crew.save(state.tobytes)
        return Fit(str(crew.share([round(v, 3) for v in state.tolist()] if crew.rank == 0 else None)).encode(), effort or ROUNDS)

    def noted(self) -> list[str]:
        """All fits so far, in order of rank."""
        return sorted((Path(self.folder) / f"{self.name}.txt").read_text().splitlines())

    @property
    def hung(self) -> str:
        """The node on which it hangs; empty until it does."""
        path = Path(self.folder) / f"{self.name}.hung"
        return path.read_text() if path.exists() else ""

    def _hang(self) -> None:
        node = Path(self.folder) / f"{self.name}.node"
        node.write_text(ray.get_runtime_context().get_node_id())
        node.rename(node.with_suffix(".hung"))
        threading.Event().wait()

    def _note(self, line: str) -> None:
        with (Path(self.folder) / f"{self.name}.txt").open("a") as file:
            file.write(f"{line}\n")

    def _is_first_time(self) -> bool:
        return is_first(self.folder, self.name)

    def _wait_for_a_state(self, crew: Crew) -> None:
        if crew.size > 1:
            wait_for_a_state(self.folder, self.name)

    def score(self, native: bytes, matrix: Matrix) -> Matrix:
        """Unused."""
        raise NotImplementedError

    def to_onnx(self, native: bytes) -> onnx.ModelProto:
        """Unused."""
        raise NotImplementedError

    def suggest(self, trial: Trial) -> Self:
        """Unused."""
        raise NotImplementedError
