from hypothesis import given
from hypothesis import strategies as st

from monitoring.closings import NEVER, Closings

WAITS_S = {"drift": 2.0, "performance": 12.0}
entries = st.lists(st.tuples(st.integers(1, 10**6), st.floats(0, 100)), min_size=1, max_size=30)


def closings_of(found: list[tuple[int, float]]) -> Closings:
    closings = Closings(window_s=10.0, waits_s=WAITS_S)
    for received_ns, time in found:
        closings.note([time], received_ns)
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


def test_a_row_that_claims_to_be_of_the_far_future_closes_nothing():
    closings = Closings(window_s=10.0, waits_s=WAITS_S)
    closings.note([9e9, 5.0], 1_000)
    assert closings.of(0.0, "drift") == NEVER
    assert closings.watermark == 5.0


def test_an_entry_without_rows_says_nothing():
    closings = Closings(window_s=10.0, waits_s=WAITS_S)
    closings.note([], 1)
    assert closings.watermark == float("-inf")
