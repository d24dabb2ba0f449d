import numpy as np

from monitoring.held import Same
from tests.unit.monitoring.world import Stream, profile_of


def test_two_profiles_that_are_equal_are_not_taken_for_one_another():
    stream = Stream(np.random.default_rng(1), 20)
    one, other = profile_of(stream, 20), profile_of(stream, 20)
    assert one == other
    assert Same(one) != Same(other)
    assert len({Same(one), Same(one), Same(other)}) == 2
