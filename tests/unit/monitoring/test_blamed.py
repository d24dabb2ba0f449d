"""A feature and a prediction of one name are two columns."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import msgspec
import numpy as np
import pytest

from monitoring.blamed import columns_of, key_of
from monitoring.dashboard.spread import spreads
from monitoring.drift import Alarm
from monitoring.judging import Judge
from monitoring.profile import Profile
from monitoring.remembered import Remembered
from monitoring.sketches import Sketcher
from monitoring.windows import Key
from tests.unit.monitoring.dashboard.sample import PROFILE, settings
from tests.unit.monitoring.world import Stream

ALARM = Alarm(
    blamed=["feature_drift:score", "prediction_drift:score"], began=0.0, evidence=150.0, threshold=100.0, message="both have moved"
)


@pytest.fixture
def profile() -> Profile:
    """That of the sample, whose wind is called as its predictions are."""
    columns = [msgspec.structs.replace(column, name="score") if column.name == "wind" else column for column in PROFILE.columns]
    metrics = [
        msgspec.structs.replace(metric, name="score") if (metric.kind, metric.name) == ("feature_drift", "wind") else metric
        for metric in PROFILE.metrics
    ]
    return msgspec.structs.replace(PROFILE, columns=columns, metrics=metrics)


def test_an_alarm_keeps_and_shows_each_with_its_own_histogram(profile: Profile) -> None:
    stream, sketcher = Stream(np.random.default_rng(3), 1), Sketcher(profile.columns)
    matrix = np.column_stack([stream.X, stream.scores]).astype(np.float32)
    library: Any = SimpleNamespace(view=lambda _: SimpleNamespace(profile=profile, sketcher=sketcher))
    kept = Judge(settings(), library, Remembered())._cells(Key(0.0, "1"), ALARM, sketcher.summarise(matrix))
    assert [profile.columns[j].role for j in columns_of(ALARM, profile)] == ["feature", "prediction"]
    feature, predicted = spreads(profile, kept)
    assert (feature.column, predicted.column) == ("score", "score (predicted)")
    for shown, values in ((feature, stream.X[:, 1]), (predicted, stream.scores[:, 0])):
        counts = np.histogram(values, [-np.inf, *shown.edges, np.inf])[0]
        assert shown.now == pytest.approx(counts / len(values))
    assert feature.now != predicted.now


def test_where_one_of_them_is_blamed_the_other_is_not_drawn(profile: Profile) -> None:
    column = next(column for column in profile.columns if key_of(column) == "prediction:score")
    cells = [1] * column.cells
    assert [shown.column for shown in spreads(profile, {key_of(column): cells})] == ["score (predicted)"]
