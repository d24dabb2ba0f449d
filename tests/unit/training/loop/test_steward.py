from __future__ import annotations

import datetime as dt
import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cluster import bundle
from cluster.errors import NoChampion, NotEnoughData, UnknownVersion
from cluster.journal import Writer
from cluster.ledger import Attempt, Closed, Event, Judged, Ledger, Trained
from cluster.records import LabelEntry, Labels, Pointer, Pointers, Prediction, Promotion, RetrainRequest
from cluster.registry import Registry
from cluster.settings import Data, Loop, Settings, parse
from cluster.training_settings import Gate
from monitoring.drift import Alarm
from monitoring.verdicts import VerdictLog, WindowVerdicts
from tests.builders import CREATED, MODEL, make_bundle, make_settings
from training.data.frame import TIME
from training.loop.steward import Steward, promote

DAY = 86400.0
START = dt.datetime(2013, 4, 1, tzinfo=dt.UTC).timestamp()
TOLD = [RetrainRequest, Attempt, Trained, Attempt, Judged, Promotion, Closed]
"""What a retrain that ends in a promotion writes."""


class Killed(BaseException):
    """The process ended here."""


class FakeRegistry:
    """Versions and pointers in memory; the same methods as `cluster.registry.Registry`."""

    def __init__(self) -> None:
        self.made: dict[str, tuple[str, Pointer]] = {}
        self.aliases: dict[str, str | None] = {"champion": None, "challenger": None}
        self.published = 0
        self.on_move: Callable[[], None] = lambda: None

    def register(self, run: str, folder: Path, digest: str) -> Pointer:
        if known := self.find(run):
            return known
        version = str(len(self.made) + 1)
        self.made[version] = (run, Pointer(version=version, uri=str(folder), digest=digest))
        return self.made[version][1]

    def find(self, run: str) -> Pointer | None:
        return next((pointer for made, pointer in self.made.values() if made == run), None)

    def locate(self, version: str) -> Pointer:
        if version not in self.made:
            raise UnknownVersion(f"no version {version!r}")
        return self.made[version][1]

    def pointers(self) -> Pointers:
        champion, challenger = (self.locate(v) if v else None for v in (self.aliases["champion"], self.aliases["challenger"]))
        return Pointers(model=MODEL, champion=champion, challenger=challenger)

    def champion(self) -> Pointer:
        found = self.pointers().champion
        if found is None:
            raise NoChampion("none yet")
        return found

    def move(self, alias: str, version: str | None) -> Pointers:
        if version is not None:
            self.locate(version)
        self.aliases[alias] = version
        self.on_move()
        return self.pointers()

    def publish(self) -> Pointers:
        self.published += 1
        return self.pointers()


