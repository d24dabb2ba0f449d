"""The monitor over a journal, without Ray."""

import itertools
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from cluster import encoder
from cluster.errors import RegistryError, UnknownVersion
from cluster.journal import Writer, scan
from cluster.records import Audit, LabelEntry, Labels, Pointer
from cluster.settings import Settings
from monitoring import batches, collector, reading, verdicts
from monitoring.agreement import Audits
from monitoring.core import MonitorCore
from tests.unit.monitoring.world import DAY, Stream, audit, journal, prediction, profile_of, seal, settings

STREAM = Stream(np.random.default_rng(11), 45)
PROFILE = profile_of(STREAM, 30)
LIVE = range(30, 40)
CLOCK = itertools.count(1_800_000_000 * 10**9)


@pytest.fixture
def world(tmp_path: Path) -> tuple[Settings, Pointer, Writer]:
    chosen = settings(tmp_path / "var")
    writer = Writer(chosen.places.journal("trips"), clock_ns=lambda: next(CLOCK), segment_bytes=20_000)
    return chosen, seal(tmp_path / "bundle", PROFILE), writer


def recount(root: str) -> tuple[int, int, int]:
    """Rows, label entries and labelled rows of a journal, one at a time."""
    rows, entries, joined = 0, 0, set()
    for entry in scan(root):
        if entry.kind == "prediction":
            rows += len(entry.prediction().event_times)
        elif entry.kind == "labels":
            for label in entry.labels().entries:
                entries += 1
                joined.add((label.request_id, label.row))
    return rows, entries, len(joined)


def test_counts_equal_a_recount_of_the_journal(world):
    chosen, pointer, writer = world
    journal(writer, STREAM, LIVE)
    status = MonitorCore(chosen, locate=lambda _: pointer).catch_up()
    assert (status["rows"], status["label_entries"], status["labels_joined"]) == recount(chosen.places.journal("trips"))
    assert status["watermark"] == pytest.approx(STREAM.times[STREAM.rows(39)].max())
    assert status["windows_judged"] == 9  # the tenth is not over
    assert status["journal_lag_bytes"] == 0
    assert status["labels_waiting"] == STREAM.rows(39).stop - STREAM.rows(39).start


def test_a_window_is_judged_once_it_is_over_and_its_performance_when_labels_are_due(world):
    chosen, pointer, writer = world
    journal(writer, STREAM, LIVE)
    MonitorCore(chosen, locate=lambda _: pointer).poll()
    log = verdicts.read(chosen.places.verdicts("trips"))
    assert [r.window_start / DAY for r in log if r.look == "drift"] == list(range(30, 39))
    assert [r.window_start / DAY for r in log if r.look == "performance"] == list(range(30, 38))
    assert [r.sequence for r in log] == list(range(17))
    first = {v.name: v for v in log[0].verdicts}
    rows = STREAM.rows(30)
    assert first["miles"].rows == rows.stop - rows.start
    measured = {v.name: v for v in next(r for r in log if r.look == "performance").verdicts if v.kind == "performance"}
    assert measured["brier"].value == pytest.approx(np.mean((STREAM.scores[rows, 0] - STREAM.y[rows]) ** 2), rel=1e-5)
    assert set(measured) == {"brier", "roc_auc", "log_loss", "accuracy", "ece", "ece_by_chance"}
    assert measured["roc_auc"].e_value == 1.0


def test_polling_often_seldom_or_after_a_crash_gives_the_same_verdicts(world, tmp_path):
    chosen, pointer, writer = world
    other = settings(tmp_path / "other")
    linked = Path(other.places.journal("trips"))
    core = MonitorCore(chosen, locate=lambda _: pointer)
    for day in LIVE:
        journal(writer, STREAM, range(day, day + 1), label=False)
        core = core if day % 3 else MonitorCore(chosen, locate=lambda _: pointer)  # a new one remembers nothing
        core.poll()
    linked.parent.mkdir(parents=True)
    linked.symlink_to(Path(chosen.places.journal("trips")).resolve())
    once = MonitorCore(other, locate=lambda _: pointer)
    assert once.catch_up() == core.catch_up()
    assert verdicts.read(other.places.verdicts("trips")) == verdicts.read(chosen.places.verdicts("trips"))


