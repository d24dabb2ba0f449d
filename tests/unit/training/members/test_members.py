"""What every member promises, whichever family it is of: the protocol, on small tables."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import Any, cast, get_args

import msgspec
import numpy as np
import pytest

from cluster import member_settings, settings
from cluster.errors import ConfigError
from cluster.formats import BEGINNINGS
from cluster.schema import Feature, FeatureSchema, Label, Task, score_width
from cluster.settings import Settings
from tests.unit.training import tables
from training.composing import graphs
from training.members import Crew, Member, Rows, build, xgboost

TASKS = get_args(Task)
SMALL = {
    "xgboost": member_settings.XGBoost(rounds=12, max_depth=3, early_stopping_rounds=3),
    "lightgbm": member_settings.LightGBM(rounds=12, num_leaves=6, early_stopping_rounds=3),
    "catboost": member_settings.CatBoost(rounds=12, max_depth=3, early_stopping_rounds=3),
    "torch": member_settings.Torch(epochs=3, patience=2, networks=2, hidden=(8,), pieces=4, batch_size=64),
    "linear": member_settings.Linear(),
}
FAMILIES = member_settings.FAMILIES


def member_of(family: str, schema: FeatureSchema, **changes: object) -> Member:
    chosen = SMALL[family].model_copy(update=changes)
    members = member_settings.Members(**{name: chosen if name == family else None for name in FAMILIES})
    (member,) = build(Settings(model="toy", data=settings.Data(source="toy.csv"), columns=schema, members=members), schema)
    return member


def small(family: str, task: Task = "binary") -> Member:
    return member_of(family, tables.schema_of(task))


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("family", FAMILIES)
def test_the_graph_scores_what_the_native_model_scores(family, task):
    member, train = small(family, task), tables.rows_of(task, 300)
    native = member.fit(train, train[:100], Crew()).native
    rows = np.vstack([train.X, tables.odd_rows()])
    scores, exported = member.score(native, rows), graphs.run(member.to_onnx(native), rows)
    assert scores.shape == exported.shape == (len(rows), score_width(tables.schema_of(task).label))
    assert scores.dtype == exported.dtype == np.float32
    np.testing.assert_allclose(exported, scores, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_file_gives_the_bytes_that_memory_gives(family, tmp_path):
    member, rows = small(family), tables.rows_of("binary", 200)
    for name in ("X", "y"):
        np.save(tmp_path / f"{name}.npy", getattr(rows, name))
    mapped = Rows(*(np.load(tmp_path / f"{name}.npy", mmap_mode="r") for name in ("X", "y")))
    assert member.fit(mapped[:150], mapped[150:], Crew()) == member.fit(rows[:150], rows[150:], Crew())


@pytest.mark.parametrize("family", FAMILIES)
def test_without_validation_rows_a_fit_spends_the_effort_it_is_given_or_the_settings_most(family):
    member, rows = small(family), tables.rows_of("binary", 200)
    efforts = [member.fit(rows, None, Crew(), effort=effort).effort for effort in (2, None)]
    assert efforts == {"torch": [2, 3], "linear": [0, 0]}.get(family, [2, 12])


@pytest.mark.parametrize("family", ["xgboost", "torch"])
def test_a_refit_of_the_effort_that_was_found_on_the_same_rows_is_the_same_model(family):
    train, valid = tables.rows_of("binary", 300), tables.rows_of("binary", 120, seed=1)
    found = small(family).fit(train, valid, Crew())
    again = small(family).fit(train, None, Crew(), effort=found.effort)
    member = small(family)
    np.testing.assert_array_equal(member.score(again.native, valid.X), member.score(found.native, valid.X))


@pytest.mark.parametrize("family", FAMILIES)
def test_heavier_rows_pull_the_scores(family):
    rows, member = tables.rows_of("binary", 300), small(family)
    heavy = replace(rows, weight=np.where(rows.y == 1, 5.0, 1.0))
    means = [member.score(member.fit(some, None, Crew()).native, rows.X).mean() for some in (rows, heavy)]
    assert means[1] > means[0] + 0.05


EXACT = {
    "xgboost": {"subsample": 1.0, "colsample_bytree": 1.0, "min_child_weight": 0.0},
    "lightgbm": {"subsample": 1.0, "colsample_bytree": 1.0, "min_child_samples": 1},
    "linear": {},
}


@pytest.mark.parametrize("family", EXACT)
def test_a_row_of_weight_two_counts_as_the_row_twice(family):
    rng = np.random.default_rng(0)
    X = rng.integers(0, 5, (300, 2)).astype(np.float32)
    rows = Rows(X, (rng.random(300) < 0.2 + 0.1 * X[:, 0]).astype(np.float64))
    schema = FeatureSchema(features=tuple(Feature(name=name, type="number") for name in "ab"), label=Label(name="late", classes=(0, 1)))
    member, twice = member_of(family, schema, **EXACT[family]), np.arange(300) % 3 == 0
    doubled = rows[np.concatenate([np.arange(300), np.flatnonzero(twice)])]
    weighted = replace(rows, weight=np.where(twice, 2.0, 1.0))
    expected = member.score(member.fit(doubled, None, Crew()).native, X)
    np.testing.assert_allclose(member.score(member.fit(weighted, None, Crew()).native, X), expected, atol=2e-4)
    assert np.abs(expected - member.score(member.fit(rows, None, Crew()).native, X)).max() > 2e-3


@pytest.mark.parametrize("family", ["xgboost", "lightgbm"])
def test_validation_rows_without_weight_do_not_stop_a_fit(family):
    train, valid = tables.rows_of("binary", 300), tables.rows_of("binary", 200, seed=1)
    odd = replace(valid, y=np.where(np.arange(200) < 100, 1 - valid.y, valid.y), weight=np.where(np.arange(200) < 100, 0.0, 1.0))
    member = small(family)
    assert member.fit(train, odd, Crew()).effort == member.fit(train, valid[100:], Crew()).effort
    assert member.fit(train, replace(odd, weight=None), Crew()).effort < member.fit(train, odd, Crew()).effort


@pytest.mark.parametrize("family", ["xgboost", "torch"])
@pytest.mark.parametrize("task", TASKS)
def test_a_fit_that_goes_on_ends_in_the_bytes_of_one_that_was_never_stopped(family, task, monkeypatch):
    monkeypatch.setattr(xgboost, "LONG_FIT", 0)
    monkeypatch.setattr(xgboost, "SLICE_ROUNDS", 3)
    train, valid = tables.rows_of(task, 300), tables.rows_of(task, 120, seed=1)
    member, states = small(family, task), []
    whole = member.fit(train, valid, Crew(save=lambda state: states.append(state())))
    assert len(states) >= 2
    after: list[bytes] = []
    assert member.fit(train, valid, Crew(resume=states[0], save=lambda state: after.append(state()))) == whole
    assert after == states[1:]


@pytest.mark.parametrize("family", ["lightgbm", "catboost"])
def test_rank_zero_hands_its_trees_to_the_others_and_says_so(family, caplog):
    rows, member = tables.rows_of("binary", 300), small(family)
    box: list[object] = []

    def give(item: object) -> object:
        box.append(item)
        return item

    first = member.fit(rows[::2], None, Crew(size=2, share=give))
    second = member.fit(rows[1::2], None, Crew(rank=1, size=2, share=lambda _: box[0]))
    assert first == second == member.fit(rows[::2], None, Crew())
    assert f"{family} is fitted on one of 2 workers" in caplog.text


@pytest.mark.parametrize("family", ["lightgbm", "catboost"])
def test_a_member_whose_library_is_missing_names_the_extra(family, monkeypatch):
    monkeypatch.setitem(sys.modules, family, None)
    with pytest.raises(ConfigError, match=rf"pip install 'homeostat\[{family}\]', or set members.{family} to null"):
        small(family)


def test_members_are_built_in_the_order_in_which_they_are_fitted():
    schema = tables.schema_of("binary")
    chosen = settings.Settings(model="toy", data=settings.Data(source="toy.csv"), columns=schema, members=member_settings.Members(**SMALL))
    members = build(chosen, schema)
    assert [member.name for member in members] == list(FAMILIES)
    natives = [member.native_name for member in members]
    assert len(set(natives)) == len(natives)
    assert all("." + name.rsplit(".", 1)[1] in BEGINNINGS for name in natives)


def test_libraries_that_are_extras_are_left_out_by_default():
    assert [name for name in FAMILIES if getattr(member_settings.Members(), name) is not None] == ["xgboost", "torch", "linear"]


@pytest.mark.parametrize("family", FAMILIES)
def test_a_search_tries_other_settings_of_the_same_member(family):
    import optuna

    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    member = cast("Any", small(family))
    tried = cast("Any", member.suggest(study.ask()))
    assert type(tried) is type(member)
    assert tried.settings != member.settings
    type(tried.settings).model_validate(tried.settings.model_dump())
    left_alone = {"rounds", "early_stopping_rounds", "epochs", "patience"}
    before, after = (one.settings.model_dump(include=left_alone) for one in (member, tried))
    assert before == after


def test_a_native_model_holds_nothing_of_when_it_was_made():
    content = msgspec.json.decode(small("catboost").fit(tables.rows_of("binary", 100), None, Crew()).native)
    assert set(content) == {"features_info", "oblivious_trees", "scale_and_bias"}
