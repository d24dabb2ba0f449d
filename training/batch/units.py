"""How a table's files are cut: pieces of one file, and units of work made of pieces.

The cut depends on the files alone, so the same command makes the same units on any day and with any number of workers.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

from cluster.records import Record

UNIT_ROWS: Final = 1 << 18
"""A quarter to two seconds of scoring: little is lost with a worker, and to hand out a unit costs milliseconds."""
UNIT_BYTES: Final = 32 << 20
"""The same of a CSV."""


class Piece(Record, frozen=True, kw_only=True):
    """Rows of one file that follow each other."""

    file: str
    """As `inputs.InputFile.name`."""
    start: int
    """First row group; of a CSV the first byte of its first record."""
    stop: int
    """One past the last; -1 for a compressed CSV, which can only be read from its beginning to its end."""
    first_row: int
    """Number of the first row in its file, from 0; a CSV's line of names does not count."""
    rows: int
    """-1 where only reading tells."""


class Unit(Record, frozen=True, kw_only=True):
    """What a worker scores at a time, and what is done again when it dies."""

    number: int
    pieces: list[Piece]


class Cut(NamedTuple):
    """A piece and the share of a unit that it is."""

    piece: Piece
    share: float


def units_of(cuts: Iterable[Cut]) -> list[Unit]:
    """Units of about one share each, in order: many small files make few, and a piece larger than a share is one."""
    units: list[list[Piece]] = []
    room = 0.0
    for piece, share in cuts:
        if not units or share > room:
            units.append([])
            room = 1.0
        _append(units[-1], piece)
        room -= share
    return [Unit(number=number, pieces=pieces) for number, pieces in enumerate(units)]


def _append(pieces: list[Piece], piece: Piece) -> None:
    """Neighbours in one file become one piece."""
    last = pieces[-1] if pieces else None
    if last is None or last.file != piece.file or last.stop != piece.start:
        pieces.append(piece)
    else:
        pieces[-1] = Piece(file=last.file, start=last.start, stop=piece.stop, first_row=last.first_row, rows=last.rows + piece.rows)
