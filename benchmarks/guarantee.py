"""The cascade's guarantee, tried on real rows: how often it is broken, what it costs, and how soon the audit finds that it no longer holds.

First table. All held-out rows of a data set are a population whose true rate of disagreement is known. From it rows are drawn with
replacement, a threshold is learned from them, and its promise held against the population: of many draws, at most `1 - confidence` may
break it. (A second half of a resplit would not do as the truth: its own chance would count as a broken promise.) `limit` knows the truth.

Second table. The rows a student answers are drawn from the same population, and from one in which rows that the two score differently
are more frequent; and, for flights, as they came from April on. Windows of audited rows pass through the monitor's own test.

python -m benchmarks.guarantee [--quick] [--only NAME]
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.stats import binomtest, rankdata

from benchmarks import report
from benchmarks.report import Line, Report, Target, console
from benchmarks.scored import TABLES, World, prepare_world
from cluster.bundle import CascadeRule
from cluster.errors import HomeostatError
from cluster.margin import disagree, is_hard, margin
from cluster.schema import Floats
from cluster.serving_settings import Cascade
from monitoring import agreement, drift
from monitoring.agreement import Audits, Watch
from training.composing.conformal import NEVER_ALONE, Scored, cascade_rule, last_passed, learn_sureness, sequence

PROMISES: Final = tuple(Cascade(max_disagreement=most, confidence=sure) for most, sure in ((0.01, 0.9), (0.02, 0.95), (0.05, 0.9)))
ROWS: Final = 3000
"""Drawn to learn a threshold from."""
BUDGET: Final = 180.0
"""Windows to a false alarm, as `monitoring.one_false_alarm_in: 180d` with days."""
WINDOW_ROWS: Final = 25
WINDOWS: Final = 200
SHARED, DRIFT = "student %", "found %"
Flags = npt.NDArray[np.bool_]
Index = npt.NDArray[np.intp]


class Margins(NamedTuple):
    """How sure a student is of each row, and whether the ensemble decides otherwise."""

    margins: Floats
    differs: Flags


class Truth(NamedTuple):
    """What one threshold means in the population."""

    share: float
    rate: float


def truth(population: Margins, threshold: float) -> Truth:
    """The share of rows a student answers, and how often the ensemble decides otherwise on them."""
    alone = population.margins >= threshold
    return Truth(float(alone.mean()), float(population.differs[alone].mean()) if alone.any() else 0.0)


def best_in_hindsight(population: Margins, most: float) -> Truth:
    """The threshold that answers most and keeps the rate, for one who knows it."""
    order = np.argsort(-population.margins, kind="stable")
    counts = np.arange(1, len(order) + 1)
    last = np.append(np.diff(population.margins[order]) != 0, True)  # rows of one margin are answered together
    rates = np.cumsum(population.differs[order]) / counts
    kept = np.flatnonzero((rates <= most) & last)
    return Truth(float(counts[kept[-1]] / len(order)), float(rates[kept[-1]])) if kept.size else Truth(0.0, 0.0)


def of_world(world: World, chosen: Cascade) -> Margins:
    """The held-out rows, by the margin that bundles had before there was `sureness`."""
    return Margins(margin(world.label, world.held.student), _differs(world, chosen))


def _differs(world: World, chosen: Cascade, *, of_pilot: bool = False) -> Flags:
    return disagree(world.label, *(world.pilot if of_pilot else world.held), tolerance=chosen.tolerance * world.label_std)


def learn(world: World, chosen: Cascade, index: Index) -> CascadeRule:
    """What training would promise, had it these held-out rows."""
    student, ensemble = (scores[index] for scores in world.held)
    return cascade_rule(world.label, student, ensemble, chosen, label_std=world.label_std, pilot=world.pilot)


def try_rule(world: World, chosen: Cascade, *, draws: int, rng: np.random.Generator) -> list[Truth]:
    """What each of many rules means in the population."""
    differs, found = _differs(world, chosen), []
    for _ in range(draws):
        rule = learn(world, chosen, rng.integers(0, len(differs), ROWS))
        alone = ~is_hard(world.label, world.held.student, rule.threshold, rule.sureness)
        found.append(Truth(float(alone.mean()), float(differs[alone].mean()) if alone.any() else 0.0))
    return found


def try_margins(pilot: Margins, population: Margins, chosen: Cascade, *, draws: int, rng: np.random.Generator) -> list[Truth]:
    """The same with margins that are given."""
    order = sequence(pilot.margins, pilot.differs, chosen, rows=ROWS)
    found = []
    for _ in range(draws):
        index = rng.integers(0, len(population.margins), ROWS)
        found.append(truth(population, last_passed(order, population.margins[index], population.differs[index], chosen)))
    return found


def summarize(found: Sequence[Truth], chosen: Cascade) -> dict[str, float]:
    """Of many draws: how often the promise was broken, between the bounds of a 95 % interval, and what the student answers."""
    broken = sum(one.rate > chosen.max_disagreement for one in found)
    bounds = binomtest(broken, len(found)).proportion_ci()
    return {
        "broken %": 100 * broken / len(found),
        "from": 100 * bounds.low,
        "to": 100 * bounds.high,
        "allowed %": 100 * (1 - chosen.confidence),
        SHARED: 100 * float(np.mean([one.share for one in found])),
        "disagree %": 100 * float(np.mean([one.rate for one in found])),
        "promised %": 100 * chosen.max_disagreement,
    }


def lines_of(name: str, world: World, chosen: Cascade, *, draws: int, rng: np.random.Generator) -> list[Line]:
    """Ours beside whoever knows the truth and, for regression, beside what else was tried."""
    case = f"{name}: {chosen.max_disagreement:.0%} at {chosen.confidence:.0%}"
    found = {"ours": try_rule(world, chosen, draws=draws, rng=rng)}
    population = of_world(world, chosen)
    if world.label.task == "regression":
        known = _differs(world, chosen, of_pilot=True)
        steps = learn_sureness(world.pilot.student, known)
        same = Margins(np.ones(len(known)), known)
        found["all rows or none"] = try_margins(same, population, chosen, draws=draws, rng=rng)
        second = Margins(world.companion[1], population.differs)
        found["a second model"] = try_margins(Margins(world.companion[0], known), second, chosen, draws=draws, rng=rng)
        population = Margins(margin(world.label, world.held.student, steps), population.differs)
    lines = [
        Line(who=who, role="ours" if who == "ours" else "variant", case=case, figures=summarize(f, chosen)) for who, f in found.items()
    ]
    limit = summarize([best_in_hindsight(population, chosen.max_disagreement)], chosen) | {"from": 0.0, "to": 0.0}
    return [*lines, Line(who="knows the truth", role="limit", case=case, figures=limit)]


# The audit


def listen(differ: npt.NDArray[np.int64], most: float, *, rows: int = WINDOW_ROWS) -> int | None:
    """Windows until the monitor raises an alarm about a promise, from the disagreements counted in each; None when it does not."""
    share = drift.CASCADE_SHARE
    watch, cap = Watch(promised=most), math.sqrt(BUDGET / share)
    for window, count in enumerate(differ.tolist()):
        watch, _ = agreement.advance(watch, Audits(rows=rows, differ=count), window_start=float(window), cap=cap)
        if share * watch.evidence >= BUDGET:
            return window + 1
    return None


def hear(rate: float, most: float, *, streams: int, rng: np.random.Generator) -> dict[str, float]:
    """What is heard of rows audited by chance, of which a share disagrees."""
    alarms = [listen(rng.binomial(WINDOW_ROWS, rate, WINDOWS), most) for _ in range(streams)]
    found = [alarm for alarm in alarms if alarm is not None]
    bounds = binomtest(len(found), streams).proportion_ci()
    return {
        "disagree %": 100 * rate,
        "promised %": 100 * most,
        DRIFT: 100 * len(found) / streams,
        "from": 100 * bounds.low,
        "to": 100 * bounds.high,
        "audited rows": float(np.median(found)) * WINDOW_ROWS if found else 0.0,
    }


def shifted(scored: Scored, strength: float) -> Floats:
    """Chances of rows, float64 (n,), 1 in all, that favour those whose two scores are far apart: a planted covariate shift.

    The row that is furthest apart becomes `exp(strength)` times as frequent beside the nearest; by ranks in between.
    """
    gaps = np.abs(scored.student.astype(np.float64) - scored.ensemble).max(axis=1)
    weights = np.exp(strength * rankdata(gaps) / len(gaps))
    return np.asarray(weights / weights.sum())


def audit_lines(name: str, world: World, chosen: Cascade, *, streams: int, rng: np.random.Generator) -> list[Line]:
    """The same rows, and rows that have moved to where the two models differ."""
    index = rng.integers(0, len(world.held.student), ROWS)
    rule = learn(world, chosen, index)
    if rule.threshold >= NEVER_ALONE:
        return []
    margins, differs = margin(world.label, world.held.student, rule.sureness), _differs(world, chosen)
    lines = []
    for strength in (0.0, 1.0, 3.0):
        alone = shifted(world.held, strength) * (margins >= rule.threshold)
        rate = float(alone @ differs / alone.sum())
        figures = hear(rate, chosen.max_disagreement, streams=streams, rng=rng)
        who = "no change" if strength == 0 else f"shifted, up to × {math.exp(strength):.0f}"
        lines.append(Line(who=who, role="limit" if strength == 0 else "variant", case=name, figures=figures))
    return lines


def month_lines(world: World, chosen: Cascade, *, streams: int, rng: np.random.Generator) -> list[Line]:
    """Flights as they came: how often the two disagree in each thirty days, and what would be heard of it if they stayed so."""
    rule = learn(world, chosen, np.arange(len(world.held.student)))
    alone = ~is_hard(world.label, world.later.student, rule.threshold, rule.sureness)
    differs = disagree(world.label, *world.later)
    lines = []
    for month in range(9):
        rows = alone & (world.later_days // 30 == 3 + month)
        if rows.any():
            figures = hear(float(differs[rows].mean()), chosen.max_disagreement, streams=streams, rng=rng)
            lines.append(
                Line(who=f"days {90 + 30 * month} to {119 + 30 * month}", role="variant", case="flights as they came", figures=figures)
            )
    return lines


def false_alarm_line(chosen: Cascade, *, streams: int, rng: np.random.Generator) -> Line:
    """The worst that is no false promise: a rate of exactly what was promised."""
    figures = hear(chosen.max_disagreement, chosen.max_disagreement, streams=streams, rng=rng)
    return Line(who="exactly what was promised", role="ours", case="false alarms", figures=figures)


def targets_of(lines: Sequence[Line], heard: Sequence[Line]) -> list[Target]:
    """What is promised: a promise is broken no more often than allowed, and a kept one alarms no oftener than its budget."""
    ours = [line for line in lines if line.role == "ours"]
    found = [
        Target(what=f"{line.case}: broken, lower bound", bound="at most", wanted=line.figures["allowed %"], found=line.figures["from"])
        for line in ours
    ]
    allowed = 100 * WINDOWS * drift.CASCADE_SHARE / BUDGET
    calm = [line for line in heard if line.role != "variant"]
    what = f"false alarms in {WINDOWS} windows, per cent of streams, lower bound"
    return found + [Target(what=f"{c.case}, {c.who}: {what}", bound="at most", wanted=allowed, found=c.figures["from"]) for c in calm]


def run(names: Sequence[str], *, folder: Path, quick: bool) -> tuple[list[Line], list[Line]]:
    """Both tables."""
    draws, streams, rng = (50, 50, np.random.default_rng(0)) if quick else (500, 300, np.random.default_rng(0))
    usual, lines, heard = PROMISES[1], list[Line](), list[Line]()
    for name in names:
        with console.status(name):
            world = prepare_world(name, cache=folder, data=Path("var/data"))
            for chosen in PROMISES[1:2] if quick else PROMISES:
                lines += lines_of(name, world, chosen, draws=draws, rng=rng)
            heard += audit_lines(name, world, usual, streams=streams, rng=rng)
            if len(world.later_days):
                heard += month_lines(world, usual, streams=streams, rng=rng)
    return lines, [false_alarm_line(usual, streams=streams, rng=rng), *heard]


def main() -> int:
    """Run and report; exit code 0, or 1 with a named error."""
    parser = report.arguments("How often the cascade's promise is broken, and how soon that is heard of.")
    parser.add_argument("--only", action="append", metavar="NAME", choices=list(TABLES), help=f"one of: {', '.join(TABLES)}")
    options = parser.parse_args()
    made, names = report.context(quick=options.quick), options.only or list(TABLES)
    try:
        lines, heard = run(names, folder=report.FOLDER / "guarantee", quick=options.quick)
    except HomeostatError as error:
        console.print(f"{type(error).__name__}: {error}", soft_wrap=True, markup=False)
        return 1
    targets, part = targets_of(lines, heard), "-part" * bool(options.only)
    for name, shown, compared, title in (
        (f"guarantee{part}", lines, SHARED, f"thresholds learned from {ROWS} rows, held against the truth"),
        (f"guarantee-audit{part}", heard, DRIFT, f"what the monitor hears in {WINDOWS} windows of {WINDOW_ROWS} audited rows"),
    ):
        setup = {"rows": ROWS, "windows": WINDOWS, "window_rows": WINDOW_ROWS, "budget_windows": BUDGET}
        ratios = report.ratios(shown, of=compared)
        kept = targets if shown is lines else []
        found = Report(name=name, context=made, setup=setup, lines=shown, compared=compared, ratios=ratios, targets=kept)
        report.publish(found, title=title)
    return 0


if __name__ == "__main__":
    sys.exit(main())
