"""Fixtures that many tests share; what they build is in `tests.builders`."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import settings as hypothesis_settings

from cluster.schema import FeatureSchema
from cluster.settings import Settings
from tests import builders

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