def test_rows_encoded_in_small_pieces_give_the_same_verdicts_as_in_one(world, tmp_path, monkeypatch):
    chosen, pointer, writer = world
    journal(writer, STREAM, LIVE)
    core = MonitorCore(chosen, locate=lambda _: pointer)
    core.poll()
    other = settings(tmp_path / "other")
    linked = Path(other.places.journal("trips"))
    linked.parent.mkdir(parents=True)
    linked.symlink_to(Path(chosen.places.journal("trips")).resolve())
    for module, name, value in (
        (batches, "_PIECE_ROWS", 60),
        (collector, "_CHUNK_ROWS", 130),
        (reading, "_CHUNK_BYTES", 30_000),
        (encoder, "_MANY_ROWS", 1),
    ):
        monkeypatch.setattr(module, name, value)
    again = MonitorCore(other, locate=lambda _: pointer)
    assert again.catch_up() == core.status()
    assert verdicts.read(other.places.verdicts("trips")) == verdicts.read(chosen.places.verdicts("trips"))


def test_a_new_monitor_takes_up_counts_and_detectors_and_judges_nothing_twice(world):
    chosen, pointer, writer = world
    journal(writer, STREAM, LIVE)
    old = MonitorCore(chosen, locate=lambda _: pointer)
    before = old.catch_up()
    log = verdicts.read(chosen.places.verdicts("trips"))
    new = MonitorCore(chosen, locate=lambda _: pointer)
    assert new.catch_up() == before
    assert verdicts.read(chosen.places.verdicts("trips")) == log
    journal(writer, STREAM, range(40, 45))
    assert new.catch_up() == old.catch_up()


def test_the_label_received_last_counts_and_a_repeated_one_counts_once(world):
    chosen, pointer, writer = world
    rows = STREAM.rows(30)
    request = writer.append(prediction(STREAM, rows))
    n = rows.stop - rows.start
    for value in (1, 0):
        writer.append(Labels(entries=[LabelEntry(request_id=request, row=i, label=value) for i in range(n)]))
    core = MonitorCore(chosen, locate=lambda _: pointer)
    assert core.catch_up()["labels_joined"] == n
    journal(writer, STREAM, range(33, 34), label=False)
    core.poll()
    judged = next(r for r in verdicts.read(chosen.places.verdicts("trips")) if r.look == "performance")
    brier = next(v.value for v in judged.verdicts if v.name == "brier")
    assert brier == pytest.approx(np.mean(STREAM.scores[rows, 0].astype(float) ** 2), rel=1e-6)


def test_labels_in_a_segment_read_before_the_prediction_are_joined(world):
    chosen, pointer, _ = world
    root = chosen.places.journal("trips")
    writers = sorted((Writer(root, clock_ns=lambda: next(CLOCK)) for _ in range(2)), key=lambda w: w.writer)
    request = writers[1].append(prediction(STREAM, STREAM.rows(30)))
    writers[0].append(Labels(entries=[LabelEntry(request_id=request, row=3, label=1)]))
    assert MonitorCore(chosen, locate=lambda _: pointer).catch_up()["labels_joined"] == 1


def test_rows_after_their_window_was_judged_are_counted_and_change_nothing(world):
    chosen, pointer, writer = world
    journal(writer, STREAM, range(30, 33), label=False)
    core = MonitorCore(chosen, locate=lambda _: pointer)
    core.poll()
    log = verdicts.read(chosen.places.verdicts("trips"))
    writer.append(prediction(STREAM, slice(STREAM.rows(30).start, STREAM.rows(30).start + 5)))
    status = core.catch_up()
    assert status["rows_late"] == 5
    assert verdicts.read(chosen.places.verdicts("trips")) == log


def test_a_row_from_the_far_future_does_not_close_windows(world):
    chosen, pointer, writer = world
    journal(writer, STREAM, range(30, 32), label=False)
    request = prediction(STREAM, slice(0, 1))
    writer.append(type(request)(**{f: getattr(request, f) for f in request.__struct_fields__} | {"event_times": [9e9]}))
    status = MonitorCore(chosen, locate=lambda _: pointer).catch_up()
    assert status["windows_judged"] == 1
    assert status["watermark"] == pytest.approx(STREAM.times[STREAM.rows(31)].max())


