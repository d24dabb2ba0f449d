from __future__ import annotations

import contextlib
import errno
import itertools
import math
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.errors import JournalCorrupt, JournalError, StorageError, UnknownRequest
from cluster.journal import Entry, Tail, Writer, find_rows, scan
from cluster.records import Audit, LabelEntry, Labels, Prediction

PROJECT = Path(__file__).parents[3]
values = st.one_of(st.none(), st.text(), st.integers(-(2**63), 2**63 - 1), st.floats(allow_nan=False), st.booleans())


@st.composite
def predictions(draw: st.DrawFn) -> Prediction:
    n = draw(st.integers(1, 4))
    columns = draw(st.dictionaries(st.text(min_size=1), st.lists(values, min_size=n, max_size=n), max_size=3))
    times = draw(st.lists(st.floats(0, 1e11), min_size=n, max_size=n))
    return Prediction(bundle=draw(st.text()), event_times=times, columns=columns, scores=draw(st.binary()), by_ensemble=bytes(n))


entries = st.builds(LabelEntry, request_id=st.text(), row=st.integers(0, 100), label=values.filter(lambda v: v is not None))
label_lists = st.builds(Labels, entries=st.lists(entries, min_size=1, max_size=4))
audits = st.builds(Audit, request_id=st.text(), rows=st.lists(st.integers(0, 100), min_size=1, max_size=4), scores=st.binary())


def prediction(rows: int = 1, *, bundle: str = "1") -> Prediction:
    return Prediction(bundle=bundle, event_times=[0.0] * rows, columns={"x": [1.5] * rows}, scores=bytes(4 * rows), by_ensemble=bytes(rows))


def writer(root: Path, **more: int) -> Writer:
    ticks = itertools.count(1)
    return Writer(str(root), clock_ns=lambda: next(ticks), **more)


def segments(root: Path) -> list[Path]:
    return sorted(root.glob("*.seg"))


def read(tail: Tail) -> list[str]:
    return [entry.request_id for entry in tail.read()]


def record_of(entry: Entry) -> Prediction | Labels | Audit:
    if entry.kind == "audit":
        return entry.audit()
    return entry.prediction() if entry.kind == "prediction" else entry.labels()


def rows_of(record: Prediction | Labels | Audit) -> int:
    if isinstance(record, Prediction):
        return len(record.event_times)
    return len(record.entries if isinstance(record, Labels) else record.rows)


# Reading back


@given(records=st.lists(st.one_of(predictions(), label_lists, audits), max_size=6), segment_bytes=st.sampled_from([1, 400, 1 << 20]))
def test_what_is_appended_is_read_back(
    tmp_path_factory: pytest.TempPathFactory, records: list[Prediction | Labels | Audit], segment_bytes: int
) -> None:
    root = tmp_path_factory.mktemp("journal")
    journal = writer(root, segment_bytes=segment_bytes)
    ids = [journal.append(record) for record in records]
    journal.close()
    found = list(scan(str(root)))
    assert [entry.request_id for entry in found] == ids
    assert [record_of(entry) for entry in found] == records
    assert [entry.received_ns for entry in found] == list(range(1, len(records) + 1))
    assert [entry.rows for entry in found] == list(map(rows_of, records))


def test_a_journal_that_was_never_written_is_empty(tmp_path: Path) -> None:
    assert list(scan(str(tmp_path / "none"))) == []


def test_a_tail_yields_only_what_is_new(tmp_path: Path) -> None:
    journal, tail = writer(tmp_path, segment_bytes=300), Tail(str(tmp_path))
    assert read(tail) == []
    for count in (1, 3, 0, 2):
        ids = [journal.append(prediction()) for _ in range(count)]
        assert read(tail) == ids


def test_a_tail_that_reads_little_at_a_time_reads_everything(tmp_path: Path) -> None:
    journal = writer(tmp_path, segment_bytes=2000)
    ids = [journal.append(prediction(rows)) for rows in range(1, 30)]
    tail, found = Tail(str(tmp_path)), []
    for _ in range(200):
        found += [entry.request_id for entry in tail.read(most_bytes=700)]
    assert found == ids


def test_a_frame_larger_than_what_a_tail_reads_at_a_time_is_read_all_the_same(tmp_path: Path) -> None:
    journal = writer(tmp_path)
    ids = [journal.append(prediction(rows)) for rows in (1, 500, 1)]
    tail, found = Tail(str(tmp_path)), []
    for _ in range(10):
        found += [entry.request_id for entry in tail.read(most_bytes=300)]
    assert found == ids


def test_two_writers_side_by_side_share_a_journal(tmp_path: Path) -> None:
    one, two = writer(tmp_path), writer(tmp_path)
    ids = [journal.append(prediction()) for journal in (one, two, one, two, two)]
    assert sorted(entry.request_id for entry in scan(str(tmp_path))) == sorted(ids)
    assert all(find_rows(str(tmp_path), request_id) == 1 for request_id in ids)


