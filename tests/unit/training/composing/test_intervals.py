from __future__ import annotations

import numpy as np
import pytest

from cluster.intervals import Intervals
from training.composing import intervals


def world(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Noise that grows with the prediction."""
    rng = np.random.default_rng(seed)
    x = rng.uniform(1, 10, n)
    return x * (1 + 0.2 * rng.normal(size=n)), x[:, None].astype(np.float32)


@pytest.mark.parametrize("confidence", [0.8, 0.95])
def test_new_rows_fall_inside_as_often_as_promised_wherever_they_are(confidence):
    """Coverage in each third of the range, averaged over 40 draws of 1,000 held-out rows: split conformal promises the mean."""
    inside = []
    for seed in range(40):
        found = intervals.learn(*world(1000, seed), confidence=confidence)
        assert found is not None
        y, scores = world(3000, 1000 + seed)
        ends = found.around(scores)
        hit = (ends[:, 0] <= y) & (y <= ends[:, 1])
        inside.append([hit[(scores[:, 0] >= low) & (scores[:, 0] < low + 3)].mean() for low in (1, 4, 7)])
    assert np.mean(inside) == pytest.approx(confidence, abs=0.01)
    assert np.mean(inside, axis=0) == pytest.approx([confidence] * 3, abs=0.02)


def test_intervals_are_wider_where_the_model_errs_more():
    found = intervals.learn(*world(2000, 0), confidence=0.9)
    assert found is not None
    assert found.half_widths[-1] > 3 * found.half_widths[0]
    assert found.coverage == pytest.approx(0.9, abs=0.02)


def test_few_rows_share_one_width_and_too_few_give_none():
    found = intervals.learn(*world(50, 0), confidence=0.9)
    assert found is not None
    assert (found.edges, len(found.half_widths)) == ([], 1)
    assert intervals.learn(*world(5, 0), confidence=0.9) is None


def test_equal_predictions_are_one_bin():
    found = intervals.learn(np.arange(400.0), np.zeros((400, 1), np.float32), confidence=0.9)
    assert found is not None
    assert isinstance(found, Intervals)
    assert found.around(np.zeros((1, 1), np.float32))[0, 1] == pytest.approx(360, abs=1)
