import asyncio
import itertools
from collections.abc import Awaitable, Callable

import pytest

from benchmarks import steady
from benchmarks.steady import BROKEN, Call, Connection, Plan

GOOD = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
LAST = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}"
BUSY = b"HTTP/1.0 503 Service Unavailable\r\n\r\nno server is available"


def plan(port: int, *, retries: int = 1) -> Plan:
    return steady.make_plan(
        f"http://127.0.0.1:{port}/v1/predict",
        [b'{"a":1}'],
        connections=1,
        headers={"Authorization": "Bearer x"},
        retries=retries,
        patience_s=5,
        pause_s=0,
    )


def told(answers: list[bytes], talk: Callable[[int], Awaitable[None]]) -> list[bytes]:
    """Talk to a server that gives these answers, a connection closed where the answer is empty; returns the requests it got."""
    got: list[bytes] = []
    waiting = iter(answers)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                got.append(head + await reader.readexactly(7))
                answer = next(waiting)
                writer.write(answer)
                if answer in (b"", LAST, BUSY):
                    break
        except asyncio.IncompleteReadError:
            pass
        finally:
            writer.close()

    async def run() -> None:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        await talk(server.sockets[0].getsockname()[1])
        server.close()

    asyncio.run(run())
    return got


def test_a_request_is_whole_and_its_connection_is_kept():
    statuses: list[int] = []

    async def talk(port: int) -> None:
        connection = Connection("127.0.0.1", port)
        statuses.extend([await connection.ask(plan(port).requests[0]) for _ in range(3)])
        connection.close()

    got = told([GOOD, LAST, GOOD], talk)
    assert statuses == [200, 200, 200]
    assert set(got) == {got[0]}
    assert got[0].startswith(b"POST /v1/predict HTTP/1.1\r\nHost: 127.0.0.1:")
    assert got[0].endswith(b'Authorization: Bearer x\r\nContent-Length: 7\r\n\r\n{"a":1}')


@pytest.mark.parametrize(("first", "status"), [(b"", BROKEN), (BUSY, 503)])
def test_a_request_that_fails_is_sent_again_and_both_tries_are_remembered(first: bytes, status: int):
    calls: list[Call] = []

    async def talk(port: int) -> None:
        calls.append(await steady.settle(Connection("127.0.0.1", port), plan(port).requests[0], plan(port)))

    assert len(told([first, LAST], talk)) == 2
    assert calls[0].statuses == [status, 200]
    assert calls[0].ended > calls[0].began


def test_a_request_is_given_up_after_its_last_try():
    calls: list[Call] = []

    async def talk(port: int) -> None:
        calls.append(await steady.settle(Connection("127.0.0.1", port), plan(port).requests[0], plan(port, retries=2)))

    assert len(told([BUSY, BUSY, BUSY, LAST], talk)) == 3
    assert calls[0].statuses == [503, 503, 503]


def test_a_port_where_nobody_listens_is_a_broken_request():
    assert asyncio.run(Connection("127.0.0.1", 9).ask(b"")) == BROKEN


def test_callers_call_until_they_are_stopped():
    calls: list[Call] = []

    async def talk(port: int) -> None:
        stopped = asyncio.Event()
        following = asyncio.create_task(steady.follow(plan(port), stopped))
        await asyncio.sleep(0.05)
        stopped.set()
        calls.extend(await following)

    told(list(itertools.repeat(GOOD, 100_000)), talk)
    assert len(calls) > 1
    assert {tuple(call.statuses) for call in calls} == {(200,)}
