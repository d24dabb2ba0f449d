"""One world, measured: every stream is scored once by everybody, then thresholds are applied and the alarms counted."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np

from benchmarks.alarms import counting, elsewhere
from benchmarks.alarms.columns import Columns
from benchmarks.alarms.detectors import LABEL, Ours
from benchmarks.alarms.peers import RULES
from benchmarks.alarms.rules import Rule, Strengths, matched
from benchmarks.alarms.streams import draw, prepare
from benchmarks.alarms.trial import BEFORE, BUDGET, HEALTHY, REFERENCE, SEED, Course, Planted, Seen, calibration, healthy, planted
from benchmarks.report import Line
from cluster.schema import Floats

OURS: Final = "Homeostat"
DEFAULT: Final = "default"
MATCHED: Final = "matched"
PEER_WINDOWS: Final = 5
"""How many windows Evidently reports on: each costs it as much as the whole reference."""


class Setting(NamedTuple):
    """A peer with its knob turned."""

    rule: Rule
    name: str
    """`default`, or `matched`: as seldom as ours on healthy streams that are used for nothing else."""
    threshold: float

    @property
    def who(self) -> str:
        """As the tables show it."""
        return f"{self.rule.who} ({self.name})"


class Measured(NamedTuple):
    """What one world gave."""

    calm: list[Line]
    found: list[Line]


def measure(name: str, *, streams: int) -> Measured:
    """False alarms in `streams` healthy streams, and a quarter as many of each planted change.

    Raises
    ------
    DataError
        When the table cannot be had.
    Unavailable
        When ADWIN cannot be run.
    """
    world = prepare(name)
    names = [*(feature.name for feature in world.schema.features), LABEL]
    calm = [healthy(world, i) for i in range(streams)]
    ours = counting.calm_figures([seen.ours for seen in calm])
    calibrated = strengths([calibration(world, i) for i in range(streams)])
    settings = _settings(calibrated, len(names) - 1, ours["any alarm %"] / 100)
    lines = [Line(who=OURS, role="ours", case=name, figures=ours)]
    seen = strengths(calm)
    for setting in settings:
        figures = counting.calm_figures(courses(setting, seen, names)) | {"threshold": setting.threshold}
        lines.append(Line(who=setting.who, role="peer", case=name, figures=figures))
    changed = [one for i in range(max(streams // 4, 2)) for one in planted(world, i)]
    return Measured(lines, found_lines(name, changed, settings, names))


def _settings(calibrated: Strengths, columns: int, share: float) -> list[Setting]:
    default = [Setting(rule, DEFAULT, rule.default(columns)) for rule in RULES]
    return default + [Setting(rule, MATCHED, matched(rule.levels(calibrated), share)) for rule in RULES]


def strengths(streams: Sequence[Seen]) -> Strengths:
    """What the peers measured; ADWIN runs now, on all of them."""
    reference = len(streams[0].means) - len(streams[0].far)
    return Strengths(
        np.stack([seen.far for seen in streams]), elsewhere.adwin(np.stack([seen.means for seen in streams]), reference=reference).cuts
    )


def courses(setting: Setting, seen: Strengths, names: Sequence[str]) -> list[Course]:
    """A peer's alarms in each stream."""
    hits, strength = setting.rule.hits(seen, setting.threshold), setting.rule.strength(seen)
    return [counting.course(names, hit, strong) for hit, strong in zip(hits, strength, strict=True)]


def found_lines(name: str, changed: Sequence[Planted], settings: Sequence[Setting], names: Sequence[str]) -> list[Line]:
    """Change by change: ours with how it compares stream by stream, then the peers."""
    said = {OURS: [one.seen.ours for one in changed]}
    seen = strengths([one.seen for one in changed])
    said |= {setting.who: courses(setting, seen, names) for setting in settings}
    equal = [setting.who for setting in settings if setting.name == MATCHED]
    lines = []
    for change in dict.fromkeys(one.change.name for one in changed):
        at = [i for i, one in enumerate(changed) if one.change.name == change]
        outcomes = {who: [counting.found(alarms[i], BEFORE, changed[i].blame) for i in at] for who, alarms in said.items()}
        for who, some in outcomes.items():
            figures = counting.found_figures(some)
            if who == OURS:
                figures |= counting.beside(some, [outcomes[peer] for peer in equal])
            lines.append(Line(who=who, role="ours" if who == OURS else "peer", case=f"{name}: {change}", figures=figures))
    return lines


def cost(name: str) -> tuple[list[Line], float]:
    """Processor seconds for a million rows, one after the other on one stream; and how far our distances are from Evidently's report.

    Raises
    ------
    DataError, Unavailable
        When the table cannot be had, or a peer not be run.
    """
    world = prepare(name)
    stream = draw(world, reference=REFERENCE, healthy=HEALTHY, rng=np.random.default_rng([SEED, 4]))
    reference, windows = world.rows(stream.reference), world.rows(stream.healthy)
    rows, watcher, columns = sum(len(one[2]) for one in windows), Ours(world, reference, threshold=BUDGET), Columns(world, reference)
    began = time.process_time()
    for one in windows:
        watcher.look_in_words(*one)
    ours_s, began = time.process_time() - began, time.process_time()
    columns.far(windows)
    distances_s, began = time.process_time() - began, time.process_time()
    means: Floats = np.concatenate([columns.means(reference), columns.means(windows)])
    means_s = (time.process_time() - began) * len(windows) / len(means)
    adwin = elsewhere.adwin(means[None], reference=REFERENCE, deltas=[2e-3])
    full = [w for w in windows if not np.isnan(w[0]).all(axis=0).any()]  # its report refuses an empty column
    report = elsewhere.evidently(world, reference, full[:PEER_WINDOWS])
    found = {
        OURS: ours_s / rows,
        "PSI, KS and distances, as here": distances_s / rows,
        "ADWIN": (means_s + adwin.cpu_s * len(windows) / len(means)) / rows,
        "Evidently's report": report.cpu_s / report.rows,
    }
    features = float(len(world.schema.features))
    lines = [
        Line(
            who=who,
            role="ours" if who == OURS else "peer",
            case=name,
            figures={"cpu s per million rows": s * 1e6, "features": features, "rows a window": rows / len(windows)},
        )
        for who, s in found.items()
    ]
    return lines, report.off
