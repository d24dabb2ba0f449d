"""Every way to wait is the only one set in the process that is measured."""

from __future__ import annotations

import json
import subprocess
from typing import Any

import pytest

from benchmarks import threads
from cluster import environment


def test_a_process_has_the_way_it_is_measured_with_and_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[dict[str, str]] = []

    def run(_command: list[str], *, env: dict[str, str], **_rest: Any) -> Any:
        seen.append({name: env[name] for name in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT") if name in env})
        return subprocess.CompletedProcess([], 0, stdout=json.dumps([2.0, 3.0]))

    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")
    monkeypatch.setenv("GOMP_SPINCOUNT", "7")
    monkeypatch.setattr(subprocess, "run", run)
    assert [threads._measure("torch", way, 10) for way in threads.WAYS.values()] == [(2.0, 3.0)] * len(threads.WAYS)
    assert seen == list(threads.WAYS.values())
    assert threads.WAYS["ours"] == environment.THREADS
