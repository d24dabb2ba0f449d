"""Where a CSV's records end: as Arrow's parser has it, whatever the quotes, line feeds and blank lines."""

from __future__ import annotations

import io

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import csv

from training.batch import csv_records

FIELDS = st.sampled_from(["x", "12", '"q"', '"m\nn"', '"d""d"', '""', '"\n"', '","', '5" pipe', 'a""b', 'z"', ""])
LINES = st.lists(st.one_of(st.tuples(FIELDS, FIELDS).map(",".join), st.sampled_from(["", "1", "1,2,3"])), min_size=1, max_size=12)


class Drops(io.BytesIO):
    """A stream that gives a few bytes at a time, so that everything falls across a block's edge."""

    def read(self, size: int | None = -1, /) -> bytes:
        return super().read(7 if size is None or size < 0 else min(size, 7))


def count_by_arrow(data: bytes) -> int:
    broken: list[csv.InvalidRow] = []

    def note(row: csv.InvalidRow) -> str:
        broken.append(row)
        return "skip"

    table = csv.read_csv(
        io.BytesIO(data),
        csv.ReadOptions(use_threads=False, block_size=len(data) + 1, column_names=["a", "b"]),
        csv.ParseOptions(newlines_in_values=True, invalid_row_handler=note),
    )
    return int(table.num_rows) + len(broken)


@given(lines=LINES, feed=st.sampled_from(["\n", "\r\n"]), ends=st.booleans(), size=st.integers(1, 40))
def test_cuts_lie_between_records_and_count_them_as_arrow_does(lines: list[str], feed: str, ends: bool, size: int) -> None:
    data = (feed.join(lines) + (feed if ends else "")).encode()
    try:
        rows = count_by_arrow(data) if data.strip() else 0
    except pa.ArrowInvalid:
        return  # a quote that is never closed: nobody can read this
    found = list(csv_records.stretches(Drops(data), ",", start=0, size=size))
    assert b"".join(data[cut.start : cut.stop] for cut in found) == data
    assert sum(cut.rows for cut in found) == rows
    assert [cut.first_row for cut in found] == [sum(cut.rows for cut in found[:i]) for i in range(len(found))]
    assert [cut.rows for cut in found if data[cut.start : cut.stop].strip()] == [
        count_by_arrow(piece) for cut in found if (piece := data[cut.start : cut.stop]).strip()
    ]


@given(lines=LINES, size=st.integers(1, 40))
def test_blocks_are_whole_records(lines: list[str], size: int) -> None:
    data = "\n".join(lines).encode()
    try:
        rows = count_by_arrow(data) if data.strip() else 0
    except pa.ArrowInvalid:
        return
    found = list(csv_records.blocks(Drops(data), ",", limit=-1, size=size))
    assert sum(count_by_arrow(block) for block in found if block.strip()) == rows
    assert b"".join(found).strip() == data.strip()


def test_blocks_stop_at_the_limit() -> None:
    assert list(csv_records.blocks(io.BytesIO(b"1,2\n3,4\n5,6\n"), ",", limit=8, size=5)) == [b"1,2\n", b"3,4\n"]


@pytest.mark.parametrize(("line", "delimiter"), [("a,b", ","), ("a;b;c", ";"), ("a\tb", "\t"), ("a|b", "|"), ("alone", ",")])
def test_the_separator_is_the_one_that_the_names_have(line: str, delimiter: str) -> None:
    header = csv_records.header_of(io.BytesIO(f"{line}\r\n1\n".encode()))
    assert header.delimiter == delimiter
    assert header.names == line.split(delimiter)
    assert header.size == len(line) + 2
