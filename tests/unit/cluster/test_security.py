from __future__ import annotations

import pytest

from cluster.errors import ConfigError, Unauthenticated
from cluster.security import ANYONE, Authenticator


@pytest.fixture
def guarded(monkeypatch: pytest.MonkeyPatch) -> Authenticator:
    monkeypatch.setenv("SERVICE_TOKEN", "s3cret-é")
    return Authenticator("SERVICE_TOKEN")


def test_without_a_token_anyone_may_ask() -> None:
    assert Authenticator(None).identify({}) == ANYONE


@pytest.mark.parametrize("header", ["Bearer s3cret-é", "bearer  s3cret-é "])
def test_the_right_token_is_let_in(guarded: Authenticator, header: str) -> None:
    assert guarded.identify({b"authorization": header.encode()}).name == "bearer"


@pytest.mark.parametrize("header", ["", "Bearer", "Bearer ", "Bearer wrong", "Basic s3cret-é", "s3cret-é", "Bearer s3cret-é more"])
def test_anything_else_is_refused_with_what_to_send(guarded: Authenticator, header: str) -> None:
    with pytest.raises(Unauthenticated, match="Authorization: Bearer TOKEN"):
        guarded.identify({b"authorization": header.encode()} if header else {})


def test_a_named_and_empty_variable_does_not_open_the_service(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SERVICE_TOKEN", raising=False)
    with pytest.raises(ConfigError, match="environment variable SERVICE_TOKEN, which is empty here"):
        Authenticator("SERVICE_TOKEN")
