"""The plan of the house, held by tests: who may import whom, and who may know Ray."""

from __future__ import annotations

import ast
import functools
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
ROOMS = ("cluster", "serve_apps", "training", "monitoring")
SHELLS = {
    "cluster/cli.py",
    "cluster/runtime.py",
    "cluster/service.py",
    "monitoring/monitor.py",
    "serve_apps/app.py",
    "serve_apps/metrics.py",
    "serve_apps/monitor.py",
    "training/batch/pool.py",
    "training/demo/story.py",
    "training/workers/group.py",
    "training/data/reader.py",
    "training/loop/steward.py",
    "training/workers/stream.py",
}
"""The files that may import Ray; everything else is tested without it."""
SOURCES = sorted(path for room in ROOMS for path in (ROOT / room).rglob("*.py"))


@functools.cache
def parsed(path: Path) -> ast.Module:
    """A source file's tree."""
    return ast.parse(path.read_text())


@functools.cache
def imported(path: Path) -> frozenset[str]:
    """Top-level names of all packages that a file imports, wherever in the file."""
    found: set[str] = set()
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            found.add(node.module.partition(".")[0])
    return frozenset(found)


def starts_ray(path: Path) -> bool:
    """Whether a file calls `ray.init`, or imports it by name."""
    tree = parsed(path)
    calls = {ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    names = {a.name for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module == "ray" for a in node.names}
    return "ray.init" in calls or "init" in names


def test_rooms_import_only_downwards() -> None:
    # in a process of its own: it configures logging anew, which would silence the loggers that other tests listen to
    command = [sys.executable, "-c", "from importlinter.cli import lint_imports_command; lint_imports_command()", "--no-cache"]
    linted = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert linted.returncode == 0, linted.stdout + linted.stderr
    assert "0 broken" in linted.stdout


def test_ray_is_known_to_shells_only() -> None:
    assert {str(path.relative_to(ROOT)) for path in SOURCES if "ray" in imported(path)} == SHELLS


def test_fastapi_is_known_to_nobody() -> None:
    assert [path for path in SOURCES if "fastapi" in imported(path)] == []


def test_ray_is_started_in_one_place() -> None:
    peers = ROOT / "benchmarks" / "peers"  # what we are measured beside is written as its own users would
    everything = [*SOURCES, *(path for path in (ROOT / "benchmarks").rglob("*.py") if peers not in path.parents)]
    assert [str(path.relative_to(ROOT)) for path in everything if starts_ray(path)] == ["cluster/runtime.py"]


def test_nothing_that_is_loaded_can_run_code() -> None:
    """No pickle anywhere: a bundle, a journal or a ledger is data."""
    unsafe = {"pickle", "cloudpickle", "joblib", "dill", "shelve", "marshal"}
    assert {str(path.relative_to(ROOT)): name for path in SOURCES for name in imported(path) if name in unsafe} == {}
