from __future__ import annotations

import threading

import numpy as np
import pytest
import xgboost

from cluster import member_settings
from cluster.schema import Label
from tests.unit.training import tables
from training.composing import graphs, trees
from training.members import Crew
from training.members import xgboost as members_xgboost
from training.members.xgboost import XGBoostMember, collective


def test_the_native_model_stops_at_the_best_round():
    member = XGBoostMember(member_settings.XGBoost(rounds=40, max_depth=4, learning_rate=0.3), tables.schema_of("binary"))
    train, valid = tables.rows_of("binary", 400), tables.rows_of("binary", 300, seed=1)
    native = member.fit(train, valid, Crew()).native
    chosen = member.settings.model_dump(exclude={"rounds", "early_stopping_rounds"})
    evaluations: dict = {}
    xgboost.train(
        trees.task_parameters(member.schema.label, seed=7, threads=1) | chosen | {"seed_per_iteration": True},
        xgboost.QuantileDMatrix(train.X, train.y),
        member.settings.rounds,
        evals=[(xgboost.DMatrix(valid.X, valid.y), "valid")],
        evals_result=evaluations,
        verbose_eval=False,
    )
    losses = evaluations["valid"]["logloss"]
    rounds = trees.load(native).num_boosted_rounds()
    assert rounds < member.settings.rounds
    assert losses[rounds - 1] == pytest.approx(min(losses[: rounds + member.settings.early_stopping_rounds]))


@pytest.mark.parametrize("task", ["binary", "multiclass", "regression"])
def test_base_scores_survive_the_export(task):
    label = Label(name="y", task=task, classes=tables.CLASSES[task])
    rows = tables.rows_of(task, 200)
    parameters = trees.task_parameters(label, seed=7, threads=1) | {"max_depth": 1, "learning_rate": 0.001}
    native = trees.save(xgboost.train(parameters, xgboost.DMatrix(rows.X, rows.y), 1))
    np.testing.assert_allclose(graphs.run(trees.to_onnx(native, label), rows.X), trees.score(native, rows.X), rtol=1e-5)


def test_one_worker_needs_no_collective():
    with collective(Crew()):
        assert not xgboost.collective.is_distributed()


def test_the_tracker_is_started_by_rank_zero_and_its_address_shared():
    box: list = []
    ready = threading.Event()

    def share(item):
        box.append(item)
        ready.set()
        raise InterruptedError  # enough seen: joining needs a second process

    with pytest.raises(InterruptedError), collective(Crew(rank=0, size=2, share=share)):
        pass
    assert ready.is_set()
    assert int(box[0]["dmlc_tracker_port"]) > 0


def test_rounds_are_held_against_the_rows_of_all_workers_to_tell_a_long_fit(monkeypatch):
    monkeypatch.setattr(members_xgboost, "LONG_FIT", 2000)
    monkeypatch.setattr(members_xgboost, "SLICE_ROUNDS", 4)
    member = XGBoostMember(member_settings.XGBoost(rounds=10), tables.schema_of("binary"))
    for rows, saves in ((199, 0), (200, 2)):  # after 4 and 8 of 10 rounds; the end is the caller's to keep
        offered: list[object] = []
        member.fit(tables.rows_of("binary", rows), None, Crew(save=offered.append))
        assert len(offered) == saves


def test_a_gpu_is_asked_for_when_the_crew_has_one():
    member = XGBoostMember(member_settings.XGBoost(), tables.schema_of("binary"))
    assert member._parameters(Crew(use_gpu=True))["device"] == "cuda"
    assert "device" not in member._parameters(Crew())
