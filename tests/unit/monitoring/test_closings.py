import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from monitoring.closings import NEVER, Closings

WAITS_S = {"drift": 2.0, "performance": 12.0}
entries = st.lists(st.tuples(st.integers(1, 10**6), st.floats(0, 100)), min_size=1, max_size=30)


def closings_of(found: list[tuple[int, float]]) -> Closings:
    closings = Closings(window_s=10.0, waits_s=WAITS_S)
    for received_ns, time in found:
        closings.note(np.array([time]), [1], [received_ns])
    return closings


@given(entries, st.randoms())
def test_a_window_closes_at_the_same_entry_in_whatever_order_entries_are_read(found, random):
    shuffled = list(found)
    random.shuffle(shuffled)
    one, other = closings_of(found), closings_of(shuffled)
    for start in (0.0, 10.0, 50.0):
        for look, wait_s in WAITS_S.items():
            closing = min((received_ns for received_ns, time in found if time - wait_s >= start + 10.0), default=NEVER)
            assert one.of(start, look) == other.of(start, look) == closing


@given(entries, st.integers(0, 30))
def test_entries_noted_together_close_what_they_would_one_by_one(found, cut):
    together = Closings(window_s=10.0, waits_s=WAITS_S)
    for part in (found[:cut], found[cut:]):
        times = np.array([time for _, time in part for _ in range(2)]) - np.tile([0.0, 3.0], len(part))
        together.note(times, [2] * len(part), [received_ns for received_ns, _ in part])
    alone = closings_of(found)
    assert together.watermark == alone.watermark
    assert all(together.of(start, look) == alone.of(start, look) for start in (-10.0, 0.0, 10.0, 50.0) for look in WAITS_S)


def test_a_row_that_claims_to_be_of_the_far_future_closes_nothing():
    closings = Closings(window_s=10.0, waits_s=WAITS_S)
    closings.note(np.array([9e9, 5.0]), [2], [1_000])
    assert closings.of(0.0, "drift") == NEVER
    assert closings.watermark == 5.0
    closings.note(np.array([9e9, 4.0, 6.0]), [1, 0, 2], [1_000, 1_001, 1_002])
    assert closings.watermark == 6.0


def test_an_entry_without_rows_says_nothing():
    closings = Closings(window_s=10.0, waits_s=WAITS_S)
    closings.note(np.array([]), [0], [1])
    assert closings.watermark == float("-inf")
