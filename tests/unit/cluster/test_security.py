from __future__ import annotations

import base64

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


def basic(text: str) -> dict[bytes, bytes]:
    return {b"authorization": b"Basic " + base64.b64encode(text.encode())}


@pytest.mark.parametrize("given", ["anyone:s3cret-é", ":s3cret-é"])
def test_a_browser_may_read_with_the_token_as_password(guarded: Authenticator, given: str) -> None:
    assert guarded.identify_reader(basic(given)).name == "bearer"
    assert guarded.identify_reader({b"authorization": "Bearer s3cret-é".encode()}).name == "bearer"


@pytest.mark.parametrize("header", [basic("s3cret-é:"), basic("s3cret-é"), basic("me:wrong"), {b"authorization": b"Basic !"}, {}])
def test_a_browser_with_anything_else_may_not_read(guarded: Authenticator, header: dict[bytes, bytes]) -> None:
    with pytest.raises(Unauthenticated):
        guarded.identify_reader(header)


def test_what_a_browser_remembers_opens_nothing_that_acts(guarded: Authenticator) -> None:
    with pytest.raises(Unauthenticated):
        guarded.identify(basic("me:s3cret-é"))


def test_without_a_token_a_browser_needs_none() -> None:
    assert Authenticator(None).identify_reader(basic("me:what")) == ANYONE