def test_segments_rotate_and_their_chain_goes_on(tmp_path: Path) -> None:
    journal = writer(tmp_path, segment_bytes=150)
    ids = [journal.append(prediction()) for _ in range(4)]
    assert [path.stem[-4:] for path in segments(tmp_path)] == ["0000", "0001", "0002", "0003"]
    assert [entry.request_id for entry in scan(str(tmp_path))] == ids
    segments(tmp_path)[2].unlink()
    with pytest.raises(JournalCorrupt, match="the segment before it is damaged or gone"):
        list(scan(str(tmp_path)))


def test_an_object_store_cannot_hold_a_journal() -> None:
    with pytest.raises(StorageError, match="the journal needs a local or shared file system"):
        Writer("s3://lake/journal", clock_ns=lambda: 0)


def test_a_journal_that_cannot_be_opened_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(JournalError, match="cannot open journal segment"):
        writer(tmp_path / "file")


# Damage


@pytest.mark.parametrize("keep", [1, 20, 50, 65, 100])
def test_a_torn_tail_is_ignored_and_read_once_it_is_whole(tmp_path: Path, keep: int) -> None:
    journal = writer(tmp_path)
    ids = [journal.append(prediction()) for _ in range(2)]
    (path,) = segments(tmp_path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(ids[1].rpartition("-")[2], 16) + keep])
    tail = Tail(str(tmp_path))
    assert read(tail) == ids[:1]
    assert read(tail) == []
    path.write_bytes(whole)
    assert read(tail) == ids[1:]


@pytest.mark.parametrize("keep", [0, 1, 50])
def test_a_torn_header_is_ignored_and_read_once_it_is_whole(tmp_path: Path, keep: int) -> None:
    request_id = writer(tmp_path).append(prediction())
    (path,) = segments(tmp_path)
    whole = path.read_bytes()
    path.write_bytes(whole[:keep])
    tail = Tail(str(tmp_path))
    assert read(tail) == []
    path.write_bytes(whole)
    assert read(tail) == [request_id]


def test_an_altered_byte_anywhere_is_found(tmp_path: Path) -> None:
    journal = writer(tmp_path)
    for _ in range(3):
        journal.append(prediction())
    (path,) = segments(tmp_path)
    whole = path.read_bytes()
    unnoticed = []
    for position, byte in enumerate(whole):
        path.write_bytes(whole[:position] + bytes([byte ^ 1 << position % 8]) + whole[position + 1 :])
        try:
            found = list(scan(str(tmp_path)))
        except JournalCorrupt:
            continue
        unnoticed.append((position, len(found)))
    last = int([entry.request_id for entry in _scan_whole(path, whole)][-1].rpartition("-")[2], 16)
    # only the length of the very last frame can be made to look like a torn tail, and then that frame is not read
    assert {(position - last, found) for position, found in unnoticed} <= {(offset, 2) for offset in range(8, 12)}


def _scan_whole(path: Path, whole: bytes) -> list[Entry]:
    path.write_bytes(whole)
    return list(scan(str(path.parent)))


def test_a_frame_that_is_cut_out_is_missed(tmp_path: Path) -> None:
    journal = writer(tmp_path)
    first, second, third = (int(journal.append(prediction()).rpartition("-")[2], 16) for _ in range(3))
    (path,) = segments(tmp_path)
    whole = path.read_bytes()
    path.write_bytes(whole[:first] + whole[second:])
    with pytest.raises(JournalCorrupt, match=f"at byte {first}"):
        list(scan(str(tmp_path)))
    path.write_bytes(whole[:second] + whole[third:])
    with pytest.raises(JournalCorrupt, match=f"at byte {second}"):
        list(scan(str(tmp_path)))


# Finding


def test_a_request_id_finds_its_rows_and_only_a_predictions_does(tmp_path: Path) -> None:
    journal = writer(tmp_path, segment_bytes=400)
    ids = {journal.append(prediction(rows)): rows for rows in range(1, 8)}
    of_labels = journal.append(Labels(entries=[LabelEntry(request_id=next(iter(ids)), row=0, label=1)]))
    assert {request_id: find_rows(str(tmp_path), request_id) for request_id in ids} == ids
    of_an_audit = journal.append(Audit(request_id=next(iter(ids)), rows=[0], scores=bytes(4)))
    for other in (of_labels, of_an_audit):
        with pytest.raises(UnknownRequest):
            find_rows(str(tmp_path), other)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda good: "",
        lambda good: "nonsense",
        lambda good: "../../etc/passwd",
        lambda good: good + "\n",
        lambda good: good.upper() + "A",
        lambda good: good.replace("-0000-", "-0000-0"),
        lambda good: good.replace("-0000-", "-0001-"),
        lambda good: good[:-1] + "f" * 6,
        lambda good: "0" * 12 + good[12:],
        lambda good: good.rpartition("-")[0] + "-1",
        lambda good: good.rpartition("-")[0] + "-" + format(int(good.rpartition("-")[2], 16) + 5, "x"),
        lambda good: good.rpartition("-")[0] + "-" + "f" * 12,
        lambda good: good.rpartition("-")[0] + "-0",
    ],
)
def test_an_id_that_was_never_answered_is_unknown(tmp_path: Path, spoil: Callable[[str], str]) -> None:
    wrong = spoil(writer(tmp_path).append(prediction()))
    with pytest.raises(UnknownRequest, match="use the request_id that POST /v1/predict answered") as caught:
        find_rows(str(tmp_path), wrong)
    assert caught.value.details == ({"request_id": wrong},)


