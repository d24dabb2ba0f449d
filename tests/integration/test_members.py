"""Every member fitted for real, and its graph held against it; and the network on two workers that know nothing of Ray."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import cast, get_args

import numpy as np
import pytest
import torch
import torch.distributed
from sklearn.metrics import mean_squared_error
from torch.multiprocessing.spawn import spawn

from cluster import member_settings
from cluster.errors import DataError
from cluster.schema import Feature, FeatureSchema, Floats, Label, Matrix, Task, score_width
from cluster.settings import Data, Settings
from tests.unit.training import tables
from training.composing import graphs
from training.members import Crew, Member, Rows, build
from training.members.torch import TorchMember

TASKS = get_args(Task)


def all_of(schema: FeatureSchema) -> list[Member]:
    """Every family with its defaults, but fewer rounds and epochs."""
    families: dict[str, type] = {
        "xgboost": member_settings.XGBoost,
        "lightgbm": member_settings.LightGBM,
        "catboost": member_settings.CatBoost,
    }
    chosen = member_settings.Members(
        **{name: family(rounds=80) for name, family in families.items()},
        torch=member_settings.Torch(epochs=6),
        linear=member_settings.Linear(),
    )
    return build(Settings(model="toy", data=Data(source="toy.csv"), columns=schema, members=chosen), schema)


@pytest.fixture(scope="module", params=TASKS)
def fitted(request):
    task = request.param
    train, valid = tables.rows_of(task), tables.rows_of(task, 400, seed=1)
    return [(member, member.fit(train, valid, Crew()), train, valid) for member in all_of(tables.schema_of(task))]


def loss(label: Label, y: Floats, scores: Matrix) -> float:
    if label.task == "regression":
        return float(mean_squared_error(y, scores[:, 0]))
    p = np.hstack([1 - scores, scores]) if label.task == "binary" else scores
    return float(-np.log(p[np.arange(len(y)), y.astype(int)].astype(np.float64)).mean())


def test_every_member_exports_to_the_scores_it_gives_natively(fitted):
    for member, fit, _, valid in fitted:
        rows = np.vstack([valid.X, tables.odd_rows()])
        scores = member.score(fit.native, rows)
        exported = graphs.run(member.to_onnx(fit.native), rows)
        width = score_width(member.schema.label)
        assert scores.shape == exported.shape == (len(rows), width), member.name
        assert scores.dtype == exported.dtype == np.float32
        assert np.isfinite(scores).all(), member.name
        np.testing.assert_allclose(exported, scores, rtol=1e-5, atol=1e-5, err_msg=member.name)


def test_a_graph_scores_one_row_as_it_scores_many(fitted):
    for member, fit, _, valid in fitted:
        graph = member.to_onnx(fit.native)
        np.testing.assert_allclose(graphs.run(graph, valid.X[:1]), graphs.run(graph, valid.X)[:1], rtol=1e-5)


def test_every_member_beats_knowing_nothing(fitted):
    for member, fit, train, valid in fitted:
        label = member.schema.label
        mean = np.bincount(train.y.astype(int))[None] / len(train) if label.task == "multiclass" else np.array([[train.y.mean()]])
        blind = loss(label, valid.y, np.tile(mean, (len(valid), 1)).astype(np.float32))
        assert loss(label, valid.y, member.score(fit.native, valid.X)) < 0.9 * blind, member.name


def test_the_same_seed_gives_the_same_bytes(fitted):
    for member, fit, train, valid in fitted:
        assert member.fit(train, valid, Crew()) == fit, member.name


def test_a_code_beyond_the_unknown_one_is_scored_as_unknown_by_networks_and_lines():
    train, valid = tables.rows_of("binary"), tables.rows_of("binary", 300, seed=1)
    for member in tables.members_of("binary", ("torch", "linear")):
        scores = member.score(member.fit(train, valid, Crew()).native, tables.odd_rows())
        assert scores[1] == scores[2], member.name


def test_a_threshold_between_two_float32_numbers_parts_them_in_the_graph_as_in_the_library():
    low = np.float32(0.1)
    high = np.nextafter(low, np.float32(1))
    X = np.repeat(np.array([[low], [high]], dtype=np.float32), 100, axis=0)
    rows = Rows(X, np.repeat([0.0, 1.0], 100))
    schema = FeatureSchema(features=(Feature(name="f", type="number"),), label=Label(name="late", classes=(0, 1)))
    for member in all_of(schema)[:3]:
        native = member.fit(rows, None, Crew(), effort=10).native
        np.testing.assert_allclose(graphs.run(member.to_onnx(native), X), member.score(native, X), atol=1e-6, err_msg=member.name)


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
    for member in all_of(schema):
        native = member.fit(rows, rows, Crew()).native
        np.testing.assert_allclose(graphs.run(member.to_onnx(native), X), member.score(native, X), atol=1e-6, err_msg=member.name)


def test_a_column_that_training_never_saw_filled_does_not_matter():
    rows = tables.rows_of("binary", 300)
    rows.X[:, 0] = np.nan
    filled = np.column_stack([np.ones(300), rows.X[:, 1:]]).astype(np.float32)
    for member in all_of(tables.schema_of("binary")):
        native = member.fit(rows, rows[:100], Crew()).native
        for matrix in (rows.X, filled):
            scores = member.score(native, matrix)
            assert np.isfinite(scores).all(), member.name
            np.testing.assert_allclose(graphs.run(member.to_onnx(native), matrix), scores, rtol=1e-5, atol=1e-5, err_msg=member.name)


NETWORK = member_settings.Torch(epochs=3, hidden=(16,), networks=2, batch_size=64)


def _join(rank: int, place: str) -> None:
    """What each of two workers runs: a fit, and one that goes on from its first epoch."""
    torch.distributed.init_process_group("gloo", init_method=f"file://{place}/meet", rank=rank, world_size=2)

    def share(item: object) -> object:
        box = [item]
        torch.distributed.broadcast_object_list(box, src=0)
        return box[0]

    def total(values: Floats) -> Floats:
        tensor = torch.from_numpy(np.array(values, dtype=np.float64))
        torch.distributed.all_reduce(tensor)
        return cast("Floats", tensor.numpy())

    states: list[bytes] = []
    crew = Crew(rank=rank, size=2, share=share, total=total, save=lambda state: states.append(state()))
    rows, valid = tables.rows_of("binary", 601)[rank::2], tables.rows_of("binary", 201, seed=1)[rank::2]
    member = TorchMember(NETWORK, tables.schema_of("binary"))
    fit = member.fit(rows, valid, crew)
    assert member.fit(rows, valid, replace(crew, resume=states[0])) == fit
    with open(f"{place}/{rank}.json", "wb") as file:  # noqa: PTH123 -- a process of its own
        file.write(fit.native)
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()
    os._exit(0)  # a thread of gloo's that is still there when the interpreter is torn down aborts the process, once in many runs


def test_two_workers_train_one_network_and_both_hold_it(tmp_path):
    spawn(_join, args=(str(tmp_path),), nprocs=2)  # type: ignore[no-untyped-call]
    first, second = ((tmp_path / f"{rank}.json").read_bytes() for rank in range(2))
    assert first == second
    member, valid = TorchMember(NETWORK, tables.schema_of("binary")), tables.rows_of("binary", 400, seed=2)
    assert loss(member.schema.label, valid.y, member.score(first, valid.X)) < 0.6
