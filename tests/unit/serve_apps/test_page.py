"""The page as the gateway hands it on: to whom, and with which headers."""

from __future__ import annotations

import asyncio
import base64
from pathlib import Path
from typing import Any

import pytest

from cluster.errors import Unavailable
from cluster.settings import Settings
from serve_apps.endpoints.page import Page
from serve_apps.http import Call
from serve_apps.placement import Placement
from serve_apps.protocols.plane import Reply
from serve_apps.served import ServedModel
from tests.builders import make_champion, make_settings
from tests.unit.serve_apps.test_gateway import Client, converse, serve

ASKED: list[tuple[Any, ...]] = []


async def monitor(model: str, path: str, query: dict[str, str]) -> tuple[int, str, bytes]:
    ASKED.append((model, path, query))
    return 200, "text/html; charset=utf-8", b"<h1>Well</h1>"


async def nobody(model: str, path: str, query: dict[str, str]) -> tuple[int, str, bytes]:
    raise Unavailable("model '<late>' has no monitor")


def get(settings: Settings, ask: Any = monitor, *, root: str = "", query: str = "", **headers: str) -> Reply:
    """What GET /late/ui answers."""
    sent = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    scope = {"method": "GET", "headers": sent, "query_string": query.encode(), "root_path": root}
    call = Call(scope, None, path="/late/ui")  # type: ignore[arg-type] # nothing is read
    call.set_deadline(5)
    served = ServedModel(settings, Placement("in_process", "the test says so"))
    answered, reply = asyncio.run(Page(ask)(served, call))
    assert answered is None
    return reply


def test_what_the_monitor_answers_is_handed_on_and_may_load_nothing_from_elsewhere(served: Settings) -> None:
    reply = get(served, root="/root", query="days=7&days=30&x=%3Cb%3E")
    assert ASKED[-1] == ("late", "/root/late/ui", {"days": "30", "x": "<b>"})
    assert (reply.status, reply.body, reply.content_type) == (200, b"<h1>Well</h1>", "text/html; charset=utf-8")
    policy = reply.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self';")
    assert "frame-ancestors 'none'" in policy
    assert "http" not in policy


def test_what_the_browser_has_already_is_not_sent_again(served: Settings) -> None:
    tag = get(served).headers["ETag"]
    again = get(served, if_none_match=tag)
    assert (again.status, again.body, again.headers["ETag"]) == (304, b"", tag)
    assert get(served, if_none_match='"another"').status == 200


def test_without_a_monitor_the_page_says_so_in_words(served: Settings) -> None:
    reply = get(served, nobody)
    assert (reply.status, reply.headers["Retry-After"]) == (503, "5")
    assert b"model &#x27;&lt;late&gt;&#x27; has no monitor." in reply.body


@pytest.fixture
def guarded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setenv("PAGE_TOKEN", "s3cret")
    make_champion(tmp_path)
    return make_settings(tmp_path, token_env="PAGE_TOKEN")


def test_a_browser_is_asked_for_the_token_and_let_in_with_it(guarded: Settings) -> None:
    refused, count = get(guarded), len(ASKED)
    assert refused.status == 401
    assert refused.headers["WWW-Authenticate"].startswith("Basic realm=")
    assert len(ASKED) == count, "the monitor is not asked for strangers"
    assert get(guarded, authorization="Basic " + base64.b64encode(b"me:wrong").decode()).status == 401
    assert get(guarded, authorization="Basic " + base64.b64encode(b"me:s3cret").decode()).status == 200
    assert get(guarded, authorization="Bearer s3cret").status == 200


def test_the_pages_key_opens_no_route_that_acts(guarded: Settings) -> None:
    async def talk(client: Client, _: Any) -> None:
        header = {"Authorization": "Basic " + base64.b64encode(b"me:s3cret").decode()}
        for path in ("/v1/predict", "/late/v1/labels", "/invocations"):
            assert (await client.post(path, json={}, headers=header)).status_code == 401

    converse(guarded, talk, ask=None)


def test_ui_leads_to_the_only_models_page(served: Settings) -> None:
    async def talk(client: Client, _: Any) -> None:
        answer = await client.get("/ui")
        assert (answer.status_code, answer.headers["location"]) == (307, "/root/late/ui")

    converse(served, talk, root_path="/root")


def test_ui_lists_the_pages_of_several_models(served: Settings) -> None:
    other = served.model_copy(update={"model": "other"})
    pointers = Path(served.places.pointers("late"))
    Path(other.places.pointers("other")).write_bytes(pointers.read_bytes())

    async def talk(client: Client, _: Any) -> None:
        answer = await client.get("/ui")
        assert answer.status_code == 200
        assert '<a href="/late/ui">late</a>' in answer.text
        assert '<a href="/other/ui">other</a>' in answer.text

    converse(serve(served, other), talk)
