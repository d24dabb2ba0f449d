from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from cluster import environment


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("OMP_WAIT_POLICY", *environment.THREADS, "RAY_ADDRESS", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH", "RAY_AUTH_MODE"):
        monkeypatch.setenv(name, "")  # so that it is put back afterwards, whatever the test does
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def test_ray_of_our_own_asks_for_a_token(home: Path) -> None:
    environment.prepare()
    assert os.environ["RAY_AUTH_MODE"] == "token"


def test_what_the_user_has_set_stays(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    environment.prepare()
    assert os.environ["RAY_AUTH_MODE"] == "disabled"


def test_threads_that_wait_soon_sleep_unless_the_user_says_how_they_wait(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")
    environment.prepare()
    assert not environment.THREADS.keys() & os.environ.keys()
    monkeypatch.delenv("OMP_WAIT_POLICY")
    environment.prepare()
    assert environment.THREADS.items() <= os.environ.items()


def test_a_cluster_of_somebody_elses_is_left_its_own_way(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    environment.prepare()
    assert "RAY_AUTH_MODE" not in os.environ


def test_a_token_is_made_once_and_only_its_owner_may_read_it(home: Path) -> None:
    environment.prepare()
    environment.ensure_token()
    path = home / ".ray" / "auth_token"
    token = path.read_text()
    assert len(bytes.fromhex(token)) == 32
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    environment.ensure_token()
    assert path.read_text() == token


def test_of_two_processes_that_make_a_token_at_once_the_first_ones_counts(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    environment.prepare()
    path = home / ".ray" / "auth_token"
    link = os.link

    def beaten(made: str, target: Path) -> None:
        path.write_text("theirs")
        link(made, target)

    monkeypatch.setattr("os.link", beaten)
    environment.ensure_token()
    assert path.read_text() == "theirs"
    assert [p.name for p in path.parent.iterdir()] == ["auth_token"]


@pytest.mark.parametrize("name", ["RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"])
def test_no_token_is_made_when_the_user_brings_one(home: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    environment.prepare()
    monkeypatch.setenv(name, "mine")
    environment.ensure_token()
    assert not (home / ".ray").exists()


def test_no_token_is_made_without_token_authentication(home: Path) -> None:
    environment.ensure_token()
    assert not (home / ".ray").exists()


def test_the_tables_hold_strings_and_do_not_contradict_each_other() -> None:
    assert not environment.FAST_HTTP.keys() & environment.LOCAL.keys()
    assert all(isinstance(value, str) for value in (environment.FAST_HTTP | environment.LOCAL).values())