class World:
    """A model in a folder: a source table of March, a journal of April, a champion that underrates, and an alarm.

    Nine of ten labels are positive, so by log loss a bundle is better the higher its `bias` is.
    """

    def __init__(self, root: Path, *, champion_until: float = START, **loop: Any) -> None:
        self.root = root
        self.settings = self._settings(**loop)
        self.registry = FakeRegistry()
        self.trained: list[tuple[str, pa.Table]] = []
        self.unlabelled: list[pa.Table | None] = []
        self.bias = 2.0
        self.during_train: Callable[[], None] = lambda: None
        self._lock = threading.Lock()
        self.ledger = Ledger(self.settings.places.ledger(MODEL), clock=lambda: 0.0)
        self.add("first", bias=-2.0, until=champion_until)
        promote(cast(Registry, self.registry), self.ledger, "1", by="test", reason="the first version")

    def _settings(self, **loop: Any) -> Settings:
        chosen: dict[str, Any] = {"cooldown": dt.timedelta(days=14), "train_window": dt.timedelta(days=30)} | loop
        gate = Gate(metric="log_loss", holdout=dt.timedelta(days=7), min_rows=100, max_calibration_error=1.0)
        data = Data(source=str(self.root / "table.parquet"))
        return make_settings(self.root).model_copy(update={"loop": Loop(**chosen), "gate": gate, "data": data})

    def add(self, run: str, *, bias: float, until: float) -> Pointer:
        if known := self.registry.find(run):  # its folder may be being read: what is registered is never written to again
            return known
        folder = self.root / "bundles" / run
        make_bundle(folder, bias=bias)
        (folder / "lineage.json").write_text(json.dumps({"until": until}))
        return self.registry.register(run, folder, bundle.seal(folder, model=MODEL, created=CREATED))

    def write_source(self, days: int = 31) -> None:
        n = days * 24
        columns = rows_of(n) | {"at": START - np.arange(n, 0, -1) * 3600.0, "late": labels_of(n)}
        pq.write_table(pa.table(columns), self.root / "table.parquet")

    def serve(self, days: int = 20, *, labelled_days: int = 20) -> None:
        """One row an hour, on the hour."""
        writer = Writer(self.settings.places.journal(MODEL), clock_ns=lambda: 1)
        for day in range(days):
            times = [START + day * DAY + hour * 3600 for hour in range(24)]
            block = Prediction(bundle="1", event_times=times, columns=rows_of(24), scores=bytes(4 * 24), by_ensemble=bytes(24))
            request = writer.append(block)
            if day < labelled_days:
                writer.append(Labels(entries=[LabelEntry(request_id=request, row=i, label=y) for i, y in enumerate(labels_of(24))]))
        writer.close()

    def alarm(self, day: int = 19, *, version: str = "1") -> None:
        """An alarm about the window of that day: `now` is the day's end."""
        end = START + (day + 1) * DAY
        raised = Alarm(blamed=["feature_drift:wind"], began=START, evidence=200.0, threshold=180.0, message="wind moved")
        record = WindowVerdicts(
            sequence=day, model=MODEL, bundle=version, look="drift", window_start=end - DAY, window_end=end, rows=24, alarm=raised
        )
        VerdictLog(self.settings.places.verdicts(MODEL)).append(record)

    def train(self, settings: Settings, rows: pa.Table, *, run: str, reason: str, seed: int, unlabelled: pa.Table | None = None) -> Pointer:
        self.trained.append((run, rows))
        self.unlabelled.append(unlabelled)
        self.during_train()
        with self._lock:
            return self.add(run, bias=self.bias, until=float(rows.column(TIME).to_numpy().max()))

    def steward(self) -> Steward:
        return Steward(self.settings, registry=cast(Registry, self.registry), train=self.train, clock=lambda: 0.0)

    def events(self, kind: type[Any]) -> list[Any]:
        return [event for event in self.ledger.events() if isinstance(event, kind)]

    def since_first(self) -> list[Event]:
        return self.ledger.events()[1:]


def rows_of(n: int) -> dict[str, list[Any]]:
    return {"miles": [float(i % 7) for i in range(n)], "wind": [1.0] * n, "carrier": ["UA"] * n, "sex": ["f"] * n}


def labels_of(n: int) -> list[int]:
    return [int(i % 10 != 3) for i in range(n)]


@pytest.fixture
def world(tmp_path: Path) -> World:
    made = World(tmp_path)
    made.write_source()
    made.serve()
    made.alarm()
    return made


def test_a_better_challenger_is_trained_judged_and_promoted(world: World) -> None:
    state = world.steward().settle()
    assert [type(event) for event in world.since_first()] == TOLD
    assert state.champions == ("1", "2")
    assert world.registry.aliases == {"champion": "2", "challenger": None}
    closed = world.events(Closed)[0]
    assert (closed.outcome, closed.now) == ("promoted", START + 20 * DAY)
    assert closed.reason.startswith("log_loss improves: champion ")
    assert world.events(Promotion)[1] == Promotion(pointer="champion", version="2", previous="1", by="steward", reason=closed.reason)
    assert world.events(Judged)[0].champion == "1"


def test_it_trains_on_the_window_before_the_hold_out_from_both_origins(world: World) -> None:
    world.steward().settle()
    run, rows = world.trained[0]
    times = rows.column(TIME).to_numpy()
    assert run == "late-20130421T000000"
    assert times.min() == START - 10 * DAY
    assert times.max() == START + 13 * DAY - 3600
    assert rows.num_rows == 23 * 24
    assert world.events(Trained)[0].rows == 23 * 24


def test_it_judges_on_the_hold_out_its_first_row_included(world: World) -> None:
    world.steward().settle()
    assert world.events(Judged)[0].verdict.rows == 7 * 24


def test_rows_the_champion_was_trained_on_are_kept_out_of_the_hold_out(tmp_path: Path) -> None:
    world = World(tmp_path, champion_until=START + 15 * DAY)
    world.write_source()
    world.serve()
    world.alarm()
    world.steward().settle()
    assert world.events(Judged)[0].verdict.rows == 5 * 24 - 1


