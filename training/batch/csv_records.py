"""Where the records of a CSV end, found without parsing it: so that a large file is cut between records, and counted.

A line feed ends a record unless it is within quotes, and a quote opens a field only at its beginning (as RFC 4180 has it, and
Arrow reads it). Knows bytes; `pyarrow.csv` parses them.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import BinaryIO, Final, NamedTuple

import numpy as np
import numpy.typing as npt
from pyarrow import csv, fs

_READ: Final = 4 << 20
_QUOTE, _LINE_FEED = b'"'[0], b"\n"[0]
_DELIMITERS: Final = (",", ";", "\t", "|")
_BLANK: Final = (b"", b"\r")


class Header(NamedTuple):
    """The line of names."""

    names: list[str]
    delimiter: str
    size: int
    """Bytes, the line feed included."""


class Stretch(NamedTuple):
    """Whole records that follow each other."""

    start: int
    """Byte."""
    stop: int
    first_row: int
    rows: int
    """Blank lines are none."""


def open_text(system: fs.FileSystem, path: str) -> BinaryIO:
    """A file's bytes from its beginning, unpacked where its ending says that it is packed."""
    stream: BinaryIO = system.open_input_stream(path, compression="detect")
    return stream


def header_of(stream: BinaryIO) -> Header:
    """Read the line of names at a stream's beginning; the separator is the one that occurs most in it.

    Raises
    ------
    pyarrow.ArrowInvalid
        When it is no line of names.
    """
    block = stream.read(_READ)
    end = block.find(b"\n")  # quoted line feeds in names are not worth a thought
    line = block if end < 0 else block[: end + 1]
    text = line.decode("utf-8", errors="replace")
    delimiter = max(_DELIMITERS, key=text.count)
    parsed = csv.read_csv(io.BytesIO(line.rstrip(b"\r\n") + b"\n"), parse_options=csv.ParseOptions(delimiter=delimiter))
    return Header(parsed.column_names, delimiter, len(line))


def stretches(stream: BinaryIO, delimiter: str, *, start: int, size: int) -> Iterator[Stretch]:
    """Cut what follows byte `start`, where a record begins, into stretches of at least `size` bytes."""
    stream.seek(start)
    scanner, read = Scanner(delimiter), start
    begin, first_row, rows = start, 0, 0
    while block := stream.read(_READ):
        ends, filled = scanner.records(block)
        ends, done = ends + read + 1, 0
        while (last := int(np.searchsorted(ends, begin + size))) < len(ends):
            rows += int(filled[done : last + 1].sum())
            yield Stretch(begin, int(ends[last]), first_row, rows)
            begin, first_row, rows, done = int(ends[last]), first_row + rows, 0, last + 1
        rows += int(filled[done:].sum())
        read += len(block)
    if read > begin:
        yield Stretch(begin, read, first_row, rows + int(scanner.tail not in _BLANK))


def blocks(stream: BinaryIO, delimiter: str, *, limit: int, size: int) -> Iterator[bytes]:
    """Blocks of whole records, of about `size` bytes each; reads at most `limit` bytes, all where it is -1."""
    scanner, held, left = Scanner(delimiter), b"", limit
    while block := stream.read(size if left < 0 else min(size, left)):
        left -= len(block) if left >= 0 else 0
        ends, _ = scanner.records(block)
        held, block = held + block[: ends[-1] + 1] if len(ends) else held + block, block[ends[-1] + 1 :] if len(ends) else b""
        if len(ends):
            yield held
            held = block
    if held not in _BLANK:
        yield held


class Scanner:
    """Reads block after block, and remembers what one leaves to the next."""

    def __init__(self, delimiter: str) -> None:
        self.tail = b""
        """The first two bytes of the record that the last block did not end."""
        self._openers = (delimiter.encode()[0], _LINE_FEED)
        self._inside = 0
        self._before, self._before_closes = _LINE_FEED, False

    def records(self, block: bytes) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.bool_]]:
        """Places of the line feeds that end a record, and whether that record is more than a blank line."""
        values = np.frombuffer(block, np.uint8)
        ends = np.flatnonzero(values == _LINE_FEED)
        quotes = self._true_quotes(values, np.flatnonzero(values == _QUOTE))
        if len(quotes) or self._inside:
            ends = ends[(np.searchsorted(quotes, ends) + self._inside) % 2 == 0]
        self._inside = (self._inside + len(quotes)) % 2
        self._before = int(values[-1])
        self._before_closes = bool(len(quotes)) and int(quotes[-1]) == len(block) - 1 and not self._inside
        return ends, self._filled(block, values, ends)

    def _true_quotes(self, values: npt.NDArray[np.uint8], quotes: npt.NDArray[np.intp]) -> npt.NDArray[np.intp]:
        """Without the quotes within a field that did not begin with one: those are text."""
        if not len(quotes):
            return quotes
        before = np.where(quotes > 0, values[quotes - 1], self._before)
        may_open = np.isin(before, self._openers) | (np.diff(quotes, prepend=-2) == 1)  # a doubled quote closes and opens
        may_open[0] |= self._before_closes and quotes[0] == 0
        if may_open[self._inside :: 2].all():
            return quotes
        true: list[int] = []
        inside = bool(self._inside)
        for place, opens, is_second in zip(quotes.tolist(), may_open.tolist(), (before == _QUOTE).tolist(), strict=True):
            if inside or (opens and (not is_second or place == 0 or (true and true[-1] == place - 1))):
                true.append(place)
                inside = not inside
        return np.array(true, dtype=np.intp)

    def _filled(self, block: bytes, values: npt.NDArray[np.uint8], ends: npt.NDArray[np.intp]) -> npt.NDArray[np.bool_]:
        if not len(ends):
            self.tail = (self.tail + block[:2])[:2]
            return np.zeros(0, dtype=np.bool_)
        begins = np.concatenate([[0], ends[:-1] + 1])
        lengths = ends - begins
        filled: npt.NDArray[np.bool_] = (lengths > 1) | ((lengths == 1) & (values[begins] != _BLANK[1][0]))
        filled[0] = (self.tail + block[: ends[0]])[:2] not in _BLANK
        self.tail = block[ends[-1] + 1 :][:2]
        return filled
