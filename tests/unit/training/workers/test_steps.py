"""Finished steps on disk, which states are worth keeping, and what names a fit."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from training.members import Rows
from training.workers import steps

ROWS = Rows(np.ones((3, 2), dtype=np.float32), np.arange(3.0))


def test_steps_come_back_by_name_and_a_finished_one_drops_its_state(tmp_path: Path) -> None:
    folder = str(tmp_path / "run")
    assert steps.read(folder) == {}
    steps.write(folder, "fold-0/xgboost.partial", b"half")
    steps.write(folder, "fold-1/xgboost.partial", b"another half")
    assert steps.read(folder) == {"fold-0/xgboost.partial": b"half", "fold-1/xgboost.partial": b"another half"}
    steps.write(folder, "fold-0/xgboost", b"whole")
    assert steps.read(folder) == {"fold-0/xgboost": b"whole", "fold-1/xgboost.partial": b"another half"}


def test_a_state_left_beside_its_finished_step_is_not_read(tmp_path: Path) -> None:
    steps.write(str(tmp_path), "final/torch", b"whole")
    steps.write(str(tmp_path), "final/torch.partial", b"half")
    assert steps.read(str(tmp_path)) == {"final/torch": b"whole"}


def test_a_finished_step_is_always_due_and_a_state_when_the_last_is_old_enough() -> None:
    moments = iter([0.0, 10.0, 29.0, 31.0, 40.0, 69.0, 70.0])
    pace = steps.Pace(lambda: next(moments), every_s=30)
    asked = ["a.partial", "a.partial", "a.partial", "a", "b.partial", "b.partial"]
    assert [pace.is_due(name) for name in asked] == [False, False, True, True, False, True]


def test_a_fit_is_named_by_its_rows_and_settings() -> None:
    name = steps.fingerprint(ROWS, ["settings"])
    other = [
        steps.fingerprint(Rows(ROWS.X + 1, ROWS.y), ["settings"]),
        steps.fingerprint(Rows(ROWS.X, ROWS.y[::-1]), ["settings"]),
        steps.fingerprint(Rows(ROWS.X.reshape(2, 3).T.copy(), ROWS.y, weight=ROWS.y), ["settings"]),
        steps.fingerprint(ROWS, ["set", "tings"]),
        steps.fingerprint(None, ["settings"]),
    ]
    assert len({name, *other}) == 6
    assert steps.fingerprint(Rows(ROWS.X.copy(), ROWS.y.copy()), ["settings"]) == name
