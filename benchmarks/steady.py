"""Steady callers that remember every request: when it was sent and answered, and what became of each try.

`wrk` is faster but tells sums; who wants to know what failed while something changed needs the moments. A few connections in
one process of its own, each sending its next request when the last one is settled, bytes prepared, streams bare.

python -m benchmarks.steady < PLAN > CALLS, both msgpack; ends on SIGTERM.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Final
from urllib.parse import urlsplit

import msgspec

from cluster.errors import Unavailable

OK: Final = 200
BROKEN: Final = 0
"""The status of a request that was not answered."""
_TRY_S: Final = 10.0


class Plan(msgspec.Struct, frozen=True):
    """What is sent, and how stubbornly."""

    host: str
    port: int
    requests: list[bytes]
    """Whole requests, sent in turn."""
    connections: int
    retries: int
    """How often a request that failed is sent again."""
    patience_s: float
    """No request is sent again once it is this old."""
    pause_s: float
    """Between a failure and the next try."""


class Call(msgspec.Struct, frozen=True, array_like=True):
    """One request, from its first try to its last; times are seconds of the machine's monotonic clock."""

    began: float
    ended: float
    statuses: list[int]
    """One a try; `BROKEN` where no answer came."""


class Connection:
    """One connection, opened when it is needed; HTTP/1.1, answers of a stated length."""

    def __init__(self, host: str, port: int) -> None:
        self._address = host, port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, request: bytes) -> int:
        """The status of the answer, or `BROKEN`."""
        try:
            async with asyncio.timeout(_TRY_S):
                return await self._exchange(request)
        except (OSError, TimeoutError, asyncio.IncompleteReadError, ValueError):
            self.close()
            return BROKEN

    async def _exchange(self, request: bytes) -> int:
        if self._streams and self._streams[0].at_eof():  # closed while it was idle: every pool of connections looks
            self.close()
        if not self._streams:
            self._streams = await asyncio.open_connection(*self._address)
        reader, writer = self._streams
        writer.write(request)
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        length = head.partition(b"content-length:")[2].partition(b"\r\n")[0]
        await (reader.readexactly(int(length)) if length else reader.read())
        if not length or b"connection: close" in head:
            self.close()
        return int(head.split(b" ", 2)[1])

    def close(self) -> None:
        """Close it; the next request opens it anew."""
        if self._streams:
            self._streams[1].close()
            self._streams = None


async def settle(connection: Connection, request: bytes, plan: Plan) -> Call:
    """Send a request until it is answered with 200, or the plan's patience ends."""
    began = time.monotonic()
    statuses = [await connection.ask(request)]
    while statuses[-1] != OK and len(statuses) <= plan.retries and time.monotonic() - began < plan.patience_s:
        await asyncio.sleep(plan.pause_s)
        statuses.append(await connection.ask(request))
    return Call(began, time.monotonic(), statuses)


async def follow(plan: Plan, stopped: asyncio.Event) -> list[Call]:
    """Call over all connections until stopped."""
    calls: list[Call] = []
    requests = itertools.cycle(plan.requests)

    async def one() -> None:
        connection = Connection(plan.host, plan.port)
        while not stopped.is_set():
            calls.append(await settle(connection, next(requests), plan))
        connection.close()

    async with asyncio.TaskGroup() as group:
        for _ in range(plan.connections):
            group.create_task(one())
    return calls


def make_plan(
    url: str, bodies: Sequence[bytes], *, connections: int, headers: Mapping[str, str], retries: int, patience_s: float, pause_s: float
) -> Plan:
    """A plan for POST requests of JSON."""
    parts = urlsplit(url)
    lines = [f"POST {parts.path} HTTP/1.1", f"Host: {parts.netloc}", "Content-Type: application/json", *map(": ".join, headers.items())]
    head = "\r\n".join(lines).encode()
    requests = [head + b"\r\nContent-Length: %d\r\n\r\n" % len(body) + body for body in bodies]
    return Plan(parts.hostname or "", parts.port or 80, requests, connections, retries, patience_s, pause_s)


@contextlib.contextmanager
def calling(plan: Plan) -> Iterator[list[Call]]:
    """Call for the length of the block, from a process of its own; the list is filled when it ends.

    Raises
    ------
    Unavailable
        When that process failed.
    """
    calls: list[Call] = []
    process = subprocess.Popen([sys.executable, "-m", "benchmarks.steady"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin is not None
    process.stdin.write(msgspec.msgpack.encode(plan))
    process.stdin.close()
    process.stdin = None
    try:
        yield calls
    finally:
        process.terminate()
        told, _ = process.communicate(timeout=plan.patience_s + 3 * _TRY_S)
    if process.returncode:
        raise Unavailable(f"the callers ended with code {process.returncode}; their message is above")
    calls += msgspec.msgpack.decode(told, type=list[Call])


async def _run(plan: Plan) -> list[Call]:
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    return await follow(plan, stopped)


def main() -> None:
    plan = msgspec.msgpack.decode(sys.stdin.buffer.read(), type=Plan)
    calls = asyncio.run(_run(plan))
    sys.stdout.buffer.write(msgspec.msgpack.encode(calls))


if __name__ == "__main__":
    main()
