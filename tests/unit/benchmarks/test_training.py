"""What the benchmark of training promises, and the table that it streams."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks import fits, training
from benchmarks.report import Line
from training.workers import pieces


def line(who: str, seconds: float, peak: float) -> Line:
    return Line(who=who, role="variant", case="case", figures={"seconds": seconds, "peak MiB": peak})


def test_the_promises_are_seconds_over_plain_and_the_memory_of_the_stream() -> None:
    over, memory = training.targets([line("plain XGBoost", 10, 1), line("one process", 14, 1), line("stream, 2 workers", 1, 7000)])
    assert (over.found, over.is_met) == (4, True)
    assert (memory.found, memory.is_met) == (7000, False)


def test_what_was_not_measured_promises_nothing() -> None:
    assert [target.found for target in training.targets([])] == [None, None]


def test_the_streamed_table_is_large_and_in_order_of_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "FILE_ROWS", 600)
    training.write_table(tmp_path, 1000)
    settings = fits.settings(tmp_path, rounds=3, stream_rows=999)
    assert pieces.is_large(settings)
    found = pieces.pieces_of(settings.data.source)
    assert [piece.rows for piece in found] == [600, 400]
    times = np.concatenate([f.column("__time__") for piece in found for f in pieces.frames(piece, settings.columns, pieces.Bounds())])
    np.testing.assert_array_equal(times, 1e9 + np.arange(1000))


def test_ours_and_plain_trees_agree_on_the_same_rows(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(2000, 2)).astype(np.float32)
    np.save(tmp_path / "X.npy", X)
    np.save(tmp_path / "y.npy", (X[:, 0] + rng.normal(size=2000) > 0).astype(float))
    features = '[{"name": "a", "type": "number"}, {"name": "b", "type": "number"}]'
    (tmp_path / "schema.json").write_text(f'{{"features": {features}, "label": {{"name": "late", "classes": [0, 1]}}, "time": "at"}}')
    cases = fits.cases(tmp_path, 1, 3)
    plain, ours = cases["plain"](), cases["one process"]()
    assert plain.rows == ours.rows == 2000
    assert ours.loss == pytest.approx(plain.loss, abs=1e-4)  # the same trees: so few that each is a gain
    assert ours.loss < 0.685
