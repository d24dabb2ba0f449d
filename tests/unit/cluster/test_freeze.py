"""A table counted piece by piece closes a schema as the whole table does."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster import freeze as freezing
from cluster.errors import DataError
from cluster.freeze import close, freeze, merge, tally
from cluster.schema import Feature, FeatureSchema, Label, Task

LABELS: dict[Task, list[Any]] = {"binary": [0, 1, None], "multiclass": ["a", "b", "c", None], "regression": [1.5, -2.0, 7.25, None]}


def open_schema(task: Task) -> FeatureSchema:
    features = (Feature(name="carrier", type="category"), Feature(name="miles", type="number"), Feature(name="origin", type="category"))
    return FeatureSchema(features=features, label=Label(name="late", task=task))


def table_of(task: Task, n: int, seed: int) -> pa.Table:
    rng = np.random.default_rng(seed)
    labels = [LABELS[task][i] for i in rng.integers(0, len(LABELS[task]), n)]
    columns = {
        "carrier": pa.array([[*"ABCDEF", None][i] for i in rng.integers(0, 7, n)], pa.string()),
        "miles": pa.array(rng.normal(size=n)),
        "origin": pa.array(rng.integers(0, 4, n)),
        "late": pa.array(labels),
    }
    return pa.table(columns)


@pytest.mark.parametrize("task", ["binary", "multiclass", "regression"])
@given(cuts=st.lists(st.integers(0, 400), max_size=4), seed=st.integers(0, 5))
def test_pieces_close_a_schema_exactly_as_the_whole_table(task: Task, cuts: list[int], seed: int) -> None:
    schema, table = open_schema(task), table_of(task, 400, seed)
    edges = [0, *sorted(cuts), 400]
    parts = [tally(schema, table.slice(start, stop - start)) for start, stop in itertools.pairwise(edges)]
    assert close(schema, merge(parts), min_count=5) == freeze(schema, table, min_count=5)


@pytest.mark.parametrize("task", ["binary", "multiclass", "regression"])
def test_categories_are_in_order_of_mean_label_as_pandas_finds_it(task: Task) -> None:
    table = table_of(task, 400, 3)
    frozen = freeze(open_schema(task), table, min_count=5)
    frame = table.to_pandas()
    frame["y"] = frame.late.map({c: i for i, c in enumerate(frozen.label.classes)}) if frozen.label.classes else frame.late
    means = frame.groupby("carrier").y.mean()
    assert list(frozen.features[0].categories or ()) == sorted(means.index, key=lambda c: (means[c], c))


def test_a_category_without_a_known_label_takes_the_middle_place() -> None:
    carriers, labels = ["low"] * 4 + ["mid"] * 4 + ["top"] * 4, [0] * 4 + [None] * 4 + [1] * 4
    table = pa.table({"carrier": carriers, "miles": [1.0] * 12, "origin": ["x"] * 12, "late": labels})
    assert freeze(open_schema("binary"), table, min_count=2).features[0].categories == ("low", "mid", "top")


def test_a_label_outside_the_classes_is_found_in_any_piece() -> None:
    schema = open_schema("binary").model_copy(update={"label": Label(name="late", classes=(0, 1))})
    table = table_of("binary", 60, 0)
    odd = table.slice(0, 1).set_column(3, "late", pa.array([2]))
    with pytest.raises(DataError, match="label 2 is none of the classes of 'late': 0, 1"):
        close(schema, merge([tally(schema, table), tally(schema, odd)]))


def test_a_column_of_identifiers_is_refused_while_it_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(freezing, "_MOST_VALUES", 10)
    schema = open_schema("binary")
    with pytest.raises(DataError, match="feature 'carrier' has more than 10 different values; it is an identifier"):
        merge([tally(schema, table_of("binary", 100, 0))])
