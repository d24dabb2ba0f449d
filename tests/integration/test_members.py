"""Every member fitted for real, and its graph held against it."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pytest

from cluster.bundle import SUFFIXES
from cluster.errors import DataError
from cluster.schema import Feature, FeatureSchema, Label, Task, score_width
from cluster.settings import Data, Settings
from tests.unit.training import tables
from training import ensemble, graphs
from training.members import Crew, Rows, build

TASKS = get_args(Task)


@pytest.fixture(scope="module", params=TASKS)
def fitted(request):
    task = request.param
    train, valid = tables.rows_of(task), tables.rows_of(task, 400, seed=1)
    return [(member, member.fit(train, valid, Crew()), train, valid) for member in tables.members_of(task)]


def test_every_member_exports_to_the_scores_it_gives_natively(fitted):
    for member, native, _, valid in fitted:
        rows = np.vstack([valid.X, tables.odd_rows()])
        scores = member.score(native, rows)
        exported = graphs.run(member.to_onnx(native), rows)
        width = score_width(member.schema.label)
        assert scores.shape == exported.shape == (len(rows), width), member.name
        assert scores.dtype == exported.dtype == np.float32
        assert np.isfinite(scores).all(), member.name
        np.testing.assert_allclose(exported, scores, rtol=1e-5, atol=1e-5, err_msg=member.name)


def test_a_graph_scores_one_row_as_it_scores_many(fitted):
    for member, native, _, valid in fitted:
        graph = member.to_onnx(native)
        np.testing.assert_allclose(graphs.run(graph, valid.X[:1]), graphs.run(graph, valid.X)[:1], rtol=1e-5)


def test_every_member_beats_knowing_nothing(fitted):
    for member, native, train, valid in fitted:
        label = member.schema.label
        if label.task == "regression":
            blind = float(((valid.y - train.y.mean()) ** 2).mean())
        else:
            shares = np.bincount(train.y.astype(int)) / len(train)
            given = np.tile(shares[1:] if label.task == "binary" else shares, (len(valid), 1))
            blind = ensemble.loss(label, valid.y, given)
        assert ensemble.loss(label, valid.y, member.score(native, valid.X)) < 0.9 * blind, member.name


def test_the_same_seed_gives_the_same_bytes(fitted):
    for member, native, train, valid in fitted:
        assert member.fit(train, valid, Crew()) == native, member.name


def test_another_seed_gives_another_network():
    (network,) = tables.members_of("binary", ("torch",))
    train, valid = tables.rows_of("binary", 300), tables.rows_of("binary", 100, seed=1)
    assert network.fit(train, valid, Crew(seed=1)) != network.fit(train, valid, Crew(seed=2))


def test_native_files_have_safe_formats():
    names = [member.native_name for member in tables.members_of("binary")]
    assert all("." + name.rsplit(".", 1)[1] in SUFFIXES for name in names)
    assert len(set(names)) == len(names)


def test_a_code_beyond_the_unknown_one_is_scored_as_unknown():
    train, valid = tables.rows_of("binary"), tables.rows_of("binary", 300, seed=1)
    for member in tables.members_of("binary"):
        scores = member.score(member.fit(train, valid, Crew()), tables.odd_rows())
        assert scores[1] == scores[2], member.name


def test_members_that_are_left_out_are_not_built():
    assert [member.name for member in tables.members_of("binary", ("linear",))] == ["linear"]


def test_a_schema_that_is_not_frozen_is_refused():
    schema = FeatureSchema(features=(Feature(name="carrier", type="category"),), label=Label(name="late"))
    with pytest.raises(DataError, match="freeze it over the training table"):
        build(Settings(model="toy", data=Data(source="toy.csv"), columns=schema), schema)


@pytest.mark.parametrize("kind", ["number", "category"])
def test_members_fit_tables_of_numbers_only_and_of_categories_only(kind):
    feature = Feature(name="f", type=kind, categories=("a", "b") if kind == "category" else None)
    schema = FeatureSchema(features=(feature,), label=Label(name="late", classes=(0, 1)))
    rng = np.random.default_rng(0)
    X = rng.integers(0, 2, (200, 1)).astype(np.float32)
    rows = Rows(X, (rng.random(200) < 0.2 + 0.6 * X[:, 0]).astype(np.float64))
    for member in build(Settings(model="toy", data=Data(source="toy.csv"), columns=schema), schema):
        native = member.fit(rows, rows, Crew())
        np.testing.assert_allclose(graphs.run(member.to_onnx(native), X), member.score(native, X), atol=1e-6, err_msg=member.name)
