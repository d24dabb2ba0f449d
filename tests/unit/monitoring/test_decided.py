"""What was decided is read from pointers and ledger, and told as metrics."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from cluster import storage
from cluster.ledger import Ledger
from cluster.records import Interval, Pointer, Pointers
from cluster.settings import Settings
from monitoring.decided import Decided, DecisionReader, Retrains, count
from monitoring.decision_gauges import decision_metrics
from monitoring.harm import Harm
from monitoring.verdicts import WindowVerdicts
from tests.unit.monitoring import world
from tests.unit.monitoring.alarms import alarm
from tests.unit.monitoring.test_traces import JUDGED, MOVED, REQUEST, TRAINED, attempt, book, end

NOTHING = {"promoted": 0, "refused": 0, "abandoned": 0}


def samples(decided: Decided, standing: list[WindowVerdicts] | None = None) -> dict[str, dict[str, float]]:
    """By metric, and by the values of its labels but the model."""
    found = decision_metrics("trips", decided, standing or [])
    return {family.name: {" ".join([*sample.labels.values()][1:]): sample.value for sample in family.samples} for family in found}


# Retrains


def test_a_run_that_is_under_way_has_begun_and_not_ended(tmp_path: Path) -> None:
    assert count(book(tmp_path, REQUEST, attempt(1)).entries()) == Retrains(1, NOTHING, None)


@pytest.mark.parametrize("outcome", ["promoted", "refused", "abandoned"])
def test_a_run_counts_by_its_outcome_and_lasts_from_its_request_to_its_end(tmp_path: Path, outcome: str) -> None:
    entries = book(tmp_path, MOVED, REQUEST, attempt(1), TRAINED, attempt(1), JUDGED, end(outcome, "so it is")).entries()
    assert count(entries) == Retrains(1, NOTHING | {outcome: 1}, 5.0)


def test_the_figures_are_those_of_the_whole_ledger_whoever_reads_it(tmp_path: Path) -> None:
    settings = world.settings(tmp_path)
    root = settings.places.ledger("trips")
    reader, written = DecisionReader(settings), book(Path(root), REQUEST, end("refused", "worse"))
    assert reader.read().retrains == Retrains(1, NOTHING | {"refused": 1}, 1.0)
    written.append(msgspec.structs.replace(REQUEST, run="trips-2"))
    written.append(msgspec.structs.replace(end("promoted", "better"), run="trips-2"))
    assert reader.read() == DecisionReader(settings).read() == Decided(None, Retrains(2, NOTHING | {"refused": 1, "promoted": 1}, 1.0))


def test_a_ledger_that_has_not_grown_is_not_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = world.settings(tmp_path)
    book(Path(settings.places.ledger("trips")), REQUEST)
    reader = DecisionReader(settings)
    first = reader.read()
    monkeypatch.setattr(Ledger, "entries", lambda _: pytest.fail("it was read again"))
    assert reader.read() == first


def test_a_ledger_that_cannot_be_read_is_left_out_and_said_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    settings = world.settings(tmp_path)
    book(Path(settings.places.ledger("trips")), REQUEST)
    (Path(settings.places.ledger("trips")) / "00000000.json").write_text("{}")
    promote(settings, "3")
    reader = DecisionReader(settings)
    assert [reader.read(), reader.read()] == [Decided("3", None)] * 2
    assert caplog.text.count("some metrics are not exported: ledger entry") == 1
    assert samples(Decided("3", None)).keys() == {"homeostat_alarms_standing", "homeostat_alarm_harm"}


def test_an_outcome_that_never_came_about_is_exported_as_0() -> None:
    found = samples(Decided(None, Retrains(3, NOTHING | {"promoted": 2}, 61.5)))
    assert found == {
        "homeostat_retrains_begun": {"": 3},
        "homeostat_retrains_ended": {"promoted": 2, "refused": 0, "abandoned": 0},
        "homeostat_retrain_last_duration_seconds": {"": 61.5},
    }
    assert samples(Decided(None, Retrains(1, NOTHING, None)))["homeostat_retrain_last_duration_seconds"] == {}


# Alarms


def promote(settings: Settings, version: str) -> None:
    pointers = Pointers(model="trips", champion=Pointer(version=version, uri="", digest=""))
    storage.write_atomic(settings.places.pointers("trips"), msgspec.json.encode(pointers))


def test_the_champion_is_who_the_published_pointers_name(tmp_path: Path) -> None:
    settings = world.settings(tmp_path)
    reader = DecisionReader(settings)
    assert reader.read().champion is None
    promote(settings, "3")
    assert reader.read().champion == "3"


def costing(change: Interval | None) -> WindowVerdicts:
    return msgspec.structs.replace(alarm(40), harm=Harm(metric="brier", before=0.2, source="scores", change=change))


def test_what_the_newest_standing_alarm_costs_is_exported_with_its_bounds() -> None:
    worse, older = costing(Interval(estimate=0.02, lower=-0.01, upper=0.05)), costing(Interval(estimate=9.0, lower=9.0, upper=9.0))
    found = samples(Decided("3"), [worse, older])
    assert found["homeostat_alarms_standing"] == {"3": 2}
    assert found["homeostat_alarm_harm"] == {
        "3 brier scores estimate": 0.02,
        "3 brier scores lower": -0.01,
        "3 brier scores upper": 0.05,
    }


@pytest.mark.parametrize("standing", [[], [alarm(40)], [costing(None)]], ids=["no alarm", "not told", "cannot be known"])
def test_a_cost_that_nobody_knows_is_absent_and_not_0(standing: list[WindowVerdicts]) -> None:
    found = samples(Decided("3"), standing)
    assert found["homeostat_alarms_standing"] == {"3": len(standing)}
    assert found["homeostat_alarm_harm"] == {}
