import pytest

from benchmarks import changes
from benchmarks.changes import KINDS, Calls, Observation
from benchmarks.service import Span
from benchmarks.steady import Call

CALLS = Calls.of(
    [
        Call(0.0, 1.0, [200]),
        Call(1.0, 2.0, [200]),
        Call(9.5, 10.5, [0, 200]),  # under way at 10, and failed there
        Call(10.5, 11.0, [503, 503]),  # sent after it
        Call(12.0, 14.0, [200]),
        Call(14.0, 16.0, [200]),
    ]
)
STEADY, CHANGE = Span(0, 3), Span(10, 15)


def test_calls_that_touch_a_span_are_counted_with_their_failures():
    found = changes.summarize(CALLS, [CHANGE])
    assert (found["requests"], found["failed"], found["broken"], found["failed, retried"]) == (4, 2, 1, 1)
    assert found["p50 ms"] == 2000


def test_a_call_is_counted_once_however_many_spans_it_touches():
    assert changes.summarize(CALLS, [Span(10, 11), Span(10.2, 15)])["requests"] == 4


def test_the_longest_gap_reaches_from_the_beginning_to_the_end_of_a_span():
    assert CALLS.longest_gap_s(CHANGE) == 3.5  # from 10.5 to 14; the answer at 11 was no good one
    assert CALLS.longest_gap_s(Span(2, 10)) == 8
    assert CALLS.longest_gap_s(STEADY) == 1


def test_without_calls_there_are_no_latencies():
    assert changes.summarize(Calls.of([]), [CHANGE]) == {
        "requests": 0,
        "failed": 0,
        "broken": 0,
        "failed, retried": 0,
        "p50 ms": 0,
        "p99 ms": 0,
        "longest gap s": 5,
    }


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("updates", {"failed, with retries": 1, "failed": 2}),
        ("swaps", {"failed, with retries": 1, "failed": 2, "p99 / steady p99": pytest.approx(2, rel=0.01)}),
        ("gateway", {"failed, with retries": 1, "failed, of those sent after the kill": 1}),
        ("haproxy", {"failed, with retries": 1, "seconds without an answer": 3.5}),
    ],
)
def test_each_kind_of_change_is_held_to_its_own_promise(kind: str, expected: dict[str, float]):
    found = changes.targets_of(Observation(KINDS[kind], STEADY, [CHANGE], CALLS))
    assert {target.what.partition(": ")[2]: target.found for target in found} == expected
    assert not found[0].is_met


def test_changes_stand_beside_the_steady_service():
    steady, during = changes.lines_of(Observation(KINDS["updates"], STEADY, [CHANGE, Span(20, 21)], CALLS))
    assert (steady.who, steady.role, steady.case) == ("steady", "limit", "2 × rolling update")
    assert (during.who, during.role, during.case) == ("during", "ours", "2 × rolling update")
    assert steady.figures["requests"] == 2
