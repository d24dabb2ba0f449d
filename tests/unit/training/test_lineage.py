from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from cluster.serving_settings import Cascade, Serving
from cluster.settings import parse
from cluster.training_settings import Search, Training
from tests.builders import make_settings
from tests.unit.training import tables
from training.composing.calibration import Calibration
from training.composing.distill import Distilled
from training.data.frame import TIME
from training.lineage import PINS, code_commit, hash_settings, hash_table, origin, portable, resolve, trace

TABLE = pa.table({"a": [1.0, None, 3.0], "b": ["x", None, "z"], "c": [True, False, None], "d": [1, 2, 3]})


def test_a_hash_does_not_depend_on_chunks_slices_or_metadata() -> None:
    chunked = pa.concat_tables([TABLE.slice(0, 1), TABLE.slice(1)])
    longer = pa.concat_tables([TABLE, TABLE]).combine_chunks()
    tagged = TABLE.replace_schema_metadata({"pandas": "{}"})
    assert {hash_table(t) for t in (TABLE, chunked, longer.slice(0, 3), longer.slice(3, 3), tagged)} == {hash_table(TABLE)}


@pytest.mark.parametrize(
    "other",
    [
        TABLE.slice(0, 2),
        TABLE.take([2, 1, 0]),
        TABLE.rename_columns(["a", "b", "c", "e"]),
        TABLE.select(["b", "a", "c", "d"]),
        TABLE.set_column(0, "a", pa.array([1.0, 0.0, 3.0])),
    ],
)
def test_another_value_order_or_name_gives_another_hash(other: pa.Table) -> None:
    assert hash_table(other) != hash_table(TABLE)


def test_a_bundle_says_where_it_came_from(tmp_path: Path) -> None:
    frame = pa.table({"a": [1.0, 2.0], TIME: [20.0, 10.0]})
    settings = make_settings(tmp_path)
    settings = settings.model_copy(update={"training": settings.training.model_copy(update={"seed": 11})})
    found = trace(settings, origin("table.parquet", frame, TABLE), run="late-1", reason="alarm")
    assert (found.run, found.reason, found.seed, found.rows, found.since, found.until) == ("late-1", "alarm", 11, 2, 10.0, 20.0)
    assert found.data_source == "table.parquet"
    assert (found.data_sha256, found.unlabelled_sha256) == (hash_table(frame), hash_table(TABLE))
    assert set(found.pins) == set(PINS)


def test_a_table_without_time_has_no_bounds(tmp_path: Path) -> None:
    found = origin("table.parquet", TABLE, TABLE.slice(0, 0))
    assert (found.since, found.until, found.unlabelled_sha256) == (None, None, None)


def test_only_settings_that_can_change_a_bundle_change_their_hash(tmp_path: Path) -> None:
    settings = make_settings(tmp_path)
    same = [make_settings(tmp_path / "elsewhere"), make_settings(tmp_path, port=9000)]
    other = [
        settings.model_copy(update={"training": Training(seed=8)}),
        settings.model_copy(update={"serving": Serving(cascade=Cascade(max_disagreement=0.05))}),
    ]
    assert {hash_settings(s) for s in same} == {hash_settings(settings)}
    assert len({hash_settings(s) for s in (settings, *other)}) == 3


def test_the_commit_is_a_full_hash_marked_when_files_differ() -> None:
    found = code_commit()
    assert found is None or re.fullmatch(r"[0-9a-f]{40}\+?", found)


def test_without_git_there_is_no_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: object, **__: object) -> None:
        raise FileNotFoundError("git")

    monkeypatch.setattr("training.lineage.subprocess.run", missing)
    assert code_commit() is None


def test_what_a_clock_found_is_fixed_in_the_resolved_settings(tmp_path: Path) -> None:
    settings = make_settings(tmp_path)
    settings = settings.model_copy(update={"training": Training(search=Search(budget_s=60))})
    found = tables.members_of("binary", ("xgboost",))
    resolved = resolve(settings, found, student(sizes=[60, 120]))
    assert resolved.members.xgboost == found[0].settings
    assert resolved.members.torch is None
    assert resolved.training.search.budget_s == 0
    assert (resolved.distillation.sizes, resolved.distillation.max_latency_share) == ((60, 120), None)


def test_portable_settings_know_no_place_and_read_back_as_they_were(tmp_path: Path) -> None:
    settings = make_settings(tmp_path)
    plain = portable(settings)
    assert str(tmp_path) not in str(plain)
    assert parse(plain | {"places": settings.dump()["places"]}) == settings


def student(**changes: Any) -> Distilled:
    fields: dict[str, Any] = {
        "taught_by": "labels",
        "rounds": 60,
        "max_depth": 6,
        "calibration": Calibration(),
        "soft_loss": 0.5,
        "hard_loss": 0.4,
        "teacher_loss": 0.3,
        "gain_metric": "roc_auc",
        "gain_kept": None,
        "unlabelled_rows": 0,
        "sizes": [60],
        "tries": [],
        "verdict": "",
    }
    return Distilled(**(fields | changes))
