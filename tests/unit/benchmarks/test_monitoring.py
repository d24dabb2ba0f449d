"""The pure parts of the monitoring benchmark: what is journaled, how costs and turns become figures, what is promised."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from benchmarks import load
from benchmarks.monitoring import alone, journaled, switch, turns, watched
from benchmarks.monitoring.path import Cost
from benchmarks.serving import Case, Run
from benchmarks.stage import Stage, write_config
from cluster import settings as settings_module
from cluster.errors import Unavailable
from cluster.schema import Floats

SIZES = (1, 7, 500)


def rows(count: int) -> pa.Table:
    """A table of a number and a category, with what a bundle answered, spread over the windows."""
    times = np.sort(np.random.default_rng(1).uniform(0, watched.WINDOWS * watched.DAY_S, count)) + watched.FIRST_DAY * watched.DAY_S
    return pa.table(
        {
            "miles": pa.array([None if i % 5 == 0 else float(i) for i in range(count)]),
            "carrier": pa.array(["UA", "B6"] * (count // 2)),
            watched.TIME: times,
            watched.SCORE: np.linspace(0, 1, count, dtype=np.float32),
            watched.BY_ENSEMBLE: (np.arange(count) % 3 == 0).astype(np.uint8),
        }
    )


@pytest.mark.parametrize("size", SIZES)
def test_requests_of_every_size_hold_the_same_rows_in_the_same_order(size: int) -> None:
    table = rows(20)
    made = list(journaled.entries(table, size))
    assert [len(entry.event_times) for entry in made] == [size] * (20 // size) + ([20 % size] if 20 % size else [])
    assert [time for entry in made for time in entry.event_times] == table.column(watched.TIME).to_pylist()
    assert [miles for entry in made for miles in entry.columns["miles"]] == table.column("miles").to_pylist()
    assert {name for entry in made for name in entry.columns} == {"miles", "carrier"}
    assert b"".join(entry.scores for entry in made) == table.column(watched.SCORE).to_numpy().tobytes()
    assert b"".join(entry.by_ensemble for entry in made) == table.column(watched.BY_ENSEMBLE).to_numpy().tobytes()


def test_all_rows_are_journaled_once_and_each_window_is_ended_by_one_late_row(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journaled, "POLL_ROWS", 4)
    table = rows(20)
    made = journaled.pieces(table)
    assert [(piece.num_rows, is_over) for piece, is_over in made] == [(4, False), (4, False), (2, False), (1, True)] * watched.WINDOWS
    times: Floats = np.concatenate([piece.column(watched.TIME).to_numpy() for piece, is_over in made if not is_over])
    assert times.tolist() == table.column(watched.TIME).to_pylist()
    ends = [piece.column(watched.TIME)[0].as_py() / watched.DAY_S - watched.FIRST_DAY for piece, is_over in made if is_over]
    assert ends == [1.125, 2.125]  # three hours past the end; two are waited for


def test_the_window_that_warms_up_lies_before_the_first_and_is_ended_too() -> None:
    few, end = journaled.before(rows(20))
    assert np.floor(few.column(watched.TIME).to_numpy() / watched.DAY_S).tolist() == [watched.FIRST_DAY - 1] * 20
    assert end.column(watched.TIME)[0].as_py() / watched.DAY_S == watched.FIRST_DAY + 0.125


def test_the_watched_model_has_twenty_features(tmp_path: Path) -> None:
    settings = watched.settings_of(tmp_path)
    assert len(settings.columns.names) == 20
    assert set(watched.LEFT_OUT).isdisjoint(settings.columns.names)
    assert settings.places.root == str(tmp_path)


def test_rates_are_medians_over_rounds_with_their_spread_and_judging_apart() -> None:
    costs = [Cost(rows=100, cpu_s=s, judging_s=s / 10, judged=2) for s in (2.0, 1.0, 4.0)]
    assert alone.summarize(costs) == {
        "rows/CPU s": 50.0,
        "low": 25.0,
        "high": 100.0,
        "CPU s/million rows": 20_000.0,
        "ms/window judged": pytest.approx(100.0),
    }
    assert alone.summarize([Cost(rows=100, cpu_s=1.0, judged=2)])["ms/window judged"] == 0.0  # judged, but not timed apart


def test_the_peer_stands_beside_every_size_and_the_slowest_run_of_encoded_rows_is_held_to_the_target() -> None:
    found = {
        size: {"live": [Cost(rows=1_000_000, cpu_s=seconds)], "encoded": [Cost(rows=1_000_000, cpu_s=seconds / 4)]}
        for size, seconds in ((1, 4.0), (500, 1.0))
    }
    lines = alone.lines_of(found, [Cost(rows=1_000_000, cpu_s=40.0)])
    assert [(line.case, line.role) for line in lines] == [
        (case, role) for case in ("1 row a request", "500 rows a request") for role in ("ours", "limit", "peer")
    ]
    assert [(target.what, target.found, target.is_met) for target in alone.targets(lines)] == [
        ("1 row a request: rows/CPU s", 250_000.0, False),
        ("500 rows a request: rows/CPU s", 1_000_000.0, True),
        ("encoded rows: rows/CPU s", 1_000_000.0, True),
    ]


def test_a_peer_that_could_not_be_measured_has_no_line() -> None:
    lines = alone.lines_of({1: {"live": [Cost(rows=1, cpu_s=1.0)]}}, [])
    assert [line.role for line in lines] == ["ours"]
    assert [target.found for target in alone.targets(lines)] == [1.0, None]


def test_who_is_first_changes_from_round_to_round() -> None:
    assert list(turns.order(3)) == [(1, "off"), (1, "on"), (2, "on"), (2, "off"), (3, "off"), (3, "on")]


def test_the_ratio_is_of_rounds_and_not_of_their_medians() -> None:
    found = turns.interval([90.0, 180.0, 45.0], [100.0, 200.0, 50.0])  # the machine drifts, the ratio does not
    assert found is not None
    assert found == pytest.approx((0.9, 0.9, 0.9))


def test_the_interval_is_students() -> None:
    found = turns.interval([1.0, 1.21], [1.0, 1.0])
    assert found is not None
    half = 12.706204736 * np.log(1.21) / 2  # t of one degree of freedom at 97.5 %, times sd / sqrt(2)
    assert found == pytest.approx((1.1, 1.1 * np.exp(-half), 1.1 * np.exp(half)))


def test_one_round_has_a_ratio_without_bounds_and_a_dead_service_none() -> None:
    assert turns.interval([80.0], [100.0]) == pytest.approx((0.8, 0.0, np.inf))
    assert turns.interval([0.0, 1.0], [1.0, 1.0]) is None


def test_serving_is_held_to_the_ratio_in_each_case() -> None:
    def run(rate: float) -> Run:
        return Run(load.Load(requests_s=rate, p50_ms=1, p99_ms=2, requests=int(rate), refused=0, broken=0), 1.0, 10)

    taken = {(case, state): [run(rate)] * 2 for case, rate in ((Case(1, 16), 97.0), (Case(64, 16), 90.0)) for state in ("on",)}
    taken |= {(case, "off"): [run(100.0)] * 2 for case in turns.CASES}
    assert [(round(target.found or 0, 3), target.is_met) for target in turns.targets(taken)] == [(0.97, True), (0.9, False)]
    assert [(line.role, line.who) for line in turns.lines_of(taken)][:2] == [("ours", "monitor on")] * 2


@pytest.fixture
def actors(monkeypatch: pytest.MonkeyPatch) -> dict[str, object]:
    """Those that a cluster has, by name."""
    found: dict[str, object] = {}
    monkeypatch.setattr(switch, "_find", found.get)
    monkeypatch.setattr("cluster.runtime.connect", lambda **_: None)
    monkeypatch.setattr(switch, "_COME_S", 0.2)
    return found


def test_nothing_is_switched_before_the_service_has_started_its_last_actor(actors: dict[str, object], tmp_path: Path) -> None:
    config = write_config(tmp_path)
    ours = switch.Switch(Stage(settings_module.load(config), config, tmp_path, [], {}, tmp_path))
    actors["homeostat-monitor-flights"] = object()
    with pytest.raises(Unavailable, match="has not started its steward"):
        ours.ready()
    actors["homeostat-steward-flights"] = object()
    ours.ready()


def test_only_the_newest_segment_of_each_writer_is_kept(tmp_path: Path) -> None:
    for name in ("aa-0000", "aa-000a", "aa-0009", "bb-0000"):
        (tmp_path / f"{name}.seg").touch()
    switch.trim(tmp_path)
    assert sorted(path.stem for path in tmp_path.iterdir()) == ["aa-000a", "bb-0000"]


def test_all_replicas_are_there_from_the_first_moment(tmp_path: Path) -> None:
    config = write_config(tmp_path)
    stage = Stage(settings_module.load(config), config, tmp_path, [], {}, tmp_path)
    made = switch.fixed(stage)
    assert (made.settings.serving.gateway.min_replicas, made.settings.serving.gateway.max_replicas) == (2, 2)
    assert (made.settings.serving.ensemble.min_replicas, made.settings.serving.ensemble.max_replicas) == (2, 2)
    assert stage.settings.serving.gateway.min_replicas == 1
    assert made.config != config
    assert made.settings.serving.port == stage.settings.serving.port


def test_a_model_that_cannot_be_made_ends_the_benchmark_with_a_named_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("sys.executable", "/bin/false")
    with pytest.raises(Unavailable, match="cannot be made"):
        watched.prepare(tmp_path, window_rows=10)