# A full disk


def fill_disk(monkeypatch: pytest.MonkeyPatch, *, after: int) -> None:
    """From now on the disk takes `after` more bytes."""
    real, room = os.write, [after]

    def write(fd: int, data: bytes) -> int:
        if room[0] == 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        written = real(fd, data[: room[0]])
        room[0] -= written
        return written

    monkeypatch.setattr(os, "write", write)


@pytest.mark.parametrize("after", [0, 10, 70])
def test_a_full_disk_is_told_and_leaves_no_partial_frame(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: int) -> None:
    journal = writer(tmp_path)
    first = journal.append(prediction())
    (path,) = segments(tmp_path)
    size = path.stat().st_size
    with monkeypatch.context() as full:
        fill_disk(full, after=after)
        with pytest.raises(JournalError, match=r"cannot append to the journal .*No space left on device"):
            journal.append(prediction())
        assert path.stat().st_size == size
    second = journal.append(prediction())
    assert [entry.request_id for entry in scan(str(tmp_path))] == [first, second]


def test_a_disk_that_fills_up_while_a_segment_is_begun_leaves_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = writer(tmp_path, segment_bytes=150)
    first = journal.append(prediction())
    with monkeypatch.context() as full:
        fill_disk(full, after=20)
        for _ in range(2):
            with pytest.raises(JournalError):
                journal.append(prediction())
    assert len(segments(tmp_path)) == 1
    second = journal.append(prediction())
    assert [entry.request_id for entry in scan(str(tmp_path))] == [first, second]


def test_a_frame_that_cannot_even_be_taken_back_is_a_torn_tail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(fd: int, length: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    journal = writer(tmp_path)
    first = journal.append(prediction())
    with monkeypatch.context() as broken:
        fill_disk(broken, after=30)
        broken.setattr(os, "ftruncate", refuse)
        with pytest.raises(JournalError):
            journal.append(prediction())
    second = journal.append(prediction())
    assert [entry.request_id for entry in scan(str(tmp_path))] == [first, second]


# A killed process

WRITER = """
import sys, time
from cluster.journal import Writer
from cluster.records import Prediction
journal = Writer(sys.argv[1], clock_ns=time.time_ns)
record = Prediction(bundle="1", event_times=[0.0] * 3, columns={"x": [1.5] * 3}, scores=bytes(12), by_ensemble=bytes(3))
while True:
    print(journal.append(record), flush=True)
"""


def test_every_acknowledged_id_of_a_killed_writer_is_found(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path)], cwd=PROJECT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        acknowledged = [process.stdout.readline() for _ in range(500)]
        process.send_signal(signal.SIGKILL)
        with contextlib.suppress(ValueError):
            acknowledged += process.stdout.readlines()
    ids = [line.strip() for line in acknowledged if line.endswith("\n")]
    assert process.returncode == -signal.SIGKILL
    assert len(ids) >= 500
    assert {find_rows(str(tmp_path), request_id) for request_id in ids} == {3}
    assert set(ids) <= {entry.request_id for entry in scan(str(tmp_path))}


def test_numbers_that_are_not_finite_survive(tmp_path: Path) -> None:
    writer(tmp_path).append(Prediction(bundle="1", event_times=[0.0], columns={"x": [math.inf]}, scores=b"", by_ensemble=b""))
    assert [entry.prediction().columns["x"] for entry in scan(str(tmp_path))] == [[math.inf]]


OLD = (
    "7b22666f726d6174223a22686f6d656f737461742d6a6f75726e616c222c2276657273696f6e223a312c2270726576696f75735f646967657374223a"
    "223030303030303030303030303030303030303030303030303030303030303030303030303030303030303030303030303030303030303030303030"
    "3030303030227d0a484601010100000051000000800000000000000001000000000000004b5d567300107e63bfa9126d9711d4eb3322dc7535069e2a"
    "1619736a3f6db44b85a662756e646c65a131ab6576656e745f74696d657391cb0000000000000000a7636f6c756d6e7381a17891cb3ff80000000000"
    "00a673636f726573c40400000000ab62795f656e73656d626c65c401004846020101000000370000000d0100000000000002000000000000002ef977"
    "a490ca6354cf5123261a80018f77b1ab4d95b541f51705e4aeccb8c74881a7656e74726965739183aa726571756573745f6964b43031323334353637"
    "383961622d303030302d3830a3726f7700a56c6162656c01"
)


def test_a_journal_written_before_audits_were_is_read_as_it_was(tmp_path: Path) -> None:
    """One prediction and one label, by version 0.1.0."""
    (tmp_path / "0123456789ab-0000.seg").write_bytes(bytes.fromhex(OLD))
    first, second = scan(str(tmp_path))
    assert (first.kind, first.request_id, first.prediction()) == ("prediction", "0123456789ab-0000-80", prediction())
    assert second.labels().entries == [LabelEntry(request_id=first.request_id, row=0, label=1)]
