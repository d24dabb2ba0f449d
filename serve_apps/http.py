"""HTTP as endpoints see it: one request, read whole and within its limits, and the time its caller gives it.

Knows ASGI's messages and nothing of routes, models or Ray.
"""

from __future__ import annotations

import math
import time
import zlib
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any, Final

import msgspec

from cluster.errors import BadRequestShape, BodyTooLarge, CallerLeft, UnsupportedMediaType
from serve_apps.protocols.plane import Reply

Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

LONGEST_TIMEOUT_S: Final = 3600.0
_TIMEOUT: Final = b"x-request-timeout"
_WINDOW_BITS: Final = {b"gzip": 31, b"deflate": 15}
"""As zlib names the two: a gzip header and a zlib header."""


class Call:
    """One request.

    Parameters
    ----------
    scope, receive
        ASGI's.
    path
        Below the mount point, without a slash at its end.
    clock
        Seconds. Not the event loop's own: uvloop's stands still between two turns of the loop, and counts whole milliseconds.
    """

    __slots__ = ("body", "clock", "deadline", "headers", "method", "parameters", "path", "receive", "scope", "started")

    def __init__(self, scope: Scope, receive: Receive, *, path: str, clock: Callable[[], float] = time.monotonic) -> None:
        self.scope, self.receive = scope, receive
        self.method: str = scope["method"]
        self.path = path
        self.clock = clock
        self.started = clock()
        """When it was begun to be answered."""
        self.headers: dict[bytes, bytes] = dict(scope["headers"])
        """By name in lower case."""
        self.parameters: Mapping[str, str] = {}
        """Parts of the path that a route names."""
        self.body = b""
        self.deadline = math.inf
        """When the caller stops waiting, on the same clock."""

    def header(self, name: bytes) -> str:
        """A header's value, or the empty string."""
        return self.headers.get(name, b"").decode("latin-1")

    @property
    def content_type(self) -> str:
        """Of the body, in lower case and without parameters."""
        return self.header(b"content-type").partition(";")[0].strip().lower()

    @property
    def accept(self) -> str:
        """The media type that the caller names first, in lower case and without parameters."""
        return self.header(b"accept").partition(",")[0].partition(";")[0].strip().lower()

    async def read(self, *, most_bytes: int) -> None:
        """Read the body without ever holding more than is allowed.

        Raises
        ------
        BodyTooLarge, BadRequestShape, UnsupportedMediaType
        CallerLeft
            When the caller hangs up on the way.
        """
        announced = self.headers.get(b"content-length", b"0")
        if not announced.isdigit():
            raise BadRequestShape("the header Content-Length is not a number")
        if int(announced) > most_bytes:
            raise _too_large(most_bytes)
        message = await self._next()
        body: bytes = message.get("body", b"")
        if message.get("more_body", False):
            chunks, size = [body], len(body)
            while message.get("more_body", False) and size <= most_bytes:
                message = await self._next()
                chunks.append(message.get("body", b""))
                size += len(chunks[-1])
            body = b"".join(chunks)
        if len(body) > most_bytes:
            raise _too_large(most_bytes)
        coding = self.headers.get(b"content-encoding")
        self.body = body if coding is None else _unpack(body, coding, most_bytes)

    def limit(self, seconds: float | None) -> None:
        """Bring the deadline forward, when the body itself says how long its caller waits."""
        if seconds is not None:
            self.deadline = min(self.deadline, self.started + seconds)

    async def _next(self) -> Message:
        """The next part of the body; half of one is nobody's request."""
        message = await self.receive()
        if message["type"] == "http.disconnect":
            raise CallerLeft("the caller hung up before its body was whole")
        return message

    async def left(self) -> None:
        """Return when the caller has hung up; only once the body has been read."""
        while (await self.receive())["type"] != "http.disconnect":
            pass

    def set_deadline(self, default_s: float) -> None:
        """Take the time that the header X-Request-Timeout gives, in seconds, or the default.

        Raises
        ------
        BadRequestShape
            When the header holds something else.
        """
        given = self.headers.get(_TIMEOUT)
        self.deadline = self.started + (default_s if given is None else _seconds(given))


def _seconds(given: bytes) -> float:
    try:
        seconds = float(given)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds <= LONGEST_TIMEOUT_S:
        shown = given[:40].decode("latin-1")
        raise BadRequestShape(f"the header X-Request-Timeout is '{shown}'; it takes seconds above 0, at most {LONGEST_TIMEOUT_S:g}")
    return seconds


def _unpack(body: bytes, coding: bytes, most_bytes: int) -> bytes:
    """A compressed body, unpacked no further than is allowed."""
    name = coding.strip().lower()
    if name == b"identity":
        return body
    if name not in _WINDOW_BITS:
        allowed = ", ".join(known.decode() for known in _WINDOW_BITS)
        raise UnsupportedMediaType(f"the body's content encoding is '{coding[:40].decode('latin-1')}'; allowed: {allowed}, or none")
    unpacker = zlib.decompressobj(_WINDOW_BITS[name])
    try:
        unpacked = unpacker.decompress(body, most_bytes + 1)
    except zlib.error as error:
        raise BadRequestShape(f"the body is not {name.decode()}: {error}") from error
    if len(unpacked) > most_bytes:
        raise _too_large(most_bytes)
    if not unpacker.eof or unpacker.unused_data:
        raise BadRequestShape(f"the body is not exactly one {name.decode()} stream")
    return unpacked


def _too_large(most_bytes: int) -> BodyTooLarge:
    return BodyTooLarge(f"the body has more than {most_bytes} bytes; send fewer rows at once, or raise serving.max_body_bytes")


def to_json(content: object) -> Reply:
    """A reply of JSON."""
    return Reply(200, msgspec.json.encode(content))
