"""The journal: every prediction and label that was acknowledged, and audits of the cascade; append-only and hash-chained.

A writer (one a serving process) owns its segments, so there are no locks. `append` returns after write(2): a
killed process loses nothing, a host that dies loses at most what the page cache had not flushed.

A segment is a header line of JSON and then frames:

    magic 'HF' · kind u8 · version u8 · rows u32 · length u32 · offset u64 · received_ns u64 · digest 32 bytes · body

`digest` is SHA-256 of the digest before it and of everything else in the frame: an edit breaks the chain. A
request id is the place of its frame (writer, segment, offset), so any process finds it without an index. A
torn frame at the end of a segment was never acknowledged and is ignored.
"""

from __future__ import annotations

import hashlib
import os
import re
import struct
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, Literal, NamedTuple

import msgspec

from cluster import packed, storage
from cluster.errors import JournalCorrupt, JournalError, UnknownRequest
from cluster.records import Audit, Labels, Prediction

_HEAD: Final = struct.Struct("<2sBBIIQQ")
_DIGEST_BYTES: Final = 32
FRAME_OVERHEAD: Final = _HEAD.size + _DIGEST_BYTES
_VERSION: Final = 1
_ID: Final = re.compile(r"([0-9a-f]{12})-([0-9a-f]{4})-([1-9a-f][0-9a-f]{0,11})")
_encode = msgspec.msgpack.Encoder().encode
_decode_prediction = msgspec.msgpack.Decoder(Prediction).decode
_decode_labels = msgspec.msgpack.Decoder(Labels).decode
_decode_audit = msgspec.msgpack.Decoder(Audit).decode

Kind = Literal["prediction", "labels", "audit"]
_KINDS: Final[dict[int, Kind]] = {1: "prediction", 2: "labels", 3: "audit"}
"""A number is never given to another kind: what was written stays readable."""


class Entry(NamedTuple):
    """A frame that was read back."""

    request_id: str
    """The id answered to the caller; for labels and audits, merely the frame's place."""
    kind: Kind
    rows: int
    received_ns: int
    body: bytes

    def prediction(self) -> Prediction:
        """Decode the body of a prediction."""
        return _decode_prediction(self.body)

    def packed(self) -> packed.Packed:
        """Decode the body of a prediction but for its lists."""
        return packed.decode(self.body)

    def labels(self) -> Labels:
        """Decode the body of labels."""
        return _decode_labels(self.body)

    def audit(self) -> Audit:
        """Decode the body of an audit."""
        return _decode_audit(self.body)


class Writer:
    """Appends to segments of its own.

    Parameters
    ----------
    root
        The model's journal, a local or shared folder.
    clock_ns
        Nanoseconds since 1970.
    segment_bytes
        A new segment is begun after this many.

    Raises
    ------
    JournalError
        When the folder cannot be written. After a failed append nothing of it remains.
    """

    def __init__(self, root: str, *, clock_ns: Callable[[], int], segment_bytes: int = 64 * 1024 * 1024) -> None:
        self.writer = uuid.uuid4().hex[:12]
        self._root = storage.local_path(root, need="the journal")
        self._clock_ns = clock_ns
        self._segment_bytes = segment_bytes
        self._segment = -1
        self._fd = -1
        self._size = 0
        self._digest = b"\0" * _DIGEST_BYTES
        self._open_next()

    def append(self, record: Prediction | Labels | Audit) -> str:
        """Write one record; returns its request id once the operating system has it."""
        kind, rows = _kind_and_rows(record)
        if self._fd < 0 or self._size >= self._segment_bytes:
            self._open_next()
        body = _encode(record)
        head = _HEAD.pack(b"HF", kind, _VERSION, rows, len(body), self._size, self._clock_ns())
        digest = hashlib.sha256(self._digest + head + body).digest()
        request_id = f"{self.writer}-{self._segment:04x}-{self._size:x}"
        self._write(head + digest + body)
        self._digest = digest
        return request_id

    def close(self) -> None:
        """Close the open segment; a later append begins another."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _open_next(self) -> None:
        self.close()
        self._segment += 1
        path = self._root / f"{self.writer}-{self._segment:04x}.seg"
        try:
            self._root.mkdir(parents=True, exist_ok=True)
            self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o640)
        except OSError as error:
            raise JournalError(f"cannot open journal segment '{path}': {error.strerror}") from error
        self._size = 0
        try:
            self._write(_header(self._digest))
        except JournalError:
            self.close()
            path.unlink(missing_ok=True)
            raise

    def _write(self, data: bytes) -> None:
        try:
            written = os.write(self._fd, data)
            while written < len(data):
                written += os.write(self._fd, data[written:])
        except OSError as error:
            try:
                os.ftruncate(self._fd, self._size)
            except OSError:
                self.close()  # what is left is a torn tail; the next append begins a new segment
            raise JournalError(f"cannot append to the journal in '{self._root}': {error.strerror}") from error
        self._size += len(data)


def _kind_and_rows(record: Prediction | Labels | Audit) -> tuple[int, int]:
    if isinstance(record, Prediction):
        return 1, len(record.event_times)
    return (2, len(record.entries)) if isinstance(record, Labels) else (3, len(record.rows))


def _header(previous_digest: bytes) -> bytes:
    """A segment's first line, always of `_HEADER_BYTES`."""
    header = {"format": "homeostat-journal", "version": _VERSION, "previous_digest": previous_digest.hex()}
    return msgspec.json.encode(header) + b"\n"


_HEADER_BYTES: Final = len(_header(b"\0" * _DIGEST_BYTES))


