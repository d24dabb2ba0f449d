import sys
from pathlib import Path

import pytest

from benchmarks import contenders, environments, stage
from benchmarks.bodies import Row, as_rows
from benchmarks.contenders import ALL, VARIANTS
from benchmarks.stage import NUM_BODIES, NUM_ROWS, SECRET, Stage
from cluster.environment import FAST_HTTP
from cluster.settings import load


@pytest.fixture
def made(tmp_path: Path) -> Stage:
    config = stage.write_config(tmp_path)
    rows: list[Row] = [{"miles": number} for number in range(NUM_ROWS)]
    return Stage(load(config), config, tmp_path / "bundle", rows, {"Authorization": "Bearer abc"}, tmp_path / "log")


def test_the_stage_s_model_asks_for_a_token_and_does_not_retrain(made: Stage, tmp_path: Path):
    assert made.settings.serving.token_env == SECRET
    assert made.secret == {SECRET: "abc"}
    assert not made.settings.loop.enabled
    assert made.settings.places.root == str(tmp_path)


def test_one_row_bodies_are_spread_over_all_rows(made: Stage):
    assert len(made.bodies) == NUM_BODIES
    assert made.bodies[:2] == [as_rows([{"miles": 0}]), as_rows([{"miles": 8}])]


def test_blocks_of_many_rows_hold_each_row_once(made: Stage):
    blocks = made.blocks(64)
    assert {len(block) for block in blocks} == {64}
    assert [row for block in blocks for row in block] == made.rows


def test_what_an_earlier_run_answered_is_forgotten(made: Stage):
    journal = Path(made.settings.places.journal(made.settings.model))
    journal.mkdir(parents=True)
    made.forget()
    made.forget()
    assert not journal.exists()


def test_peers_run_in_their_own_environment_and_without_what_makes_ray_fast(made: Stage, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(environments, "python", lambda name: f"/envs/{name}/bin/python")
    for name in FAST_HTTP:
        monkeypatch.setenv(name, "1")
    found = {name: make(made) for name, make in ALL.items() if name != "mlserver-matrix"}
    assert found["litserve"].command[:3] == ["/envs/litserve/bin/python", "-m", "benchmarks.peers.litserve_api"]
    assert found["ray-serve"].command[0] == sys.executable
    assert found["ray-serve"].command[3] == str(made.bundle)
    assert found["ray-serve"].url == f"http://127.0.0.1:{found['ray-serve'].command[4]}/"
    assert not any(FAST_HTTP.keys() & contender.environment.keys() for contender in found.values())


def test_homeostat_is_what_the_command_starts_and_the_only_one_that_is_ours(made: Stage, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(environments, "python", lambda name: name)
    ours = ALL["homeostat"](made)
    assert ours.command == [stage.HOMEOSTAT, "serve", str(made.config)]
    assert ours.environment[SECRET] == "abc"
    others = [make(made) for name, make in (ALL | VARIANTS).items() if name not in ("homeostat", "mlserver-matrix")]
    assert "ours" not in {contender.role for contender in others}


def test_the_default_path_is_asked_for_where_it_is_measured(made: Stage):
    assert VARIANTS["homeostat-default-path"](made).environment["RAY_SERVE_ENABLE_HA_PROXY"] == "0"
    assert VARIANTS["ray-serve-fast-path"](made).environment["RAY_SERVE_ENABLE_HA_PROXY"] == "1"
    assert contenders.plain_environment().keys().isdisjoint(FAST_HTTP)
