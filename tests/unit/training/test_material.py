"""What a run works with: which rows teach, which judge."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from cluster.errors import NotEnoughData
from cluster.schema import Feature, Label
from cluster.training_settings import Training
from tests.builders import make_schema, make_settings
from training import material
from training.data.frame import TIME


def frame(rows: int = 2000, **changes: Any) -> pa.Table:
    columns = {
        "miles": np.arange(rows, dtype=float),
        "wind": [None] * (rows - 1) + [1.0],
        "carrier": ["UA", "B6"] * (rows // 2),
        "sex": ["f", None] * (rows // 2),
        "late": [0, 0, 0, 1] * (rows // 4),
        TIME: np.arange(rows, dtype=float)[::-1],
    }
    return pa.table(columns | changes)


def open_settings(tmp_path: Path, **training: Any) -> Any:
    """Categories and classes are left to the data."""
    features = (Feature(name="miles", type="number"), Feature(name="wind", type="number"), Feature(name="carrier", type="category"))
    columns = make_schema(features=features, label=Label(name="late"))
    chosen = Training(**({"validation_share": 0.25, "folds": 2} | training))
    return make_settings(tmp_path).model_copy(update={"columns": columns, "training": chosen})


def test_the_latest_rows_validate_in_order_and_the_schema_is_closed(tmp_path: Path) -> None:
    parted = material.from_frame(open_settings(tmp_path), frame())
    assert parted.schema.is_frozen
    assert parted.schema.label.classes == (0, 1)
    assert parted.counts == {"train": 1500, "tune": 340, "held_out": 160, "fitted": 1840}
    assert parted.times is not None
    assert parted.held_times is not None
    assert (np.diff(parted.times) > 0).all()
    assert (np.diff(parted.held_times) > 0).all()
    assert parted.held_times.min() > parted.times[parted.folds[0].train - 1]
    assert parted.rows.X[:, 0].tolist() == (1999 - parted.times).tolist()  # times run backwards
    assert sorted([*parted.times, *parted.held_times]) == list(range(2000))


def test_folds_follow_each_other_and_cover_the_validation_rows(tmp_path: Path) -> None:
    parted = material.from_frame(open_settings(tmp_path, folds=3), frame())
    cuts = [tuple(fold) for fold in parted.folds]
    assert cuts[0][0] == 1500
    assert cuts[-1][1] == len(parted.rows)
    assert [b for _, b in cuts[:-1]] == [a for a, _ in cuts[1:]]
    assert parted.validation == slice(1500, 1840)
    assert parted.cuts.stopping == (1125, 1500)


def test_few_validation_rows_make_fewer_folds(tmp_path: Path) -> None:
    assert len(material.from_frame(open_settings(tmp_path, folds=5), frame(400)).folds) == 1


def test_groups_of_people_go_with_their_rows_and_missing_is_an_empty_string(tmp_path: Path) -> None:
    parted = material.from_frame(open_settings(tmp_path), frame())
    expected = np.where(parted.rows.X[:, 0] % 2 == 0, "f", "")
    assert parted.groups["sex"].tolist() == expected.tolist()
    assert len(parted.held_groups["sex"]) == len(parted.held)


def test_without_times_the_seed_draws_the_rows(tmp_path: Path) -> None:
    drawn = [material.from_frame(open_settings(tmp_path, seed=seed), frame().drop_columns(TIME)) for seed in (1, 1, 2)]
    assert drawn[0].times is None
    assert drawn[0].held.X[:, 0].tolist() == drawn[1].held.X[:, 0].tolist()
    assert drawn[0].held.X[:, 0].tolist() != drawn[2].held.X[:, 0].tolist()
    assert sorted([*drawn[0].rows.X[:, 0], *drawn[0].held.X[:, 0]]) == list(range(2000))


def test_rows_that_belong_together_stay_on_one_side_of_every_cut(tmp_path: Path) -> None:
    people = [f"p{i // 7}" for i in range(2000)]
    people[5] = None  # type: ignore[call-overload]
    parted = material.from_frame(open_settings(tmp_path, group="person", seed=3), frame(person=people).drop_columns(TIME))
    assert parted.belongs is not None
    held = {f"p{int(i) // 7}" for i in parted.held.X[:, 0]}
    pieces = [set(parted.belongs[: parted.folds[0].train]), *(set(parted.belongs[a:b]) for a, b in parted.folds), held]
    assert sum(len(piece) for piece in pieces) == len(set().union(*pieces))
    first, end = parted.cuts.stopping
    assert end == parted.folds[0].train
    assert 0.2 < (end - first) / end < 0.3
    assert not set(parted.belongs[:first]) & set(parted.belongs[first:end])
    assert "row 5" in set().union(*pieces)
    assert 0.15 < len(parted.held) / (parted.counts["tune"] + len(parted.held)) < 0.45


def test_too_few_rows_are_refused(tmp_path: Path) -> None:
    with pytest.raises(NotEnoughData, match="100 labelled rows are too few to train on; at least 200 are needed"):
        material.from_frame(open_settings(tmp_path), frame(100))


def test_rows_of_one_class_are_refused(tmp_path: Path) -> None:
    with pytest.raises(NotEnoughData, match="label 'late' has 1 class"):
        material.from_frame(open_settings(tmp_path), frame(late=[0] * 2000))


@pytest.mark.parametrize("value", [5.0, 12345678.25])
def test_a_number_to_predict_that_never_varies_is_refused(tmp_path: Path, value: float) -> None:
    settings = open_settings(tmp_path)
    columns = settings.columns.model_copy(update={"label": Label(name="late", task="regression")})
    settings = settings.model_copy(update={"columns": columns})
    with pytest.raises(NotEnoughData, match=rf"label 'late' is {value:.15g} in all 2,000 rows looked at; at least two different values"):
        material.from_frame(settings, frame(late=[value] * 2000))
    assert len(material.from_frame(settings, frame(late=[value] * 1999 + [0.0])).rows) == 1840


def test_few_groups_cannot_be_split(tmp_path: Path) -> None:
    with pytest.raises(NotEnoughData, match="1 groups cannot be split"):
        material.from_frame(open_settings(tmp_path, group="person"), frame(person=["p"] * 2000).drop_columns(TIME))
