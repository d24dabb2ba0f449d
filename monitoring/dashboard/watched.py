"""What was watched and what came of it, window by window: metrics, performance, labels, rows. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from cluster.records import Verdict
from monitoring import agreement, performance
from monitoring.dashboard import wording
from monitoring.dashboard.facts import Facts
from monitoring.dashboard.figure import Figure
from monitoring.verdicts import WindowVerdicts
from monitoring.wording import FIRST, count, name, number, percent

_WITHOUT_LABELS: Final = ("feature_drift", "association", "prediction_drift", "quality")
"""Kinds that are tested as soon as a window is over."""
TESTED: Final = frozenset({*_WITHOUT_LABELS, "performance", "cascade"})
"""Kinds that share the alarm budget."""
_SECTIONS: Final = {
    "performance": "performance",
    "estimate": "performance",
    "fairness": "fairness",
    "explanation": "explanations",
    "attribution": "explanations",
    "data_quality": "quality",
}
"""Where a kind is shown, by how it begins."""
_MOST_SHOWN: Final = 10


class Watched(NamedTuple):
    """One metric in the newest window."""

    kind: str
    name: str
    value: str
    expected: str
    unit: str
    share: float
    """Of the evidence that raises an alarm."""


class Newest(NamedTuple):
    """The newest judged window."""

    bundle: str
    start: float
    end: float
    rows: int
    metrics: list[Watched]
    """Those with most evidence first."""
    more: list[Watched]


class Series(NamedTuple):
    """A metric over windows, with what it was on the reference of the newest."""

    name: str
    times: tuple[float, ...]
    values: tuple[float, ...]
    expected: float | None
    guesses: tuple[tuple[float, float, float, float], ...] = ()
    """Where labels are awaited: start of the window, and the estimate with its bounds."""


def newest(facts: Facts, records: Sequence[WindowVerdicts]) -> Newest | None:
    """Of the champion if it has one."""
    judged = [record for record in records if record.look == "drift" and any(v.kind in _WITHOUT_LABELS for v in record.verdicts)]
    mine = [record for record in judged if record.bundle == facts.champion_version] or judged
    if not mine:
        return None
    record = mine[-1]
    tested = sorted((v for v in record.verdicts if v.kind in _WITHOUT_LABELS), key=lambda v: (-v.evidence, -v.e_value, v.name))
    metrics = [_watched(verdict, record.threshold) for verdict in tested]
    return Newest(record.bundle, record.window_start, record.window_end, record.rows, metrics[:_MOST_SHOWN], metrics[_MOST_SHOWN:])


def _watched(verdict: Verdict, threshold: float) -> Watched:
    share = verdict.evidence / threshold if threshold else 0.0
    write = writer(verdict)
    return Watched(wording.kind(verdict.kind), verdict.name, write(verdict.value), write(verdict.expected), verdict.unit, min(share, 1.0))


def writer(verdict: Verdict) -> Callable[[float | None], str]:
    """How a verdict's figures are written: shares as such."""
    return percent if verdict.unit.startswith("share of") else number


def rows_by_window(records: Sequence[WindowVerdicts]) -> tuple[tuple[float, int], ...]:
    """Start and rows of each window, over all bundles."""
    found: dict[float, int] = {}
    for record in records:
        if record.look == "drift":
            found[record.window_start] = found.get(record.window_start, 0) + record.rows
    return tuple(sorted(found.items()))


def series(facts: Facts, records: Sequence[WindowVerdicts]) -> list[Series]:
    """Metrics by window, whichever bundle answered: measured where labels came, else estimated. What is named first comes first."""
    verdicts = [verdict for record in records for verdict in record.verdicts]
    measured, guessed = ([v for v in verdicts if v.kind == kind and v.value is not None] for kind in ("performance", "estimate"))
    first = FIRST[facts.settings.columns.label.task]
    names = sorted({verdict.name for verdict in [*measured, *guessed]}, key=lambda metric: (metric != first, metric))
    return [_series(metric, [v for v in measured if v.name == metric], [v for v in guessed if v.name == metric]) for metric in names]


