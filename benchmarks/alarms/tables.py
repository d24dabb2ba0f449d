"""How the figures are shown: false alarms, changes found, costs; as Markdown, on a terminal and in the documentation. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final

import numpy as np

from benchmarks.alarms.measure import DEFAULT, MATCHED, OURS
from benchmarks.alarms.peers import RULES
from benchmarks.report import Line, Report, Target

_OVERALL: Final = "all changes"
Cell = Callable[[Sequence[Line]], str]


def markdown(calm: Report, found: Report, cost: Report) -> str:
    """The whole of a run."""
    made = calm.context
    where = f"{made.cores} cores, {made.system}, Python {made.python}, {made.date}, load before {made.load_before}; `{made.command}`"
    parts = [
        _by_world("Streams in which nothing changes: any alarm, % (upper 95 % bound)", calm.lines, _any_alarm),
        _by_world("The same: alarms in 1,000 windows (95 % interval)", calm.lines, _alarms),
        _by_world("Thresholds", [line for line in calm.lines if line.who != OURS], _threshold),
        _by_change(
            f"Changes found usefully, % (median delay, windows; over tables, the mean of it): peers at the {MATCHED} rate",
            found.lines,
            MATCHED,
            _useful,
        ),
        _by_change(f"The same: peers at the {DEFAULT} setting", found.lines, DEFAULT, _useful),
        _by_change(f"Of the alarms about a change, rightly blamed, %: peers at the {MATCHED} rate", found.lines, MATCHED, _blamed),
        _beside(found.lines),
        _by_world("Useful over all changes, %", _pooled(found.lines), _useful),
        _by_world("Processor seconds for a million rows", cost.lines, _cost),
    ]
    verdicts = "\n".join(f"- {verdict(target)}" for target in calm.targets)
    missing = "\n".join(f"- {who}: not measured: {reason}" for who, reason in calm.not_measured.items())
    return "\n\n".join(part for part in (*parts, verdicts, missing, where) if part) + "\n"


def verdict(target: Target) -> str:
    """A promise, what was found, and whether it is kept."""
    if target.found is None:
        return f"{target.what}: not measured"
    return f"{target.what}: {target.found:.3g}, wanted {target.bound} {target.wanted:g}: {'yes' if target.is_met else 'no'}"


def mean_of(lines: Iterable[Line], name: str) -> float | None:
    """Of a figure over the lines that have it, each weighted by its streams; None where none has it."""
    held = [(line.figures[name], line.figures.get("streams", 1.0)) for line in lines if name in line.figures]
    return float(np.average([value for value, _ in held], weights=[streams for _, streams in held])) if held else None


def _any_alarm(lines: Sequence[Line]) -> str:
    return f"{_mean(lines, 'any alarm %')} ({_mean(lines, 'upper %')})"


def _alarms(lines: Sequence[Line]) -> str:
    return f"{_mean(lines, 'alarms per 1000')} ({_mean(lines, 'from')} to {_mean(lines, 'to')})"


def _threshold(lines: Sequence[Line]) -> str:
    return "; ".join(rule.told(line.figures["threshold"]) for line in lines for rule in RULES if line.who.startswith(f"{rule.who} ("))


def _useful(lines: Sequence[Line]) -> str:
    delay = _mean(lines, "median delay")
    return _mean(lines, "useful %") + (f" ({delay})" if delay else "")


def _blamed(lines: Sequence[Line]) -> str:
    return _mean(lines, "rightly blamed %")


def _cost(lines: Sequence[Line]) -> str:
    return _mean(lines, "cpu s per million rows")


def _mean(lines: Sequence[Line], name: str) -> str:
    mean = mean_of(lines, name)
    return "" if mean is None else f"{mean:,.0f}" if abs(mean) >= 100 else f"{mean:.1f}"


def _by_world(title: str, lines: Sequence[Line], cell: Cell) -> str:
    worlds = list(dict.fromkeys(line.case for line in lines))
    rows = [
        [_name(who), *(cell([line for line in lines if (line.who, line.case) == (who, world)]) for world in worlds)]
        for who in dict.fromkeys(line.who for line in lines)
    ]
    return _table(title, ["", *worlds], rows)


def _by_change(title: str, lines: Sequence[Line], setting: str, cell: Cell) -> str:
    who = [name for name in dict.fromkeys(line.who for line in lines) if name == OURS or name.endswith(f"({setting})")]
    names = [_change(line) for line in lines]
    rows = []
    for change in (*dict.fromkeys(names), _OVERALL):
        some = [line for line, name in zip(lines, names, strict=True) if change in (name, _OVERALL)]
        rows.append([change, *(cell([line for line in some if line.who == one]) for one in who)])
    return _table(title, ["", *(_name(one.removesuffix(f" ({setting})")) for one in who)], rows)


def _beside(lines: Sequence[Line]) -> str:
    ours = [line for line in lines if line.who == OURS]
    names = ["only ours %", "only a peer %", "a peer sooner %"]
    rows = [[line.case, *(_mean([line], name) for name in names)] for line in ours]
    rows.append([_OVERALL, *(_mean(ours, name) for name in names)])
    return _table("Stream by stream, beside whichever peer at the matched rate was the best there", ["", *names], rows)


def _pooled(lines: Sequence[Line]) -> list[Line]:
    """A line for each world in place of one for each change in it, without delays."""
    kept = ("streams", "useful %")
    return [
        Line(who=line.who, role=line.role, case=line.case.partition(": ")[0], figures={name: line.figures[name] for name in kept})
        for line in lines
    ]


def _change(line: Line) -> str:
    return line.case.partition(": ")[2]


def _name(who: str) -> str:
    return f"**{who}**" if who == OURS else who


def _table(title: str, heading: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    ruled = [heading, ["---", *("---:" for _ in heading[1:])], *rows]
    return "\n".join([f"{title}:", "", *("| " + " | ".join(row) + " |" for row in ruled)])
