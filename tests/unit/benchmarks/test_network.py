"""Tables are read as the benchmark says, and what it tries are settings that exist."""

from __future__ import annotations

import math

import numpy as np
import pyarrow as pa
import pytest

from benchmarks import network
from cluster.member_settings import Torch
from cluster.schema import Label
from training.data import packaged


def test_what_is_tried_are_settings_of_the_network_and_one_at_a_time() -> None:
    for who, changed in network.VARIANTS.items():
        made = Torch(**changed)
        assert len(changed) == (who != "the default")
        assert all(getattr(made, name) != getattr(Torch(), name) for name in changed), who


def test_a_table_is_drawn_by_lot_and_its_label_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    stored = pa.table({"rownames": range(100), "earnings": [math.e**2] * 100, "age": range(100), "region": ["n", "s"] * 50})
    monkeypatch.setattr(packaged, "files", lambda _archive, _paths: [b""])
    monkeypatch.setattr(network, "columns_of", lambda _content: stored)
    table = network.read(b"", network.SOURCES["earnings"])
    assert [f.name for f in table.schema.features] == ["age", "region"]
    np.testing.assert_allclose(table.y, 2.0)
    assert sorted(table.X[:, 0]) == list(range(100))
    assert table.X[:, 0].tolist() != list(range(100))


def test_knowing_nothing_of_a_fair_coin_loses_log_two() -> None:
    y = np.array([0.0, 1.0])
    half = np.full((2, 1), 0.5, dtype=np.float32)
    assert network.lost(Label(name="y", classes=(0, 1)), y, half) == pytest.approx(math.log(2))
    assert network.lost(Label(name="y", task="regression"), y, half) == pytest.approx(0.25)
