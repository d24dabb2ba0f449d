"""The parts that need no fit; the whole is in tests/integration and tests/e2e."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from cluster.errors import StorageError
from cluster.settings import Places
from tests.builders import make_settings
from training import pipeline
from training.data.frame import TIME
from training.lineage import origin, trace


def test_metrics_are_named_by_who_and_what() -> None:
    assert pipeline._flat({"student": {"ece": 0.1}, "ensemble": {"ece": 0.2, "brier": 0.3}}) == {
        "student.ece": 0.1,
        "ensemble.ece": 0.2,
        "ensemble.brier": 0.3,
    }


def test_parameters_say_what_was_trained_on_what(tmp_path: Path) -> None:
    settings = make_settings(tmp_path)
    frame = pa.table({"miles": [1.0] * 400, TIME: [0.0] * 400})
    found = pipeline._params(settings, trace(settings, origin("table.parquet", frame), run="late-1", reason="alarm"))
    assert (found["run"], found["seed"], found["rows"], found["members"]) == ("late-1", 7, 400, "xgboost, torch, linear")


def test_data_sets_are_kept_under_the_root_which_must_be_local(tmp_path: Path) -> None:
    settings = make_settings(tmp_path)
    assert pipeline.data_cache(settings) == tmp_path / "data"
    with pytest.raises(StorageError, match="the cache of data sets needs a local"):
        pipeline.data_cache(settings.model_copy(update={"places": Places(root="s3://bucket/homeostat")}))
