import os
import signal
import subprocess
import sys
import uuid
from pathlib import Path

import pytest

from benchmarks import servers
from benchmarks.servers import Contender
from cluster.errors import Unavailable

STUBBORN = "import signal, sys; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); sys.stdin.read()"


def test_a_process_is_found_by_its_mark_and_only_that_one():
    mark = f"HOMEOSTAT_TEST={uuid.uuid4().hex}"
    process = subprocess.Popen(
        [sys.executable, "-c", STUBBORN], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=dict([mark.split("=")]), text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "up\n"
    assert servers.marked(mark) == [process.pid]
    process.kill()
    process.communicate()
    assert servers.marked(mark) == []


def test_a_process_that_ignores_the_request_to_end_is_killed():
    mark = f"HOMEOSTAT_TEST={uuid.uuid4().hex}"
    with subprocess.Popen(
        [sys.executable, "-c", STUBBORN], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=dict([mark.split("=")]), text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"
        servers.end(process, mark, timeout_s=0)
        assert process.returncode == -signal.SIGKILL


def test_a_contender_that_ends_at_once_is_named_with_the_end_of_its_log(tmp_path: Path):
    command = [sys.executable, "-c", "print('no such bundle'); raise SystemExit(3)"]
    broken = Contender("a peer", "peer", command, dict(os.environ), "http://127.0.0.1:9/")
    with (
        pytest.raises(Unavailable, match=r"a peer does not answer .* no such bundle"),
        servers.running(broken, b"{}", {}, log=tmp_path / "peer.log"),
    ):
        pytest.fail("it never answered")
