"""Fixtures of the one Ray cluster, with the fast HTTP path, that integration and e2e tests share."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster.environment import prepare

prepare()

from cluster.runtime import LocalCluster, connect, free_port  # noqa: E402 - Ray reads the environment at import


@pytest.fixture(scope="session")
def ray_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCluster]:
    """A Ray of our own, ended with the session."""
    root: Path = tmp_path_factory.mktemp("cluster")
    cluster = LocalCluster.start(str(root))
    connect(address=cluster.address)
    os.environ["RAY_ADDRESS"] = cluster.address  # for commands that a test runs
    yield cluster
    os.environ.pop("RAY_ADDRESS")
    cluster.stop()


@pytest.fixture(scope="session")
def http_port() -> int:
    """Where Serve listens in this session: it takes one port a cluster."""
    return free_port()
