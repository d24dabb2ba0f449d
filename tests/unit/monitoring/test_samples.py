import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from monitoring.marks import marks_of
from monitoring.samples import Sample

IDS = [f"0123456789ab-0000-{i:x}" for i in range(256, 356)]
MARKS = marks_of(IDS, list(range(10**18, 10**18 + 100)), [3] * 100)
ROWS = np.arange(300, dtype=np.float32)[:, None]


@given(st.lists(st.integers(1, 299), unique=True, max_size=6), st.randoms())
def test_a_sample_is_the_same_in_whatever_pieces_and_order_rows_come(cuts, random):
    pieces = [piece for piece in np.split(np.arange(300), sorted(cuts)) if len(piece)]
    random.shuffle(pieces)
    found = Sample.of(MARKS[pieces[0]], ROWS[pieces[0]], ROWS[pieces[0]], most=40)
    for piece in pieces[1:]:
        found = found.with_(Sample.of(MARKS[piece], ROWS[piece], ROWS[piece], most=40), most=40)
    whole = Sample.of(MARKS, ROWS, ROWS, most=40)
    assert found.matrix.tolist() == whole.matrix.tolist()
    assert found.marks.tolist() == sorted(MARKS.tolist())[:40]


def test_marks_differ_and_fill_their_range_evenly():
    assert len(set(MARKS.tolist())) == 300
    marks = marks_of(["r"], [1], [20_000])
    counts = np.bincount((marks >> np.uint64(60)).astype(int), minlength=16)
    assert counts.min() > 1100
    assert counts.max() < 1400


def test_fewer_rows_than_a_sample_are_all_kept():
    assert len(Sample.of(MARKS[:5], ROWS[:5], ROWS[:5], most=40).marks) == 5
