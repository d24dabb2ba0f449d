"""The cut of a table: the same on any day, and neither too fine nor too coarse."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from training.batch.units import Cut, Piece, units_of


def cut(file: str, start: int, share: float, rows: int = 10) -> Cut:
    return Cut(Piece(file=file, start=start, stop=start + 1, first_row=rows * start, rows=rows), share)


def test_small_files_share_a_unit_and_large_pieces_have_one_each() -> None:
    units = units_of([cut("a", 0, 0.4), cut("b", 0, 0.4), cut("c", 0, 0.4), cut("c", 1, 5.0), cut("c", 2, 0.1)])
    assert [[(p.file, p.start, p.stop) for p in unit.pieces] for unit in units] == [
        [("a", 0, 1), ("b", 0, 1)],
        [("c", 0, 1)],
        [("c", 1, 2)],
        [("c", 2, 3)],
    ]
    assert [unit.number for unit in units] == [0, 1, 2, 3]


def test_neighbours_in_a_file_are_read_as_one() -> None:
    (unit,) = units_of([cut("a", 0, 0.3), cut("a", 1, 0.3), cut("b", 0, 0.3)])
    assert unit.pieces[0] == Piece(file="a", start=0, stop=2, first_row=0, rows=20)
    assert unit.pieces[1].file == "b"


@given(shares=st.lists(st.floats(0, 3), max_size=30))
def test_every_piece_is_in_one_unit_and_in_order(shares: list[float]) -> None:
    cuts = [cut("a", i, share) for i, share in enumerate(shares)]
    groups = [g for unit in units_of(cuts) for piece in unit.pieces for g in range(piece.start, piece.stop)]
    assert groups == list(range(len(shares)))


def test_nothing_makes_no_units() -> None:
    assert units_of([]) == []
