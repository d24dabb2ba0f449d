"""What is learned of the trees' reasons when a bundle is made."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest

from cluster.errors import BundleError
from cluster.explaining.contributions import contributions
from monitoring import attributing
from tests.builders import make_schema
from tests.unit.cluster.explaining.bundles import LABELS, booster_of, rows_of
from tests.unit.monitoring.explained import DAY, days, learned


def test_blocks_are_the_monitors_windows_and_the_figures_those_of_their_rows() -> None:
    found = learned(count=12)
    assert found is not None
    assert (found.reference.blocks, found.reference.features, found.rows) == (12, ["miles", "wind", "carrier"], 200)
    X, _ = days(12)
    whole = attributing.sizes(booster_of(make_schema(), rounds=20), X).mean(axis=0)
    assert found.reference.mean == pytest.approx(whole.tolist(), rel=1e-6)  # 120 rows a day are within what is affordable: all of them


def test_without_times_or_with_few_windows_runs_of_rows_stand_for_blocks() -> None:
    schema, (X, times) = make_schema(), days(3)
    for clock in (None, times):
        found = attributing.build(
            schema, booster_of(schema, rounds=3), X, clock, whose="student", window_s=DAY, rng=np.random.default_rng(0)
        )
        assert found is not None
        assert found.reference.blocks == 12


def test_a_reference_that_is_too_short_teaches_nothing() -> None:
    schema = make_schema()
    for rows in (0, 29, 7 * 30 + 29):
        X = rows_of(schema, 400).X[:rows]
        rng, booster = np.random.default_rng(0), booster_of(schema, rounds=3)
        assert attributing.build(schema, booster, X, None, whose="student", window_s=DAY, rng=rng) is None


def test_more_trees_are_asked_about_fewer_rows() -> None:
    assert [attributing._affordable(30_000, trees) for trees in (1, 150, 300, 10_000)] == [200, 200, 100, 30]


def test_sizes_of_several_classes_are_averaged() -> None:
    schema = make_schema(label=LABELS["multiclass"])
    booster, X = booster_of(schema, rounds=4), rows_of(schema, 10, seed=4).X
    expected = np.abs(contributions(booster, X).values).mean(axis=2)
    assert expected.shape == (10, 3)
    assert attributing.sizes(booster, X) == pytest.approx(expected)


def test_a_bundle_keeps_it_as_json_and_says_what_is_wrong_with_it(tmp_path: Path) -> None:
    (tmp_path / "explanation").mkdir()
    (tmp_path / attributing.NAME).write_bytes(msgspec.json.encode(learned(count=9)))
    assert attributing.read(tmp_path) == learned(count=9)
    (tmp_path / attributing.NAME).write_text("{}")
    with pytest.raises(BundleError, match=r"attributions.json of the bundle in '.*' cannot be read"):
        attributing.read(tmp_path)
