"""What was promised of the monitor's alarms, held against what a run found. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from benchmarks.alarms.changes import CHANGES
from benchmarks.alarms.counting import SOON
from benchmarks.alarms.measure import MATCHED, OURS
from benchmarks.alarms.tables import mean_of
from benchmarks.report import Line, Target

_SAME: Final = 1e-6  # distances that differ by less are Evidently's own


def targets_of(calm: Sequence[Line], found: Sequence[Line], costs: Sequence[Line], off: Mapping[str, float]) -> list[Target]:
    """Each with its verdict."""
    made = []
    for line in (line for line in calm if line.who == OURS):
        made.append(Target(what=f"{line.case}: streams with an alarm, %", bound="at most", wanted=5.0, found=line.figures["any alarm %"]))
        made.append(Target(what=f"{line.case}: its upper bound, %", bound="at most", wanted=10.0, found=line.figures["upper %"]))
    ours = [line for line in found if line.who == OURS]
    plain = [line for line in ours if line.case.partition(": ")[2] in {change.name for change in CHANGES if change.plain}]
    useful, soon = mean_of(ours, "useful %"), mean_of(plain, f"within {SOON} %")
    worst = max((line.figures["cpu s per million rows"] for line in costs if line.who == OURS), default=None)
    lost = "changes that one peer at the matched rate finds oftener, or as often and sooner"
    apart = "how far our distances are from those of Evidently's report, at most"
    return [
        *made,
        Target(what="planted changes found usefully, %", bound="at least", wanted=45.0, found=useful),
        Target(what=f"plain changes found usefully within {SOON} windows, %", bound="at least", wanted=90.0, found=soon),
        Target(what=f"{lost}, of {len(ours)}", bound="at most", wanted=0.0, found=float(len(lost_to_a_peer(found)))),
        Target(what="processor seconds per million rows, the worst", bound="at most", wanted=5.0, found=worst),
        Target(what=apart, bound="at most", wanted=_SAME, found=max(off.values(), default=None)),
    ]


def lost_to_a_peer(found: Sequence[Line]) -> list[str]:
    """Cases in which some peer at the matched rate beats ours."""
    ours = {line.case: line.figures for line in found if line.who == OURS}
    peers = [line for line in found if line.who.endswith(f"({MATCHED})")]
    return list(dict.fromkeys(line.case for line in peers if _rank(line.figures) > _rank(ours[line.case])))


def _rank(figures: Mapping[str, float]) -> tuple[float, float]:
    return figures["useful %"], -figures.get("median delay", float("inf"))
