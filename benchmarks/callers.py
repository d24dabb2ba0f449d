"""Callers who do not wait for each other and hang up when their time is over: an open loop, over plain sockets.

Each request is due at a moment chosen before the run. Its latency counts from that moment, whatever kept the generator, so a
server that stalls is not asked less often; at its deadline the caller closes the connection.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple
from urllib.parse import urlsplit

import numpy as np

from benchmarks.load import LONGEST_S, LOOPBACK
from cluster.errors import ConfigError

HUNG_UP: Final = 0
BROKEN: Final = -1


class Heard(NamedTuple):
    """How one request ended."""

    status: int
    """Of HTTP; HUNG_UP when the caller's time was over, BROKEN when the server closed the connection."""
    seconds: float
    """From the moment it was due."""


def arrivals(per_second: float, seconds: float, *, rng: np.random.Generator) -> list[float]:
    """Moments of a Poisson process, ascending, in seconds from its start."""
    gaps = rng.exponential(1 / per_second, size=int(per_second * seconds * 1.5) + 50)
    due = np.cumsum(gaps)
    return [float(moment) for moment in due[due < seconds]]


class Callers:
    """Sends one prepared request over as many connections as it takes; one that was answered is used again.

    Parameters
    ----------
    url
        On this machine.
    timeout_s
        How long a caller waits; also sent as `X-Request-Timeout`.

    Raises
    ------
    ConfigError
        When the URL is not on this machine.
    """

    def __init__(self, url: str, body: bytes, *, timeout_s: float) -> None:
        parts = urlsplit(url)
        if parts.hostname not in LOOPBACK:
            raise ConfigError(f"load is only put on this machine, not on '{url}'; allowed hosts: {', '.join(sorted(LOOPBACK))}")
        self._host, self._port = parts.hostname, parts.port or 80
        self._timeout_s = timeout_s
        head = f"POST {parts.path or '/'} HTTP/1.1\r\nHost: {self._host}\r\nContent-Type: application/json\r\n"
        self._request = f"{head}X-Request-Timeout: {timeout_s:g}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body
        self._idle: deque[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = deque()

    async def call(self, due: float) -> Heard:
        """One request, due at `due` of the running loop's clock."""
        loop = asyncio.get_running_loop()
        status = HUNG_UP
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(due + self._timeout_s):
                try:
                    status = await self._exchange()
                except (OSError, asyncio.IncompleteReadError):
                    status = BROKEN
        return Heard(status, loop.time() - due)

    async def _exchange(self) -> int:
        reader, writer = await self._connection()
        try:
            writer.write(self._request)
            status = await _answer(reader)
        except BaseException:  # hanging up is one
            writer.close()
            raise
        self._idle.append((reader, writer))
        return status

    async def _connection(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        while self._idle:
            reader, writer = self._idle.pop()
            if not reader.at_eof():
                return reader, writer
            writer.close()
        return await asyncio.open_connection(self._host, self._port)

    def close(self) -> None:
        """Close the connections that are left."""
        while self._idle:
            self._idle.pop()[1].close()


async def _answer(reader: asyncio.StreamReader) -> int:
    """Read one answer to its end, so that the connection can be used again; returns its status."""
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    if not head.startswith(b"http/1.1 "):
        raise ConnectionError(f"no answer of HTTP: {head[:20]!r}")
    fields = dict(line.split(b": ", 1) for line in head.split(b"\r\n")[1:-2])
    if fields.get(b"transfer-encoding") == b"chunked":
        while size := int(await reader.readuntil(b"\r\n"), 16):
            await reader.readexactly(size + 2)
    await reader.readexactly(2 if b"transfer-encoding" in fields else int(fields.get(b"content-length", 0)))
    return int(head[9:12])


@contextlib.contextmanager
def _closing(callers: Callers) -> Iterator[Callers]:
    try:
        yield callers
    finally:
        callers.close()


def open_loop(url: str, body: bytes, due: Sequence[float], *, timeout_s: float) -> list[Heard]:
    """Send a request at each moment of `due`, whether or not others are answered; returns how each ended.

    Raises
    ------
    ConfigError
        When the URL is not on this machine or the run would take more than a minute.
    """
    if due and due[-1] > LONGEST_S:
        raise ConfigError(f"a run takes at most {LONGEST_S} seconds, not {due[-1]:.0f}")

    async def main() -> list[Heard]:
        begin, calls = asyncio.get_running_loop().time(), []
        with _closing(Callers(url, body, timeout_s=timeout_s)) as callers:
            for moment in due:
                await asyncio.sleep(begin + moment - asyncio.get_running_loop().time())
                calls.append(asyncio.create_task(callers.call(begin + moment)))
            return await asyncio.gather(*calls)

    return asyncio.run(main())


def closed_loop(url: str, body: bytes, *, callers: int, seconds: float, timeout_s: float) -> list[Heard]:
    """Let callers send again as soon as they are answered, for some seconds; returns how each request ended.

    Raises
    ------
    ConfigError
        When the URL is not on this machine or the run would take more than a minute.
    """
    if seconds > LONGEST_S:
        raise ConfigError(f"a run takes at most {LONGEST_S} seconds, not {seconds:.0f}")

    async def main() -> list[Heard]:
        heard: list[Heard] = []
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds

        async def one(shared: Callers) -> None:
            while loop.time() < end:
                heard.append(await shared.call(loop.time()))

        with _closing(Callers(url, body, timeout_s=timeout_s)) as shared:
            await asyncio.gather(*(one(shared) for _ in range(callers)))
        return heard

    return asyncio.run(main())