def test_each_bundle_is_judged_by_its_own_profile_and_detectors(world, tmp_path):
    chosen, pointer, writer = world
    second = seal(tmp_path / "second", profile_of(STREAM, 25), version="2")
    journal(writer, STREAM, range(30, 34), label=False)
    journal(writer, STREAM, range(33, 37), version="2", label=False)
    MonitorCore(chosen, locate=lambda v: {"1": pointer, "2": second}[v]).poll()
    log = [r for r in verdicts.read(chosen.places.verdicts("trips")) if r.look == "drift"]
    assert [(r.bundle, r.window_start / DAY) for r in log] == [
        *[("1", 30), ("1", 31), ("1", 32), ("1", 33)],
        *[("2", 33), ("2", 34), ("2", 35)],
    ]
    assert [r.state.looks for r in log] == [1, 2, 3, 4, 1, 2, 3]


def test_a_window_with_few_rows_is_logged_without_verdicts(world):
    chosen, pointer, writer = world
    start = STREAM.rows(30).start
    writer.append(prediction(STREAM, slice(start, start + 49)))
    journal(writer, STREAM, range(32, 33), label=False)
    MonitorCore(chosen, locate=lambda _: pointer).poll()
    first, *_ = verdicts.read(chosen.places.verdicts("trips"))
    assert (first.rows, first.verdicts) == (49, [])


def test_a_registry_that_is_away_for_a_moment_loses_nothing(world):
    chosen, pointer, writer = world
    journal(writer, STREAM, LIVE)
    answers: Iterator[RegistryError | Pointer] = iter([RegistryError("the registry is away"), RegistryError("still away"), pointer])

    def locate(_: str) -> Pointer:
        answer = next(answers)
        if isinstance(answer, Pointer):
            return answer
        raise answer

    core = MonitorCore(chosen, locate=locate)
    for _ in range(2):
        with pytest.raises(RegistryError):
            core.poll()
    assert core.catch_up()["rows"] == recount(chosen.places.journal("trips"))[0]


def test_rows_before_those_of_a_bundle_that_cannot_be_read_for_a_moment_are_counted_once(world, tmp_path):
    chosen, pointer, writer = world
    second = seal(tmp_path / "second", PROFILE, version="2")
    journal(writer, STREAM, range(30, 32))
    journal(writer, STREAM, range(32, 34), version="2")
    answers = iter([RegistryError("the registry is away")])

    def locate(version: str) -> Pointer:
        if version == "2" and (error := next(answers, None)):
            raise error
        found: Pointer = second if version == "2" else pointer
        return found

    core = MonitorCore(chosen, locate=locate)
    with pytest.raises(RegistryError):
        core.poll()
    assert core.status()["rows"] == 0
    assert core.status()["journal_lag_bytes"] != 0
    status = core.catch_up()
    assert (status["rows"], status["label_entries"], status["labels_joined"]) == recount(chosen.places.journal("trips"))
    assert status["journal_lag_bytes"] == 0


def test_rows_of_a_bundle_that_is_unknown_or_altered_are_counted_as_unjudged(world, tmp_path):
    chosen, pointer, writer = world
    journal(writer, STREAM, range(30, 31), version="3", label=False)
    journal(writer, STREAM, range(30, 31), version="1", label=False)
    (tmp_path / "bundle" / "profile.json").write_text("{}")

    def locate(version: str) -> Pointer:
        if version == "1":
            return Pointer(version="1", uri=pointer.uri, digest=pointer.digest)
        raise UnknownVersion(f"no version {version}")

    status = MonitorCore(chosen, locate=locate).catch_up()
    assert status["rows_unjudged"] == status["rows"] == 2 * (STREAM.rows(30).stop - STREAM.rows(30).start)


def test_rows_are_let_go_when_their_performance_has_been_judged(world):
    chosen, pointer, writer = world
    journal(writer, STREAM, LIVE)
    core = MonitorCore(chosen, locate=lambda _: pointer)
    core.poll()
    held = {k.start / DAY for k in core._collector.labels}
    assert held == {38, 39}
    assert core._collector.held <= len(LIVE) * 6


# Audits


def audited(writer: Writer, days: range, *, differ: int, version: str = "1") -> None:
    """Write days to the journal, one request a day; of each, 40 rows are audited, and on `differ` of them the ensemble decides otherwise."""
    for day in days:
        rows = STREAM.rows(day)
        request = writer.append(prediction(STREAM, rows, version=version))
        writer.append(audit(request, STREAM, rows, list(range(3, 83, 2)), differ=differ))


