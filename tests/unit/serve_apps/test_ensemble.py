import asyncio
import gc
from pathlib import Path

import numpy as np
import pytest

from cluster.errors import DeadlineExceeded, Unavailable
from cluster.settings import Settings
from serve_apps.ensemble import Ensemble
from tests import builders

MATRIX = np.array([[200, 3.5, 1], [900, np.nan, 0]], dtype=np.float32)


def test_rows_are_scored_by_the_version_that_is_asked_for(served: Settings):
    async def main() -> None:
        ensemble = Ensemble(served)
        scores = await ensemble.score("1", MATRIX, 10.0)
        assert np.allclose(scores, builders.expected_scores(builders.ENSEMBLE_WEIGHTS, MATRIX), atol=1e-6)
        assert (ensemble.stats().rows, ensemble.stats().answered) == (2, 1)

    asyncio.run(main())


def test_a_version_that_was_promoted_after_the_start_is_loaded_when_it_is_asked_for(served: Settings, tmp_path: Path):
    async def main() -> None:
        ensemble = Ensemble(served)
        builders.make_champion(tmp_path, version="2", bias=1.0)
        new, old = await ensemble.score("2", MATRIX, 10.0), await ensemble.score("1", MATRIX, 10.0)
        assert np.allclose(new, builders.expected_scores(builders.ENSEMBLE_WEIGHTS, MATRIX, bias=1.0), atol=1e-6)
        assert np.allclose(old, builders.expected_scores(builders.ENSEMBLE_WEIGHTS, MATRIX), atol=1e-6)

    asyncio.run(main())


def test_a_version_that_nobody_published_is_unavailable(served: Settings):
    with pytest.raises(Unavailable, match="does not hold version 7"):
        asyncio.run(Ensemble(served).score("7", MATRIX, 10.0))


def test_who_has_no_time_left_gets_no_scores(served: Settings):
    with pytest.raises(DeadlineExceeded):
        asyncio.run(Ensemble(served).score("1", MATRIX, 0.0))


def test_a_bundle_that_is_let_go_takes_its_costs_with_it(served: Settings, tmp_path: Path):
    async def main() -> None:
        ensemble = Ensemble(served)
        for version in ("2", "3"):
            builders.make_champion(tmp_path, version=version)
            await ensemble.score(version, MATRIX, 10.0)
        gc.collect()
        assert sorted(bundle.version for bundle in ensemble._curves) == ["2", "3"]

    asyncio.run(main())
