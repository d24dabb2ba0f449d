"""How fine a column's values are: the decimals that a reference needs, and which values need more. Pure.

Most columns are written with so many decimals, and another unit, another source or a forgotten rounding nearly always needs more.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from cluster.schema import Matrix

_MOST: Final = 4
_LARGEST: Final = np.float32(1 << 20)  # steps; beyond it float32 has hardly a digit left behind the point
_ROUNDING: Final = np.float32(2**-22)  # of a value that is kept as float32, and multiplied once
_NEAR: Final = np.float32(1e-3)


def decimals_of(values: Matrix) -> int | None:
    """How many decimals, 0 to 4, are enough for all values, float32 (n,) without NaN; None where it cannot be told.

    >>> decimals_of(np.array([1.5, 20.25, -3], dtype=np.float32)), decimals_of(np.array([1 / 3], dtype=np.float32))
    (2, None)
    """
    if not len(values):
        return None
    for decimals in range(_MOST + 1):
        power = np.float32(10**decimals)
        if not (np.abs(values * power) < _LARGEST).all():
            return None
        if not finer(values, power).any():
            return decimals
    return None


def finer(values: Matrix, powers: Matrix | np.float32) -> npt.NDArray[np.bool_]:
    """Which values, float32, are no multiples of 1 / powers; not those that are missing, or too large to tell.

    >>> finer(np.array([2.5, 2.25, np.nan, 3e9], dtype=np.float32), np.float32(10)).tolist()
    [False, True, False, False]
    """
    with np.errstate(over="ignore", invalid="ignore"):  # infinite values are too large to tell
        steps = values * powers
        off = np.abs(steps - np.rint(steps))
        size = np.abs(steps)
        return np.asarray((off > _NEAR + _ROUNDING * size) & (size < _LARGEST))
