"""Fixtures that many tests share; what they build is in `tests.builders`."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings as hypothesis_settings

from cluster.environment import prepare
from cluster.schema import FeatureSchema
from cluster.settings import Settings
from tests import builders

if TYPE_CHECKING:
    from cluster.runtime import LocalCluster

prepare()  # before any test imports Ray
hypothesis_settings.register_profile("ci", max_examples=25, deadline=None)
hypothesis_settings.load_profile("ci")


@pytest.fixture
def schema() -> FeatureSchema:
    """A frozen schema of three features, with a time and a protected column."""
    return builders.make_schema()


@pytest.fixture
def bundle_folder(tmp_path: Path) -> Path:
    """A sealed bundle on disk."""
    folder = tmp_path / "bundle"
    builders.make_bundle(folder)
    return folder


@pytest.fixture
def served(tmp_path: Path) -> Settings:
    """Settings of a model whose first version is published as champion."""
    builders.make_champion(tmp_path)
    return builders.make_settings(tmp_path)


@pytest.fixture(scope="session")
def ray_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCluster]:
    """The one Ray of a session, with the fast HTTP path: starting it takes seconds, and every test leaves it as it found it."""
    from cluster.runtime import LocalCluster, connect

    cluster = LocalCluster.start(str(tmp_path_factory.mktemp("cluster")))
    connect(address=cluster.address)
    os.environ["RAY_ADDRESS"] = cluster.address  # for commands that a test runs
    yield cluster
    os.environ.pop("RAY_ADDRESS")
    cluster.stop()


@pytest.fixture(scope="session")
def http_port() -> int:
    """Where Serve listens in this session: it takes one port a cluster."""
    from cluster.runtime import free_port

    return free_port()