def test_a_worse_challenger_is_refused_with_the_reason_and_the_champion_stays(world: World) -> None:
    world.bias = -4.0
    state = world.steward().settle()
    assert [type(event) for event in world.since_first()] == [kind for kind in TOLD if kind is not Promotion]
    assert state.champions == ("1",)
    assert world.registry.aliases == {"champion": "1", "challenger": None}
    assert world.events(Closed)[0].outcome == "refused"
    assert world.events(Closed)[0].reason.startswith("log_loss is not shown to improve")


def test_after_a_refusal_the_cooldown_counts(world: World) -> None:
    world.bias = -4.0
    steward = world.steward()
    steward.settle()
    world.serve(days=40, labelled_days=40)
    world.alarm(day=25)
    steward.settle()
    assert len(world.trained) == 1
    world.alarm(day=33)
    steward.settle()
    assert [run for run, _ in world.trained] == ["late-20130421T000000", "late-20130505T000000"]


def test_too_few_labels_in_the_hold_out_refuse_the_challenger(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.write_source()
    world.serve(labelled_days=14)
    world.alarm()
    world.steward().settle()
    closed = world.events(Closed)[0]
    assert (closed.outcome, closed.reason) == (
        "refused",
        "too few labelled rows in the hold-out: 24 of the 100 that gate.min_rows asks for",
    )


def test_a_hold_out_without_any_label_refuses_the_challenger(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.write_source()
    world.serve(labelled_days=0)
    world.alarm()
    world.steward().settle()
    assert world.events(Closed)[0].reason.startswith("too few labelled rows in the hold-out: 0 of")


def test_without_an_alarm_nothing_happens(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.steward().settle()
    assert world.since_first() == []
    assert world.trained == []


def test_a_settled_steward_stays_settled(world: World) -> None:
    steward = world.steward()
    steward.settle()
    told = world.since_first()
    steward.settle()
    assert world.since_first() == told


def test_a_new_steward_publishes_the_pointers_anew(world: World) -> None:
    world.steward()
    assert world.registry.published == 1


def settle_in_spite_of_kills(world: World, *, kills: int = 1) -> None:
    for _ in range(kills):
        with pytest.raises(Killed):
            world.steward().settle()
    world.steward().settle()


def assert_promoted_once(world: World) -> None:
    assert [event.outcome for event in world.events(Closed)] == ["promoted"]
    assert [event.version for event in world.events(Promotion)] == ["1", "2"]
    assert len(world.events(RetrainRequest)) == len(world.events(Judged)) == 1
    assert len(world.registry.made) == 2
    assert world.registry.aliases == {"champion": "2", "challenger": None}


@pytest.mark.parametrize("written", [True, False], ids=["after", "before"])
@pytest.mark.parametrize("number", range(len(TOLD)))
def test_a_steward_killed_round_any_entry_of_the_ledger_ends_as_if_it_had_not(
    world: World, monkeypatch: pytest.MonkeyPatch, number: int, written: bool
) -> None:
    append, calls = Ledger.append, iter(range(99))

    def append_and_die(self: Ledger, event: Event, *, after: int | None = None) -> int:
        kill = next(calls) == number
        if kill and not written:
            raise Killed
        done = append(self, event, after=after)
        if kill:
            raise Killed
        return done

    monkeypatch.setattr(Ledger, "append", append_and_die)
    settle_in_spite_of_kills(world)
    assert_promoted_once(world)
    assert len(world.trained) == 1


@pytest.mark.parametrize("number", range(3))
def test_a_steward_killed_between_a_pointer_and_its_entry_ends_as_if_it_had_not(world: World, number: int) -> None:
    calls = iter(range(99))

    def die() -> None:
        if next(calls) == number:
            raise Killed

    world.registry.on_move = die
    settle_in_spite_of_kills(world)
    assert_promoted_once(world)
    assert len(world.trained) == 1


def test_training_that_fails_is_tried_again_and_may_succeed(world: World) -> None:
    def fail_once() -> None:
        if len(world.trained) == 1:
            raise NotEnoughData("not yet")

    world.during_train = fail_once
    world.steward().settle()
    assert_promoted_once(world)
    assert len(world.trained) == 2


def test_training_that_always_fails_is_abandoned_with_the_reason(world: World) -> None:
    def fail() -> None:
        raise NotEnoughData("one class only")

    world.during_train = fail
    world.steward().settle()
    assert [event.number for event in world.events(Attempt)] == [1, 2]
    closed = world.events(Closed)[0]
    assert (closed.outcome, closed.reason) == ("abandoned", "NotEnoughData: one class only")
    assert world.registry.aliases == {"champion": "1", "challenger": None}


def test_training_that_kills_the_process_each_time_is_abandoned(world: World) -> None:
    def die() -> None:
        raise Killed

    world.during_train = die
    settle_in_spite_of_kills(world, kills=2)
    assert len(world.trained) == 2
    closed = world.events(Closed)[0]
    assert (closed.outcome, closed.reason) == ("abandoned", "2 of 2 attempts were begun and none came to an end")


def test_a_judgement_that_always_fails_is_abandoned_and_nobody_is_challenger_any_more(world: World) -> None:
    def tamper() -> None:
        (world.root / "bundles" / "first" / "student.onnx").write_bytes(b"")

    world.during_train = tamper
    world.steward().settle()
    closed = world.events(Closed)[0]
    assert closed.outcome == "abandoned"
    assert closed.reason.startswith("BundleTampered: 'student.onnx'")
    assert world.registry.aliases == {"champion": "1", "challenger": None}


def test_a_source_that_cannot_be_read_abandons_the_run_with_the_reason(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.alarm()
    world.steward().settle()
    closed = world.events(Closed)[0]
    assert closed.outcome == "abandoned"
    assert "table.parquet" in closed.reason


def test_a_table_without_time_is_trained_on_and_never_judged_on(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.write_source()
    world.serve()
    world.alarm()
    world.settings = world.settings.model_copy(update={"columns": world.settings.columns.model_copy(update={"time": None})})
    world.steward().settle()
    assert world.trained[0][1].num_rows == 31 * 24 + 13 * 24
    assert world.events(Judged)[0].verdict.rows == 7 * 24


def test_two_stewards_never_have_two_retrains_open(world: World) -> None:
    """The second settles while the first is still training: a network that parted them, say."""
    training, other_is_done = threading.Event(), threading.Event()

    def wait() -> None:
        if threading.current_thread() is slow:
            training.set()
            assert other_is_done.wait(30)

    world.during_train = wait
    first, second = world.steward(), world.steward()
    slow = threading.Thread(target=first.settle)
    slow.start()
    assert training.wait(30)
    second.settle()
    other_is_done.set()
    slow.join(30)
    assert_promoted_once(world)
    assert second.state().run is None
    assert second.state().champions == ("1", "2")


def test_stewards_that_begin_at_once_ask_for_one_retrain(world: World) -> None:
    stewards = [world.steward() for _ in range(2)]
    threads = [threading.Thread(target=steward.settle) for steward in stewards]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(world.events(RetrainRequest)) == 1
    assert len(world.registry.made) == 2
    assert world.registry.aliases["champion"] == "2"
    assert world.steward().state().run is None


def test_promoting_the_champion_again_writes_nothing(world: World) -> None:
    promote(cast(Registry, world.registry), world.ledger, "1", by="test", reason="again")
    assert world.since_first() == []


def test_promoting_an_unknown_version_moves_and_writes_nothing(world: World) -> None:
    with pytest.raises(UnknownVersion):
        promote(cast(Registry, world.registry), world.ledger, "9", by="test", reason="a slip")
    assert world.since_first() == []
    assert world.registry.aliases["champion"] == "1"


def test_rows_whose_label_has_not_come_are_handed_to_the_student_and_none_of_them_judges(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.write_source()
    world.serve(days=20, labelled_days=17)
    world.alarm()
    world.steward().settle()
    (recent,) = world.unlabelled
    assert recent is not None
    assert recent.num_rows == 3 * 24
    assert recent.column("late").null_count == recent.num_rows
    assert recent.column(TIME).to_numpy().min() == START + 17 * DAY
    (judged,) = world.events(Judged)
    assert judged.verdict.rows == 4 * 24


def test_a_challenger_that_fails_a_check_is_refused_and_the_check_named(tmp_path: Path) -> None:
    world = World(tmp_path)
    check = {"kind": "row", "name": "never sure", "row": {"miles": 1.0, "wind": 1.0, "carrier": "UA"}, "score": [0.0, 0.01]}
    world.settings = parse(world.settings.dump() | {"checks": [check]})
    world.write_source()
    world.serve()
    world.alarm()
    world.steward().settle()
    (closed,) = world.events(Closed)
    assert closed.outcome == "refused"
    assert "never sure" in closed.reason
