"""What an alarm says that it costs."""

from __future__ import annotations

import itertools
from pathlib import Path

import msgspec
import numpy as np
import pytest

from cluster import bundle
from cluster.journal import Writer
from cluster.records import Interval, Pointer, Verdict
from cluster.schema import Label
from monitoring import harm, losses, verdicts
from monitoring.core import MonitorCore
from monitoring.harm import Harm
from monitoring.webhook import message
from tests.unit.monitoring.dashboard.sample import alarm as record_with_alarm
from tests.unit.monitoring.world import DAY, SCHEMA, Stream, journal, profile_of, seal, settings

STREAM = Stream(np.random.default_rng(21), 50)
PROFILE = profile_of(STREAM, 30)


def estimate(value: float | None, lower: float | None = None, upper: float | None = None, *, said: str = "") -> Verdict:
    return Verdict(
        model="trips",
        bundle="1",
        kind="estimate",
        name="brier",
        window_start=0.0,
        window_end=DAY,
        rows=200,
        value=value,
        expected=0.18,
        unit="brier",
        lower=lower,
        upper=upper,
        message=said,
    )


def test_before_labels_the_scores_say_what_is_to_be_expected() -> None:
    found = harm.of_scores([estimate(0.2, 0.17, 0.24)], "brier", by_column={"miles": Interval(estimate=0.01, lower=-0.01, upper=0.03)})
    assert found.change is not None
    assert (round(found.change.estimate, 6), round(found.change.lower, 6), round(found.change.upper, 6)) == (0.02, -0.01, 0.06)
    assert found.short == "brier probably goes up from 0.18 by 0.02 (-0.01 to 0.06)"
    assert "only labels can show; by miles alone, such rows lost +0.01 (-0.01 to 0.03) against all, on the reference" in found.told
    better = harm.of_scores([estimate(0.15, 0.14, 0.17)], "brier", by_column={})
    assert better.short == "brier probably goes down from 0.18 by 0.03 (0.01 to 0.04)"


def test_what_cannot_be_known_is_said_with_the_reason() -> None:
    far = harm.of_scores([estimate(None, said="cannot be known: up to 40% of the rows lie far away")], "brier", by_column={"miles": None})
    assert far.change is None
    assert far.told == (
        "what it costs cannot be known: up to 40% of the rows lie far away; the reference had hardly any rows with such miles"
    )
    few = harm.of_scores([], "brier", by_column={})
    assert few.told == "what it costs cannot be known: the window has too few rows, or labels for all of them"


def test_once_labels_are_in_it_is_measured_against_how_windows_differ_by_themselves() -> None:
    found = harm.of_labels(SCHEMA.label, PROFILE, 0.3, 200)
    reference = next(metric for metric in PROFILE.metrics if metric.kind == "performance")
    assert found.change is not None
    assert found.change.estimate == pytest.approx(0.3 - reference.mean[0])
    half = found.change.upper - found.change.estimate
    assert half > 1.96 * np.sqrt(reference.within[0] / 200)
    assert found.short.startswith("brier went up from ")
    without = msgspec.structs.replace(PROFILE, metrics=[])
    assert harm.of_labels(SCHEMA.label, without, 0.3, 200).change is None


def test_regression_is_told_in_the_unit_of_the_label() -> None:
    reference = next(metric for metric in PROFILE.metrics if metric.kind == "performance")
    squared = msgspec.structs.replace(reference, mean=[np.log(9.0)], between=[0.01], within=[2.0])
    profile = msgspec.structs.replace(PROFILE, metrics=[squared])
    found = harm.of_labels(Label(name="price", task="regression"), profile, 16.0, 200)
    assert found.change is not None
    assert found.metric == "rmse"
    assert found.before == pytest.approx(3.0)
    assert found.change.estimate == pytest.approx(1.0)
    assert found.change.lower < 1.0 < found.change.upper


def sealed(folder: Path) -> Pointer:
    """With what rows cost on the reference."""
    seal(folder, PROFILE)
    kept = STREAM.day < 30
    found = losses.learn(PROFILE, SCHEMA.label, STREAM.X[kept], STREAM.scores[kept], STREAM.y[kept])
    (folder / "evaluation").mkdir()
    (folder / losses.NAME).write_bytes(msgspec.json.encode(found))
    return Pointer(version="1", uri=str(folder), digest=bundle.seal(folder, model="trips", created="2026-01-01T00:00:00Z"))


def test_each_alarm_of_a_monitor_says_what_it_probably_costs(tmp_path: Path) -> None:
    moved = Stream(np.random.default_rng(21), 50)
    later = moved.day >= 33
    moved.X[later, 0] += 1.2
    chance = 1 / (1 + np.exp(1 - moved.X[:, 0]))
    moved.scores = chance[:, None].astype(np.float32)
    moved.y = (np.random.default_rng(5).random(len(chance)) < chance).astype(np.float64)
    chosen = settings(tmp_path / "var")
    pointer, clock = sealed(tmp_path / "one"), itertools.count(1_800_000_000 * 10**9)
    journal(Writer(chosen.places.journal("trips"), clock_ns=lambda: next(clock)), moved, range(30, 50), label=False)
    MonitorCore(chosen, locate=lambda _: pointer).poll()
    told = [record for record in verdicts.read(chosen.places.verdicts("trips")) if record.alarm is not None]
    assert told
    for record in told:
        assert record.alarm is not None
        assert record.harm is not None
        assert record.harm.change is not None
        rows = moved.rows(int(record.window_start / DAY))
        truth = float(np.mean((moved.scores[rows, 0] - moved.y[rows]) ** 2)) - PROFILE.performance["brier"]
        assert record.harm.change.lower < truth < record.harm.change.upper
        assert record.alarm.message.endswith(record.harm.short)
        assert message(record)["alerts"][0]["annotations"]["harm"] == record.harm.told
    assert told[0].alarm is not None
    assert "feature_drift:miles" in told[0].alarm.blamed
    assert told[0].harm is not None
    assert "miles" in told[0].harm.by_column


def test_the_page_says_it_beside_the_alarm() -> None:
    from monitoring.dashboard.alarms import alarm_views
    from tests.unit.monitoring.dashboard.sample import facts

    known = Harm(metric="brier", before=0.18, source="labels", change=Interval(estimate=0.02, lower=0.01, upper=0.03))
    record = record_with_alarm(31, harm=known)
    (view,) = alarm_views(facts(records=[record]), [record])
    assert view.harm == "Brier went up from 0.18 by 0.02 (0.01 to 0.03), measured, labels are in."
