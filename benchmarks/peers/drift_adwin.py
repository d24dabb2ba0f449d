"""River's ADWIN, one a column, on the means of windows; `python -m benchmarks.peers.drift_adwin IN.npz OUT.npz`.

`means` is float64 (streams, windows, columns), the first `reference` windows being the reference; NaN says nothing. Each column is brought to
0 to 1 by the reference's extremes, for which ADWIN's bound is made. It looks after each mean (`clock=1`; its default looks after every 32nd,
which suits rows). Gives back `cuts`, bool (streams, windows after the reference, columns, deltas), and the processor seconds it took.
"""

from __future__ import annotations

import math
import sys
import time

import numpy as np
from river.drift import ADWIN


def cuts(means: np.ndarray, reference: int, deltas: list[float]) -> np.ndarray:
    """Where each delta cuts the window of one column: bool (windows after the reference, deltas)."""
    known = means[:reference][~np.isnan(means[:reference])]
    if not len(known):
        return np.zeros((len(means) - reference, len(deltas)), dtype=bool)
    scaled = ((means - known.min()) / ((known.max() - known.min()) or 1.0)).tolist()
    made = np.zeros((len(means), len(deltas)), dtype=bool)
    for place, delta in enumerate(deltas):
        detector = ADWIN(delta=delta, clock=1)
        for at, value in enumerate(scaled):
            if not math.isnan(value):
                detector.update(value)
                made[at, place] = detector.drift_detected
    return made[reference:]


def main() -> None:
    """Read, watch, write."""
    given = np.load(sys.argv[1])
    means, reference, deltas = given["means"], int(given["reference"]), given["deltas"].tolist()
    began = time.process_time()
    streams, windows, columns = means.shape
    made = np.empty((streams, windows - reference, columns, len(deltas)), dtype=bool)
    for s in range(streams):
        for c in range(columns):
            made[s, :, c] = cuts(means[s, :, c], reference, deltas)
    np.savez_compressed(sys.argv[2], cuts=made, seconds=time.process_time() - began)


if __name__ == "__main__":
    main()