def _series(metric: str, measured: Sequence[Verdict], guessed: Sequence[Verdict]) -> Series:
    known = sorted((v.window_start, v.value) for v in measured if v.value is not None)
    until = known[-1][0] if known else -math.inf
    awaited = sorted((v.window_start, v.value, v.lower, v.upper) for v in guessed if v.value is not None and v.window_start > until)
    guesses = tuple((at, value, value if low is None else low, value if high is None else high) for at, value, low, high in awaited)
    expected = next((v.expected for v in reversed([*guessed, *measured]) if v.expected is not None), None)
    return Series(metric, tuple(at for at, _ in known), tuple(value for _, value in known), expected, guesses)


def better(metric: str) -> str:
    """Which way is good.

    >>> better("roc_auc"), better("brier")
    ('higher is better', 'lower is better')
    """
    return "higher is better" if metric in performance.HIGHER_IS_BETTER else "lower is better"


def main_metric(facts: Facts) -> Figure | None:
    """The metric that is named first, in the champion's newest window with labels."""
    mine = [record for record in facts.records if record.bundle == facts.champion_version]
    found = next((one for one in series(facts, mine) if one.values), None)
    if found is None:
        return None
    then = f"; {number(found.expected)} when trained" if found.expected is not None else ""
    return Figure(name(found.name), number(found.values[-1]), f"on {wording.date(found.times[-1])}{then}")


def told(facts: Facts, records: Sequence[WindowVerdicts]) -> list[Verdict]:
    """What is said of the champion beside the tests: verdicts of its newest window, at each look."""
    mine = [record for record in records if record.bundle == facts.champion_version]
    newest = [*{record.look: record for record in mine if record.is_judged}.values(), *mine[-1:]]  # the last may be too small to be judged
    verdicts = [verdict for record in newest for verdict in record.verdicts if verdict.kind not in TESTED]
    return list({(verdict.kind, verdict.name): verdict for verdict in verdicts}.values())


def by_section(verdicts: Sequence[Verdict]) -> dict[str, dict[str, list[Verdict]]]:
    """By the section of the page and the kind; a kind that has no section of its own is among `behaviour`.

    >>> by_section([])
    {'performance': {}, 'quality': {}, 'fairness': {}, 'explanations': {}, 'behaviour': {}}
    """
    found: dict[str, dict[str, list[Verdict]]] = {
        section: {} for section in ("performance", "quality", "fairness", "explanations", "behaviour")
    }
    for verdict in verdicts:
        section = next((name for start, name in _SECTIONS.items() if verdict.kind.startswith(start)), "behaviour")
        found[section].setdefault(verdict.kind, []).append(verdict)
    return found


def largest(verdicts: Sequence[Verdict], *, most: int) -> tuple[Verdict, ...]:
    """So many with the largest value, then or now, those that have changed before others; the largest first."""

    def size(verdict: Verdict) -> float:
        return max(verdict.value or 0.0, verdict.expected or 0.0)

    chosen = sorted((v for v in verdicts if v.value is not None), key=lambda verdict: (not verdict.alarm, -size(verdict)))[:most]
    return tuple(sorted(chosen, key=size, reverse=True))


def labels(facts: Facts, records: Sequence[WindowVerdicts]) -> list[Figure]:
    """How many came, and how many are awaited."""
    looks = [record for record in records if record.look == "performance"]
    rows, labelled = sum(record.rows for record in looks), sum(record.labelled for record in looks)
    made = [Figure("rows with a label", percent(labelled / rows) if rows else "–", "in the windows whose labels were due")]
    if facts.status is not None:
        made.append(Figure("labels awaited", count(facts.number("labels_waiting")), "that may still come"))
    return made


def cascade(facts: Facts) -> str | None:
    """What the audits say of the champion's cascade."""
    watches = [record.state.watch for record in facts.records if record.bundle == facts.champion_version]
    found = next((watch for watch in reversed(watches) if watch is not None and watch.counted.rows), None)
    return None if found is None else wording.sentence(agreement.describe(found))
