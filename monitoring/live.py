"""Everything that is said of live rows beside the tested metrics, in the order in which it becomes known. Pure.

Once a window is over: how good it probably was, how far apart groups are, what its sample says of the model. Once its labels are due:
how good the bundle has been, and how far the estimate was off. Alarms here are not part of the alarm budget; each states its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from cluster.settings import Settings
from monitoring import behaviour, drift, estimate, gaps, reasons, sofar
from monitoring.behaviour import Model
from monitoring.brought import Brought
from monitoring.reach import Reach, reach_of
from monitoring.reasons import Reasons
from monitoring.said import Figure, Live
from monitoring.view import View
from monitoring.windows import Rows, Window

_FEWEST_SAMPLED: Final = 30


@dataclass(frozen=True)
class Scene:
    """One window of one bundle, and what is known of the bundle."""

    settings: Settings
    seen: View
    brought: Brought
    start: float
    rng: np.random.Generator


def once_over(
    scene: Scene, window: Window, rows: Rows | None, live: Live, *, model: Model | None, before: Model | None, why: Reasons | None = None
) -> tuple[list[Figure], Live]:
    """What a window says without waiting for its labels.

    Parameters
    ----------
    rows
        None when they are gone already.
    model, before
        The bundle and the one that answered before it; None when they cannot be loaded.
    why
        What explains rows of the bundle; None when it cannot be loaded.
    """
    label, profile = scene.seen.schema.label, scene.seen.profile
    share = window.by_ensemble / max(window.rows, 1)
    found = [
        Figure(
            "stability", "by_ensemble", share, "share of rows that the ensemble answered", window.rows, expected=scene.brought.by_ensemble
        )
    ]
    if rows is not None and window.summary is not None:
        reach = reach_of(profile, scene.seen.sketcher, window.summary)
        found += estimate.estimate(label, profile, scene.brought.intervals, rows.scores, rows.y, reach, live)
        live = live.lies(scene.start, (reach.outside, reach.stretch))
        nobody = np.full(len(rows.y), np.nan)
        told, live = gaps.gaps(
            label, rows.scores, nobody, rows.groups, scene.settings.fairness, live, kinds=gaps.WITHOUT_LABELS, rng=scene.rng
        )
        found += told
    if window.sample is None or len(window.sample.marks) < _FEWEST_SAMPLED:
        return found, live
    if model is not None:
        told, live = behaviour.try_out(
            model,
            profile.columns,
            window.sample.matrix,
            live,
            before=before,
            tolerance=scene.brought.tolerance,
            demanded=scene.settings.checks,
            rng=scene.rng,
        )
        found += told
    if why is not None:
        watch = scene.settings.monitoring
        threshold = drift.threshold_of(watch.one_false_alarm_in, watch.window)
        told, live = reasons.explain(why, profile.columns, window.sample.matrix, live, threshold=threshold, rng=scene.rng)
        found += told
    return found, live


def once_labelled(scene: Scene, rows: Rows, live: Live) -> tuple[list[Figure], Live]:
    """What a window says once its labels are due."""
    label, profile, known = scene.seen.schema.label, scene.seen.profile, ~np.isnan(rows.y)
    scores, y = rows.scores[known], rows.y[known]
    found, live = sofar.so_far(
        label,
        scores,
        y,
        {name: values[known] for name, values in rows.groups.items()},
        {slice_.where: rows.slices[known, i] for i, slice_ in enumerate(scene.brought.slices)},
        live,
        usual=profile.performance,
    )
    found += sofar.expected_calibration_errors(label, scores, y, rng=scene.rng)
    told, live = gaps.gaps(label, rows.scores, rows.y, rows.groups, scene.settings.fairness, live, kinds=gaps.WITH_LABELS, rng=scene.rng)
    found += told + _rest(scene, rows, live)
    live = estimate.checked(label, profile, scene.brought.intervals, scores, y, live)
    return found, live.labelled(scene.start)


def _rest(scene: Scene, rows: Rows, live: Live) -> list[Figure]:
    """The estimate again, with the labels that have come in the place of guesses; nothing when all have."""
    reach = live.reaches.get(f"{scene.start:.0f}")
    if reach is None:
        return []
    return estimate.estimate(scene.seen.schema.label, scene.seen.profile, scene.brought.intervals, rows.scores, rows.y, Reach(*reach), live)
