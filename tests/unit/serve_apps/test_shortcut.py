from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from serve_apps import shortcut
from serve_apps.http import Message, Receive, Scope, Send

answered: list[tuple[str, str]] = []


async def by_gateway(scope: Scope, receive: Receive, send: Send) -> None:
    answered.append(("gateway", scope.get("path", "")))


async def by_serve(scope: Scope, receive: Receive, send: Send) -> None:
    answered.append(("serve", scope.get("path", "")))


@pytest.fixture(autouse=True)
def _no_gateway() -> Iterator[None]:
    answered.clear()
    yield
    shortcut._here.clear()


def send(scope: Scope) -> None:
    (middleware,) = shortcut.middlewares()
    app: Any = middleware.cls(by_serve)  # type: ignore[call-arg] # Starlette types what it takes for any middleware

    async def nothing() -> Message:
        return {}

    async def nowhere(message: Message) -> None:
        return None

    asyncio.run(app(scope, nothing, nowhere))


def test_requests_go_straight_to_the_gateway_of_the_process() -> None:
    shortcut.install(by_gateway)
    send({"type": "http", "path": "/v1/predict"})
    assert answered == [("gateway", "/v1/predict")]


@pytest.mark.parametrize("scope", [{"type": "http", "path": "/-/healthz"}, {"type": "websocket", "path": "/v1/predict"}])
def test_what_is_serves_own_stays_with_serve(scope: Scope) -> None:
    shortcut.install(by_gateway)
    send(scope)
    assert answered == [("serve", scope["path"])]


def test_a_process_without_a_gateway_goes_serves_way() -> None:
    send({"type": "http", "path": "/v1/predict"})
    assert answered == [("serve", "/v1/predict")]
