from __future__ import annotations

import asyncio
import gzip
import math
import zlib

import pytest

from cluster.errors import BadRequestShape, BodyTooLarge, CallerLeft, UnsupportedMediaType
from serve_apps.http import Call, Message


def make_call(*messages: Message, headers: dict[str, str] | None = None) -> Call:
    sent = iter(messages)

    async def receive() -> Message:
        return next(sent)

    raw = [(name.lower().encode(), value.encode()) for name, value in (headers or {}).items()]
    return Call({"type": "http", "method": "POST", "path": "/", "headers": raw}, receive, path="/", clock=lambda: 100.0)


def part(body: bytes, *, more: bool = False) -> Message:
    return {"type": "http.request", "body": body, "more_body": more}


def test_a_body_in_parts_is_read_whole() -> None:
    call = make_call(part(b"ab", more=True), part(b"c", more=True), part(b"d"))
    asyncio.run(call.read(most_bytes=4))
    assert call.body == b"abcd"


@pytest.mark.parametrize("messages", [(part(b"abcde"),), (part(b"abc", more=True), part(b"de", more=True), part(b"f"))])
def test_a_body_beyond_the_limit_is_refused_and_no_more_of_it_read(messages: tuple[Message, ...]) -> None:
    call = make_call(*messages)
    with pytest.raises(BodyTooLarge, match="more than 4 bytes"):
        asyncio.run(call.read(most_bytes=4))
    assert call.body == b""


def test_an_announced_length_is_believed_before_anything_is_read() -> None:
    with pytest.raises(BodyTooLarge):
        asyncio.run(make_call(headers={"Content-Length": "5"}).read(most_bytes=4))
    with pytest.raises(BadRequestShape, match="Content-Length is not a number"):
        asyncio.run(make_call(headers={"Content-Length": "-5"}).read(most_bytes=4))


def test_the_deadline_is_the_headers_or_else_the_default() -> None:
    call = make_call()
    assert call.deadline == math.inf
    call.set_deadline(10.0)
    assert call.deadline == 110.0
    asked = make_call(headers={"X-Request-Timeout": "0.25"})
    asked.set_deadline(10.0)
    assert asked.deadline == 100.25


@pytest.mark.parametrize("given", ["soon", "0", "-1", "nan", "inf", "3601", ""])
def test_a_timeout_that_is_none_is_refused_and_says_what_it_takes(given: str) -> None:
    with pytest.raises(BadRequestShape, match=r"X-Request-Timeout is '.*'; it takes seconds above 0, at most 3600"):
        make_call(headers={"X-Request-Timeout": given}).set_deadline(10.0)


def test_half_a_body_is_nobodys_request() -> None:
    with pytest.raises(CallerLeft, match="before its body was whole"):
        asyncio.run(make_call(part(b"1,2", more=True), {"type": "http.disconnect"}).read(most_bytes=100))


def test_a_caller_has_left_when_the_server_says_so() -> None:
    call = make_call(part(b""), {"type": "http.disconnect"})
    asyncio.run(asyncio.wait_for(call.left(), 1))


def test_the_content_type_is_compared_without_parameters() -> None:
    assert make_call(headers={"Content-Type": "Application/JSON; charset=utf-8"}).content_type == "application/json"
    assert make_call().content_type == ""


def read(body: bytes, coding: str, *, most_bytes: int = 100) -> bytes:
    call = make_call(part(body), headers={"Content-Encoding": coding})
    asyncio.run(call.read(most_bytes=most_bytes))
    return call.body


def test_a_compressed_body_is_unpacked() -> None:
    assert read(gzip.compress(b"rows"), "gzip") == b"rows"
    assert read(zlib.compress(b"rows"), "Deflate") == b"rows"
    assert read(b"rows", "identity") == b"rows"


def test_a_body_that_unfolds_beyond_the_limit_is_refused() -> None:
    with pytest.raises(BodyTooLarge, match="more than 100 bytes"):
        read(gzip.compress(b"0" * 10_000), "gzip")


@pytest.mark.parametrize(
    ("body", "coding", "error", "message"),
    [
        (b"rows", "gzip", BadRequestShape, "the body is not gzip"),
        (gzip.compress(b"rows", mtime=0)[:-2], "gzip", BadRequestShape, "is not exactly one gzip stream"),
        (gzip.compress(b"rows", mtime=0) * 2, "gzip", BadRequestShape, "is not exactly one gzip stream"),
        (b"rows", "br", UnsupportedMediaType, "content encoding is 'br'; allowed: gzip, deflate, or none"),
    ],
)
def test_a_damaged_or_unknown_encoding_is_named(body: bytes, coding: str, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        read(body, coding)
