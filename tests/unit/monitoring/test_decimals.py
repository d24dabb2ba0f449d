import numpy as np
import pytest

from monitoring.decimals import decimals_of, finer


@pytest.mark.parametrize(
    ("values", "decimals"),
    [
        ([1, 2, -40_000, 0], 0),
        ([39.02, 41.0, -3.94], 2),
        ([1e-4, 12.3456], 4),
        ([0.12345], None),
        ([], None),
        ([5_000_000, 7], None),
        ([np.inf, 1], None),
    ],
)
def test_the_fewest_decimals_that_are_enough_for_all_values(values, decimals):
    assert decimals_of(np.array(values, dtype=np.float32)) == decimals


@pytest.mark.parametrize("decimals", [0, 1, 2, 3])
def test_float32_neither_hides_finer_values_nor_makes_them_up(decimals):
    rng, most = np.random.default_rng(decimals), 2**20 / 10**decimals
    written = np.round(rng.uniform(-most, most, 20_000), decimals).astype(np.float32)
    power = np.float32(10**decimals)
    assert not finer(written, power).any()
    near = np.abs(written) < most / 100
    assert finer(written[near] * np.float32(1.609344), power).mean() > 0.95
