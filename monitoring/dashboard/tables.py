"""Everything that is drawn, and all that is listed, as tables of text: for those who do not see, and for those who want the figure. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from cluster.records import Verdict
from monitoring.dashboard import wording
from monitoring.dashboard.alarms import AlarmView, Evidence
from monitoring.dashboard.bundles import Importance
from monitoring.dashboard.spread import Spread
from monitoring.dashboard.traffic import Minute
from monitoring.dashboard.treatment import Treatment
from monitoring.dashboard.watched import Newest, Series, Watched, writer
from monitoring.wording import between, count, name, number, percent


class Table(NamedTuple):
    """Rows of text; the first cell of a row names it."""

    caption: str
    head: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    text: frozenset[str] = frozenset({"kind", "unit", "said", "raised", "how"})
    """Columns that are set as text; the others but the first are numbers."""

    def is_number(self, column: int) -> bool:
        """How a column is set."""
        return column > 0 and self.head[column] not in self.text


def evidence(seen: Evidence) -> Table:
    """The newest first."""
    alarms = set(seen.alarms)
    rows = [
        (wording.moment(at), percent(share), "alarm" if at in alarms else "")
        for at, share in zip(reversed(seen.times), reversed(seen.shares), strict=True)
    ]
    return Table("Evidence of change by window, as a share of what raises an alarm", ("window until", "evidence", "raised"), rows)


def spread(seen: Spread) -> Table:
    """A column then and now."""
    caption = f"{seen.column}: share of rows in training and in the window ({wording.plural(seen.rows, 'row')})"
    rows = [(cell, percent(then), percent(now)) for cell, then, now in zip(seen.cells, seen.then, seen.now, strict=True)]
    return Table(caption, (seen.column, "then", "now"), rows)


def blamed(alarm: AlarmView) -> Table:
    """The metrics that an alarm blames, in its window."""
    rows = [(one.name, wording.kind(one.kind), *_now_and_then(one), one.unit) for one in alarm.verdicts]
    return Table("What is blamed", ("metric", "kind", "now", "usually", "unit"), rows)


def traffic(minutes: Sequence[Minute]) -> Table:
    """The newest first; minutes without a request are left out."""
    asked = [minute for minute in reversed(minutes) if minute.answered or minute.failed]
    rows = [
        (wording.moment(m.start), count(m.answered), count(m.failed), wording.milliseconds(m.p50_s), wording.milliseconds(m.p99_s))
        for m in asked
    ]
    return Table("Requests and answer times", ("from", "answered", "failed", "median", "99th percentile"), rows)


def series(seen: Series) -> Table:
    """The newest first."""
    then = "" if seen.expected is None else f"; {number(seen.expected)} when trained"
    guesses = [
        (wording.moment(at), f"{number(value)} ({between(low, high)})", "estimated") for at, value, low, high in reversed(seen.guesses)
    ]
    known = [(wording.moment(at), number(value), "measured") for at, value in zip(reversed(seen.times), reversed(seen.values), strict=True)]
    return Table(f"{name(seen.name)} by window{then}", ("window from", name(seen.name), "how"), guesses + known)


def rows(windows: Sequence[tuple[float, int]]) -> Table:
    """The newest first."""
    return Table("Rows by window", ("window from", "rows"), [(wording.moment(at), count(n)) for at, n in reversed(windows)])


def newest(window: Newest) -> Table:
    """The metrics of the newest window that carry most evidence."""
    told = f"The window from {wording.moment(window.start)} to {wording.moment(window.end)}"
    return _watched(
        f"{told}, {wording.plural(window.rows, 'row')} answered by version {window.bundle}; most evidence first", window.metrics
    )


def more(window: Newest) -> Table:
    """The others."""
    return _watched("The other metrics of the same window", window.more)


def _watched(caption: str, metrics: Sequence[Watched]) -> Table:
    shown = [(one.name, one.kind, one.value, one.expected, percent(one.share), one.unit) for one in metrics]
    return Table(caption, ("metric", "kind", "now", "usually", "evidence", "unit"), shown)


def verdicts(kind: str, seen: Sequence[Verdict]) -> Table:
    """Verdicts of one kind; the ones that break a limit first."""
    shown = [(name(one.name), *_now_and_then(one), _bounds(one), _said(one)) for one in sorted(seen, key=lambda verdict: not verdict.alarm)]
    return Table(f"{wording.kind(kind).capitalize()}, in the newest window", ("what", "now", "held against", "bounds", "said"), shown)


def groups(seen: Treatment) -> Table:
    """Groups of people."""
    shown = [(group.name, count(group.rows), *group.figures) for group in seen.groups]
    return Table(f"Groups of {seen.attribute}", (seen.attribute, "rows", *map(name, seen.figures)), shown)


def importance(seen: Sequence[Importance], loss: str) -> Table:
    """What shuffling each feature costs."""
    shown = [(one.feature, number(one.loss.estimate), number(one.loss.lower), number(one.loss.upper)) for one in seen]
    return Table(f"Increase of {name(loss)}, measured when it was trained", ("feature", "increase", "at least", "at most"), shown)


def _now_and_then(verdict: Verdict) -> tuple[str, str]:
    write = writer(verdict)
    return write(verdict.value), write(verdict.expected)


def _bounds(verdict: Verdict) -> str:
    write = writer(verdict)
    return "" if verdict.lower is None or verdict.upper is None else f"{write(verdict.lower)} to {write(verdict.upper)}"


def _said(verdict: Verdict) -> str:
    """With the unit, where it says more than the name does."""
    unit = "" if verdict.unit in verdict.name else verdict.unit
    found = "has changed" if verdict.kind == "attribution" else "breaks its limit"
    return "; ".join(part for part in (found if verdict.alarm else "", unit, verdict.message) if part)
