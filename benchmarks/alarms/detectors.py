"""Homeostat, as the monitor runs it: told the reference's windows, then window after window, it says which columns it raises an alarm about."""

from __future__ import annotations

import copy
import datetime as dt
from collections.abc import Sequence
from typing import Final, Self

import numpy as np

from benchmarks.alarms.streams import Rows, World
from cluster.schema import Floats, Matrix
from monitoring import drift
from monitoring.looks import drift_figures, drift_looks, performance_figures, performance_looks
from monitoring.profile import build_profile
from monitoring.sketches import Sketcher, prediction_columns

DAY_S: Final = 86_400.0
LABEL: Final = "(label)"
"""Blamed when predictions are wrong oftener."""
Alarm = tuple[tuple[str, ...], ...]
"""Who is blamed, the heaviest first: a column, or a pair of them."""


class Ours:
    """Profile, sketch, figures, test: what the monitor does with a window, but for the words that it shows beside them."""

    def __init__(self, world: World, windows: Sequence[Rows], *, threshold: float) -> None:
        times = np.concatenate([i * DAY_S + np.arange(len(w[2])) * DAY_S / (len(w[2]) + 1) for i, w in enumerate(windows)])
        X, scores, y = (np.concatenate([w[part] for w in windows]) for part in range(3))
        self._label, self._at, self._threshold = world.schema.label, float(len(windows)), threshold
        self._profile = build_profile(world.schema, X, scores, times, y, window=dt.timedelta(days=1))
        self._sketcher, self._state = Sketcher(self._profile.columns), drift.State()

    def look(self, matrix: Matrix, scores: Matrix, y: Floats) -> Alarm | None:
        """One window: what it looks like, then, the labels having come, how wrong the predictions were."""
        whole = np.column_stack([matrix, prediction_columns(self._label.task, scores)])
        figures = drift_figures(self._profile, self._sketcher, self._sketcher.summarise(whole), min_rows=30)
        figures = np.fmax(figures, performance_figures(self._profile, self._label, scores, y))  # one of the two is NaN
        self._state, weighed = drift.weigh(self._profile, self._state, figures, window_start=self._at * DAY_S, threshold=self._threshold)
        self._at += 1
        return None if weighed.raised is None else tuple(_columns_of(key) for key in weighed.raised.blamed)

    def look_in_words(self, matrix: Matrix, scores: Matrix, y: Floats) -> None:
        """The same window, with the words that the monitor makes of each metric: what a window costs."""
        whole = np.column_stack([matrix, prediction_columns(self._label.task, scores)])
        looks = drift_looks(self._profile, self._sketcher, self._sketcher.summarise(whole), min_rows=30)
        looks += performance_looks(self._profile, self._label, scores, y)
        self._state, _, _ = drift.judge(self._profile, self._state, looks, window_start=self._at * DAY_S, threshold=self._threshold)
        self._at += 1

    def fork(self) -> Self:
        """Another that has seen the same; what one sees from now on the other does not."""
        return copy.copy(self)  # a look replaces what is remembered, and changes none of it


def _columns_of(key: str) -> tuple[str, ...]:
    kind, _, name = key.partition(":")
    if kind == "association":
        return tuple(name.split(" and "))
    if kind == "performance":
        return (LABEL,)
    return (name.rsplit(".", 1)[0] if kind == "quality" else name,)