def test_audits_are_counted_in_the_windows_of_their_rows(world):
    chosen, pointer, writer = world
    audited(writer, range(30, 34), differ=2)
    core = MonitorCore(chosen, locate=lambda _: pointer)
    assert core.catch_up()["rows_audited"] == 160
    log = verdicts.read(chosen.places.verdicts("trips"))
    found = [v for record in log for v in record.verdicts if v.kind == "cascade"]
    assert [(v.name, v.rows, v.value, v.expected) for v in found] == [("agreement", 40, 0.05, 0.02)] * 3  # the last day is not over
    assert all("the student disagrees with the ensemble on 5.0%" in v.message for v in found)
    assert log[-1].state.watch is not None
    assert log[-1].state.watch.counted == Audits(rows=120, differ=6)
    assert log[-1].evidence > 0.1 * log[-1].state.watch.evidence


def test_a_broken_promise_is_an_alarm_of_the_bundle_that_made_it(world, tmp_path):
    chosen, pointer, writer = world
    second = seal(tmp_path / "second", PROFILE, version="2")
    audited(writer, range(30, 40), differ=20)
    audited(writer, range(30, 40), differ=0, version="2")
    core = MonitorCore(chosen, locate=lambda v: {"1": pointer, "2": second}[v])
    core.poll()
    blamed = [(record.bundle, record.alarm.blamed) for record in core.alarms if record.alarm]
    assert blamed == [("1", ["cascade:agreement"])]


def test_a_new_monitor_takes_up_the_audits_with_identical_numbers(world):
    chosen, pointer, writer = world
    audited(writer, range(30, 36), differ=1)
    old = MonitorCore(chosen, locate=lambda _: pointer)
    before = old.catch_up()
    new = MonitorCore(chosen, locate=lambda _: pointer)
    assert new.catch_up() == before
    audited(writer, range(36, 40), differ=3)
    assert new.catch_up() == old.catch_up()
    assert [r.state.watch for r in new.latest.values()] == [r.state.watch for r in old.latest.values()]


def test_audits_of_rows_whose_window_was_judged_or_that_nobody_knows_change_nothing(world):
    chosen, pointer, writer = world
    rows = STREAM.rows(30)
    request = writer.append(prediction(STREAM, rows))
    audited(writer, range(31, 33), differ=0)
    core = MonitorCore(chosen, locate=lambda _: pointer)
    core.poll()
    log = verdicts.read(chosen.places.verdicts("trips"))
    writer.append(audit(request, STREAM, rows, [0, 1, 2], differ=3))
    writer.append(Audit(request_id="0123456789ab-0000-80", rows=[0], scores=bytes(4)))
    writer.append(Audit(request_id=request, rows=[rows.stop - rows.start], scores=bytes(4)))
    assert core.catch_up()["rows_audited"] == 85
    assert verdicts.read(chosen.places.verdicts("trips")) == log


@pytest.mark.parametrize(("threshold", "audit_share"), [(1.01, 0.01), (0.0, 0.0)])
def test_without_a_promise_or_without_audits_the_budget_is_the_metrics_own(tmp_path, threshold, audit_share):
    chosen = settings(tmp_path / "var", audit_share=audit_share)
    pointer = seal(tmp_path / "bundle", PROFILE, threshold=threshold)
    writer = Writer(chosen.places.journal("trips"), clock_ns=lambda: next(CLOCK))
    audited(writer, range(30, 33), differ=40)
    MonitorCore(chosen, locate=lambda _: pointer).poll()
    log = verdicts.read(chosen.places.verdicts("trips"))
    assert {v.kind for r in log for v in r.verdicts} == {"feature_drift", "prediction_drift", "quality", "estimate", "stability"}
    assert {r.state.watch for r in log} == {None}


def test_a_window_of_few_rows_is_judged_by_its_audits_alone(world):
    chosen, pointer, writer = world
    start = STREAM.rows(30).start
    rows = slice(start, start + 20)
    writer.append(audit(writer.append(prediction(STREAM, rows)), STREAM, rows, [4, 5], differ=1))
    audited(writer, range(32, 33), differ=0)
    core = MonitorCore(chosen, locate=lambda _: pointer)
    core.poll()
    first, *_ = verdicts.read(chosen.places.verdicts("trips"))
    assert [(v.kind, v.rows, v.value) for v in first.verdicts] == [("cascade", 2, 0.5)]
    assert core.latest == {}
