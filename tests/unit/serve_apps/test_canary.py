from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serve_apps.canary import Canary, routing_key

KEYS = [b"customer-%d" % number for number in range(20_000)]


def canary(share: float, version: str = "2") -> Canary:
    return Canary(model="flights", version=version, share=share)


def taken(share: float, version: str = "2") -> set[bytes]:
    chosen = canary(share, version)
    return {key for key in KEYS if chosen.takes(key)}


@pytest.mark.parametrize("share", [0.01, 0.1, 0.5, 0.9])
def test_the_part_of_the_keys_that_see_the_challenger_is_its_share(share: float) -> None:
    deviation = (share * (1 - share) / len(KEYS)) ** 0.5  # of a binomial share
    assert abs(len(taken(share)) / len(KEYS) - share) < 3 * deviation


def test_keys_that_count_up_are_spread_evenly_in_every_stretch() -> None:
    chosen = canary(0.5)
    counts = [sum(chosen.takes(key) for key in KEYS[start : start + 1000]) for start in range(0, len(KEYS), 1000)]
    statistic = sum((count - 500) ** 2 / 250 for count in counts)  # chi-squared of 20 degrees of freedom
    assert 7.4 < statistic < 40.0, counts  # 99 % of even spreads


def test_a_key_falls_on_the_same_side_everywhere_and_for_ever() -> None:
    chosen = canary(0.1)
    assert [number for number in range(60) if chosen.takes(b"customer-%d" % number)] == [1, 2, 10, 14, 36, 47]


@given(key=st.binary(max_size=40), shares=st.tuples(st.floats(0, 1), st.floats(0, 1)))
def test_raising_the_share_adds_keys_and_takes_none_away(key: bytes, shares: tuple[float, float]) -> None:
    low, high = sorted(shares)
    assert canary(low).takes(key) <= canary(high).takes(key)


@given(st.binary(max_size=40))
def test_nobody_sees_a_share_of_nothing_and_everybody_the_whole(key: bytes) -> None:
    assert not canary(0.0).takes(key)
    assert canary(1.0).takes(key)


@pytest.mark.parametrize("share", [0.1, 0.5])
def test_another_challenger_falls_upon_other_keys(share: float) -> None:
    second, third = taken(share, "2"), taken(share, "3")
    both, deviation = len(second & third) / len(KEYS), (share**2 * (1 - share**2) / len(KEYS)) ** 0.5
    assert abs(both - share**2) < 3 * deviation  # as if drawn independently


def test_the_key_is_what_the_caller_names_or_else_the_body() -> None:
    named = [(b"content-type", b"application/json"), (b"x-routing-key", b"customer-7")]
    assert routing_key(named, b"one") == routing_key(named, b"two") == b"customer-7"
    assert routing_key(named[:1], b"one") == routing_key([], b"one")
    assert routing_key([], b"one") != routing_key([], b"two")
    assert routing_key([(b"x-routing-key", b"")], b"one") == routing_key([], b"one")


def test_requests_without_a_key_are_shared_out_by_their_bodies() -> None:
    chosen = canary(0.3)
    bodies = [b'{"rows":[{"miles":%d,"carrier":"B6"}]}' % number for number in range(20_000)]
    share = sum(chosen.takes(routing_key([], body)) for body in bodies) / len(bodies)
    assert abs(share - 0.3) < 3 * (0.3 * 0.7 / len(bodies)) ** 0.5
