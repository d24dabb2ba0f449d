"""The parts that need no Ray; the whole is in tests/integration."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from cluster.errors import NotEnoughData, StorageError
from cluster.schema import Feature, Label
from cluster.settings import Places
from cluster.training_settings import Training
from tests.builders import make_schema, make_settings
from training import pipeline
from training.frame import TIME
from training.lineage import trace


def frame(rows: int = 400, **changes: Any) -> pa.Table:
    columns = {
        "miles": np.arange(rows, dtype=float),
        "wind": [None] * (rows - 1) + [1.0],
        "carrier": ["UA", "B6"] * (rows // 2),
        "sex": ["f"] * rows,
        "late": [0, 0, 0, 1] * (rows // 4),
        TIME: np.arange(rows, dtype=float)[::-1],
    }
    return pa.table(columns | changes)


def open_settings(tmp_path: Path, **label: Any) -> Any:
    """Categories and classes are left to the data."""
    features = (Feature(name="miles", type="number"), Feature(name="wind", type="number"), Feature(name="carrier", type="category"))
    columns = make_schema(features=features, label=Label(name="late", **label))
    return make_settings(tmp_path).model_copy(update={"columns": columns, "training": Training(validation_share=0.25)})


def test_the_latest_rows_validate_and_the_schema_is_closed(tmp_path: Path) -> None:
    split = pipeline._split(open_settings(tmp_path), frame())
    assert split.schema.is_frozen
    assert split.schema.label.classes == (0, 1)
    assert (len(split.train_index), len(split.unseen), len(split.whole)) == (300, 100, 400)
    assert pipeline._counts(split) == {"train": 300, "tune": 60, "held_out": 40}
    assert sorted(split.whole.X[split.unseen, 0].tolist()) == list(range(100))  # times run backwards
    assert split.times is not None
    assert split.times[split.unseen].min() > split.times[split.train_index].max()
    assert not set(split.held_index) & set(split.tune_index)
    assert split.rows(split.held_index).y.tolist() == split.whole.y[split.held_index].tolist()


def test_without_times_the_seed_draws_the_rows_that_validate(tmp_path: Path) -> None:
    settings = open_settings(tmp_path)
    splits = [pipeline._split(settings, frame().drop_columns(TIME)) for _ in range(2)]
    assert splits[0].times is None
    assert splits[0].held_index.tolist() == splits[1].held_index.tolist()
    assert len(splits[0].unseen) == 100


def test_too_few_rows_are_refused(tmp_path: Path) -> None:
    with pytest.raises(NotEnoughData, match="100 labelled rows are too few to train on; at least 200 are needed"):
        pipeline._split(open_settings(tmp_path), frame(100))


def test_rows_of_one_class_are_refused(tmp_path: Path) -> None:
    with pytest.raises(NotEnoughData, match="label 'late' has 1 class"):
        pipeline._split(open_settings(tmp_path), frame(late=[0] * 400))


def test_metrics_are_named_by_who_and_what() -> None:
    assert pipeline._flat({"student": {"ece": 0.1}, "ensemble": {"ece": 0.2, "brier": 0.3}}) == {
        "student.ece": 0.1,
        "ensemble.ece": 0.2,
        "ensemble.brier": 0.3,
    }


def test_parameters_say_what_was_trained_on_what(tmp_path: Path) -> None:
    settings = make_settings(tmp_path)
    found = pipeline._params(settings, trace(settings, frame(), run="late-1", reason="alarm", seed=11))
    assert (found["run"], found["seed"], found["rows"], found["members"]) == ("late-1", 11, 400, "xgboost, torch, linear")


def test_data_sets_are_kept_under_the_root_which_must_be_local(tmp_path: Path) -> None:
    settings = make_settings(tmp_path)
    assert pipeline.data_cache(settings) == tmp_path / "data"
    with pytest.raises(StorageError, match="the cache of data sets needs a local"):
        pipeline.data_cache(settings.model_copy(update={"places": Places(root="s3://bucket/homeostat")}))
