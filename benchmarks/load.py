"""Load from outside: `wrk` sends prepared bodies over a fixed number of connections, for a bounded time, to this machine.

Each connection sends its next request when the last one is answered, so a server that stalls is asked less often:
latencies are those of a closed loop, and are comparable between contenders of one run only.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import msgspec

from cluster.errors import ConfigError, Unavailable
from cluster.records import Record

LOOPBACK: Final = frozenset({"127.0.0.1", "localhost", "::1"})
LONGEST_S: Final = 60
_MARK: Final = b"homeostat-load "

SCRIPT: Final = """
local requests, last = {}, 0
function init(args)
  for body in io.lines(args[1]) do
    requests[#requests + 1] = wrk.format("POST", nil, nil, body)
  end
end
function request()
  last = last % #requests + 1
  return requests[last]
end
function done(summary, latency)
  local errors = summary.errors
  io.write(string.format(
    'homeostat-load {"requests":%d,"duration_us":%d,"p50_us":%d,"p99_us":%d,"connect":%d,"read":%d,"write":%d,"status":%d,"timeout":%d}\\n',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
    errors.connect, errors.read, errors.write, errors.status, errors.timeout))
end
"""
"""wrk calls `init` once a thread, `request` for each request and `done` at the end; latencies are in microseconds."""


class Load(Record, frozen=True, kw_only=True):
    """What one run of the generator saw."""

    requests_s: float
    """Requests a second that were answered with a status below 400."""
    p50_ms: float
    p99_ms: float
    requests: int
    """Answered with any status."""
    refused: int
    """Of those, with a status of 400 or above."""
    broken: int
    """Not answered: connecting, reading, writing failed or took more than ten seconds."""

    @property
    def errors(self) -> int:
        """All requests that were not answered well."""
        return self.refused + self.broken


class _Counts(msgspec.Struct):
    requests: int
    duration_us: int
    p50_us: int
    p99_us: int
    connect: int
    read: int
    write: int
    status: int
    timeout: int


def generator() -> str:
    """Path of `wrk`.

    Raises
    ------
    ConfigError
        When it is not installed.
    """
    found = shutil.which("wrk")
    if found is None:
        raise ConfigError("the load generator 'wrk' was not found; install it (Debian: apt-get install wrk)")
    return found


def run(url: str, bodies: Sequence[bytes], *, connections: int, duration_s: int, headers: Mapping[str, str]) -> Load:
    """Send JSON bodies in turn and wait for the end.

    Parameters
    ----------
    url
        On this machine.
    bodies
        Without line breaks.
    connections
        Kept open; each has one request under way.
    duration_s
        1 to 60.

    Raises
    ------
    ConfigError
        When the URL is not on this machine, the duration is out of bounds or wrk is missing.
    Unavailable
        When wrk ends without a result.
    """
    if urlsplit(url).hostname not in LOOPBACK:
        raise ConfigError(f"load is only put on this machine, not on '{url}'; allowed hosts: {', '.join(sorted(LOOPBACK))}")
    if not 1 <= duration_s <= LONGEST_S:
        raise ConfigError(f"a run takes 1 to {LONGEST_S} seconds, not {duration_s}")
    with tempfile.TemporaryDirectory(prefix="homeostat-load-") as folder:
        script, lines = Path(folder) / "post.lua", Path(folder) / "bodies.jsonl"
        script.write_text(SCRIPT)
        lines.write_bytes(b"\n".join(bodies) + b"\n")
        command = [generator(), "-t1", f"-c{connections}", f"-d{duration_s}s", "--timeout", "10s", "-s", str(script)]
        for name, value in ({"Content-Type": "application/json"} | dict(headers)).items():
            command += ["-H", f"{name}: {value}"]
        command += [url, "--", str(lines)]
        ended = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=duration_s + 30, check=False)
    return parse(ended.stdout + ended.stderr)


def parse(output: bytes) -> Load:
    """Read what wrk printed.

    Raises
    ------
    Unavailable
        With the end of the output, when there is no result in it.
    """
    marked = [line for line in output.splitlines() if line.startswith(_MARK)]
    if not marked:
        raise Unavailable(f"wrk ended without a result: {output.decode(errors='replace').strip()[-300:] or 'no output'}")
    try:
        counts = msgspec.json.decode(marked[-1].removeprefix(_MARK), type=_Counts)
    except msgspec.MsgspecError as error:
        raise Unavailable(f"wrk's result cannot be read: {error}") from error
    return Load(
        requests_s=(counts.requests - counts.status) / (counts.duration_us / 1e6) if counts.duration_us else 0.0,
        p50_ms=counts.p50_us / 1e3,
        p99_ms=counts.p99_us / 1e3,
        requests=counts.requests,
        refused=counts.status,
        broken=counts.connect + counts.read + counts.write + counts.timeout,
    )