class Tail:
    """Reads a journal from where it left off, checking the hash chain on the way.

    Keeps a position and a digest a segment; a new `Tail` starts at the beginning.
    """

    def __init__(self, root: str) -> None:
        self._root = storage.local_path(root, need="the journal")
        self._at: dict[str, tuple[int, bytes]] = {}
        self._ends: dict[str, bytes] = {}

    def read(self, *, most_bytes: int = 1 << 62) -> Iterator[Entry]:
        """Yield what has been appended since the last call, segment by segment, each in order of writing.

        Parameters
        ----------
        most_bytes
            Stop after about this many; a single larger frame is read whole.

        Raises
        ------
        JournalCorrupt
            Naming segment and offset where the chain breaks.
        """
        budget = most_bytes
        for path in sorted(self._root.glob("*.seg")) if self._root.is_dir() else ():
            position, digest = self._at.get(path.name, (0, b""))
            if path.stat().st_size <= position or budget <= 0:
                continue
            data = _read(path, position, budget)
            budget -= len(data)
            start = position
            if position == 0:
                if len(data) < _HEADER_BYTES:
                    continue
                digest = self._begin(path, data[:_HEADER_BYTES])
                start = _HEADER_BYTES
            yield from self._frames(path, data, start - position, position, digest)

    def positions(self) -> dict[str, int]:
        """How far each segment was read, bytes by its name."""
        return {name.removesuffix(".seg"): position for name, (position, _) in self._at.items()}

    def _begin(self, path: Path, header: bytes) -> bytes:
        """The digest that a segment continues from: where the writer's segment before it ended, if that one was read."""
        writer, _, number = path.stem.partition("-")
        try:
            digest = bytes.fromhex(msgspec.json.decode(header)["previous_digest"])
        except (msgspec.DecodeError, UnicodeDecodeError, ValueError, KeyError, TypeError) as error:
            raise JournalCorrupt(f"journal segment '{path}' is damaged at byte 0: its header cannot be read") from error
        first = b"\0" * _DIGEST_BYTES if number == "0000" else digest
        if header != _header(digest) or digest != self._ends.get(writer, first):
            raise JournalCorrupt(f"journal segment '{path}' was altered at byte 0, or the segment before it is damaged or gone")
        self._ends[writer] = digest
        return digest

    def _frames(self, path: Path, data: bytes, at: int, base: int, digest: bytes) -> Iterator[Entry]:
        name, segment = path.name, path.stem
        writer = segment.partition("-")[0]
        self._at[name] = (base + at, digest)
        while at + FRAME_OVERHEAD <= len(data):
            magic, kind, _, rows, length, offset, received_ns = _HEAD.unpack_from(data, at)
            body_at = at + FRAME_OVERHEAD
            if magic != b"HF" or offset != base + at or kind not in _KINDS:
                raise JournalCorrupt(f"journal segment '{path}' is damaged at byte {base + at}")
            if body_at + length > len(data):
                if _holds_a_frame(data, at + 1, base):
                    raise JournalCorrupt(f"journal segment '{path}' was altered at byte {base + at}: the frame hides another")
                return
            body = data[body_at : body_at + length]
            head_end = at + _HEAD.size
            expected = hashlib.sha256(digest + data[at:head_end] + body).digest()
            if expected != data[head_end:body_at]:
                raise JournalCorrupt(f"journal segment '{path}' was altered at byte {base + at}: its hash chain is broken")
            digest = expected
            at = body_at + length
            self._at[name] = (base + at, digest)
            self._ends[writer] = digest
            yield Entry(f"{segment}-{offset:x}", _KINDS[kind], rows, received_ns, body)


def _read(path: Path, position: int, most_bytes: int) -> bytes:
    """What a segment holds from a position on: at most so many bytes, yet the first frame whole."""
    frame_at = 0 if position else _HEADER_BYTES
    with path.open("rb") as file:
        left = os.fstat(file.fileno()).st_size - position
        file.seek(position)
        data = file.read(min(left, max(most_bytes, frame_at + FRAME_OVERHEAD)))
        if len(data) >= frame_at + _HEAD.size:
            length = _HEAD.unpack_from(data, frame_at)[4]
            more = min(left, frame_at + FRAME_OVERHEAD + length) - len(data)
            data += file.read(max(0, more))
    return data


def _holds_a_frame(data: bytes, at: int, base: int) -> bool:
    """Whether a frame begins at `at` or later: then what comes before is not a torn tail."""
    while 0 <= (at := data.find(b"HF", at)) <= len(data) - _HEAD.size:
        _, kind, version, _, _, offset, _ = _HEAD.unpack_from(data, at)
        if offset == base + at and kind in _KINDS and version == _VERSION:
            return True
        at += 1
    return False


def scan(root: str) -> Iterator[Entry]:
    """Everything in the journal, segment by segment."""
    return Tail(root).read()


def find_rows(root: str, request_id: str) -> int:
    """How many rows the prediction with this id has.

    Raises
    ------
    UnknownRequest
        When the journal holds no such prediction.
    """
    match = _ID.fullmatch(request_id)
    if match:
        path, at = storage.local_path(root, need="the journal") / f"{match[1]}-{match[2]}.seg", int(match[3], 16)
        try:
            with path.open("rb") as file:
                size = os.fstat(file.fileno()).st_size
                head = os.pread(file.fileno(), _HEAD.size, at) if at + FRAME_OVERHEAD <= size else b""
        except FileNotFoundError:
            head = b""
        if head:
            magic, kind, _, rows, length, offset, _ = _HEAD.unpack(head)
            if magic == b"HF" and kind == 1 and offset == at and at + FRAME_OVERHEAD + length <= size:
                return int(rows)
    raise UnknownRequest(
        f"no prediction has the request id {request_id!r}; use the request_id that POST /v1/predict answered",
        details=[{"request_id": request_id}],
    )
