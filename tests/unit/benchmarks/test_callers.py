import asyncio
import contextlib
import socket
import threading
from collections.abc import Iterator

import numpy as np
import pytest

from benchmarks import callers
from benchmarks.callers import BROKEN, HUNG_UP
from cluster.errors import ConfigError

Seen = list[bytes]


@contextlib.contextmanager
def answering(answers: dict[bytes, bytes | None]) -> Iterator[tuple[str, Seen, list[str]]]:
    """A server in a thread: answers by the body it gets; None never answers, b"" closes. Yields its URL, heads, and connections' ends."""
    heads: Seen = []
    ends: list[str] = []
    loop = asyncio.new_event_loop()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while head := await reader.read(65536):
            heads.append(head)
            answer = answers[head.rpartition(b"\r\n\r\n")[2]]
            if answer is None:
                continue
            if not answer:
                break
            writer.write(answer)
        ends.append("closed")
        writer.close()

    server = loop.run_until_complete(asyncio.start_server(serve, "127.0.0.1", 0))
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/score", heads, ends
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        server.close()
        for task in asyncio.all_tasks(loop):
            task.cancel()
            loop.run_until_complete(asyncio.wait([task]))
        loop.close()


def reply(status: str, body: bytes = b"[1]") -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


def test_callers_say_how_long_they_wait_and_are_told_apart_by_status():
    with answering({b"1": reply("200 OK"), b"2": reply("503 Service Unavailable")}) as (url, heads, _):
        good = callers.open_loop(url, b"1", [0.0, 0.001], timeout_s=5)
        refused = callers.open_loop(url, b"2", [0.0], timeout_s=5)
    assert [heard.status for heard in good + refused] == [200, 200, 503]
    assert heads[0].startswith(b"POST /score HTTP/1.1\r\n")
    assert b"X-Request-Timeout: 5\r\nContent-Length: 1\r\n\r\n1" in heads[0]


def test_an_answer_in_chunks_is_read_to_its_end_so_that_the_next_one_is_read_from_its_beginning():
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n[1.0]\r\n3\r\n\r\n0\r\n0\r\n\r\n"
    with answering({b"1": chunked}) as (url, heads, ends):
        heard = callers.closed_loop(url, b"1", callers=1, seconds=0.05, timeout_s=5)
    assert {h.status for h in heard} == {200}
    assert len(heads) == len(heard) > 1
    assert len(ends) <= 1


def test_an_answer_that_is_not_http_is_counted_as_broken():
    with answering({b"1": b"hello\r\n\r\n"}) as (url, _, _ends):
        assert [heard.status for heard in callers.open_loop(url, b"1", [0.0], timeout_s=5)] == [BROKEN]


def test_a_caller_hangs_up_at_its_deadline_and_closes_its_connection():
    with answering({b"1": None}) as (url, _, ends):
        (heard,) = callers.open_loop(url, b"1", [0.0], timeout_s=0.05)
        callers.open_loop(url, b"1", [0.0], timeout_s=0.05)  # by then the server has seen the first one close
    assert heard.status == HUNG_UP
    assert heard.seconds >= 0.05
    assert "closed" in ends


def test_a_connection_that_the_server_closes_is_counted_as_broken():
    with answering({b"1": b""}) as (url, _, _ends):
        assert [heard.status for heard in callers.open_loop(url, b"1", [0.0], timeout_s=5)] == [BROKEN]


def test_nobody_at_the_port_is_counted_as_broken():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: refused
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/"
        assert [heard.status for heard in callers.open_loop(url, b"1", [0.0], timeout_s=5)] == [BROKEN]


def test_callers_in_turn_send_again_when_they_are_answered():
    with answering({b"1": reply("200 OK")}) as (url, heads, ends):
        heard = callers.closed_loop(url, b"1", callers=2, seconds=0.05, timeout_s=5)
    assert {h.status for h in heard} == {200}
    assert len(heads) == len(heard) > 2
    assert len(ends) <= 2


def test_moments_are_those_of_a_poisson_process_and_the_same_for_the_same_seed():
    due = callers.arrivals(1000, 20, rng=np.random.default_rng(3))
    assert due == callers.arrivals(1000, 20, rng=np.random.default_rng(3))
    assert due == sorted(due)
    assert 0 < due[0] < due[-1] < 20
    assert len(due) == pytest.approx(20_000, rel=0.03)
    assert np.std(np.diff(due)) == pytest.approx(0.001, rel=0.05)


def test_load_is_never_put_on_another_machine_and_never_for_long():
    with pytest.raises(ConfigError, match="load is only put on this machine"):
        callers.open_loop("http://example.com/", b"1", [0.0], timeout_s=1)
    with pytest.raises(ConfigError, match="at most 60 seconds, not 61"):
        callers.open_loop("http://127.0.0.1:1/", b"1", [61.0], timeout_s=1)
    with pytest.raises(ConfigError, match="at most 60 seconds, not 61"):
        callers.closed_loop("http://127.0.0.1:1/", b"1", callers=1, seconds=61, timeout_s=1)
