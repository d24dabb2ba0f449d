"""The page's charts, each an SVG whose colours are the page's own CSS variables: one drawing for light and dark, without scripts.

Drawn on the server by matplotlib. The same values give the same bytes and are drawn once: while nothing new has been judged, a page that is
asked for again costs no drawing.
"""

from __future__ import annotations

import datetime as dt
import functools
import re
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

import matplotlib as mpl
import numpy as np

from cluster.records import Verdict
from monitoring.dashboard import wording
from monitoring.dashboard.alarms import Evidence
from monitoring.dashboard.bundles import Importance
from monitoring.dashboard.spread import Spread
from monitoring.dashboard.traffic import Minute
from monitoring.dashboard.watched import Series, better
from monitoring.drawing import FOURTH, GRID, MAIN, MUTED, RC, SECOND, Drawn, canvas, dots, inline, short, to_svg
from monitoring.wording import between, name, number, percent

_BAD: Final = "#b42318"
_COLOURS: Final = {_BAD: "bad"}
_RC: Final = RC | {"figure.facecolor": "none", "font.size": 11.5, "axes.titlesize": 11.5, "xtick.major.size": 0, "ytick.major.size": 0}
_WIDE: Final = 5.3  # inches of 72 units: on a phone a unit is less than a pixel, on a desk more
_LOW: Final = 2.4
_KEPT: Final = 64
_LOCK: Final = threading.Lock()
"""Matplotlib's settings are the process's, and pages are asked for in several threads."""


@functools.lru_cache(maxsize=_KEPT)
def evidence(seen: Evidence) -> str:
    """Evidence by window, as a share of what raises an alarm."""
    with _drawing():
        figure, (axes,) = canvas(_WIDE, _LOW)
        axes.axhline(100, color=_BAD, lw=1.2, ls=(0, (4, 3)))
        axes.plot(_days(seen.times), [100 * min(share, 1.2) for share in seen.shares], color=MAIN, lw=2)
        axes.plot(_days(seen.alarms), [100] * len(seen.alarms), ls="", marker="^", ms=9, color=_BAD)
        axes.set_ylim(0, 125)
        axes.set_yticks([0, 50, 100], ["0 %", "50 %", "alarm"])
        _dates(axes, seen.times)
        alarms = (
            f"Alarms were raised on {wording.listed([wording.date(at) for at in seen.alarms])}." if seen.alarms else "No alarm was raised."
        )
        now = f"Evidence of change is at {percent(seen.shares[-1])} of what raises an alarm. " if seen.shares else ""
        return _svg(Drawn(figure, "Evidence of change", now + alarms), "evidence")


@functools.lru_cache(maxsize=_KEPT)
def requests(minutes: tuple[Minute, ...]) -> str:
    """Requests by minute, those that failed on top."""
    with _drawing():
        figure, (axes,) = canvas(_WIDE, _LOW)
        places, width = _days([m.start for m in minutes]), 0.85 * _step(minutes)
        answered, failed = [m.answered for m in minutes], [m.failed for m in minutes]
        axes.bar(places, answered, width=width, color=MAIN, align="edge", label="answered")
        axes.bar(places, failed, width=width, bottom=answered, color=_BAD, align="edge", label="failed")
        _legend(axes, 2)
        axes.set_ylim(bottom=0)
        axes.yaxis.set_major_formatter("{x:,.0f}")
        _times(axes, minutes)
        told = f"{sum(answered):,} requests were answered and {sum(failed):,} failed; at most {max(answered, default=0):,} in one bar."
        return _svg(Drawn(figure, "Requests", told), "requests")


@functools.lru_cache(maxsize=_KEPT)
def latency(minutes: tuple[Minute, ...]) -> str:
    """Median and 99th percentile of the answer time, by minute."""
    with _drawing():
        figure, (axes,) = canvas(_WIDE, _LOW)
        for key, colour, label, style in (("p99_s", SECOND, "99 in 100 are faster", "--"), ("p50_s", MAIN, "half are faster", "-")):
            values = [np.nan if (value := getattr(m, key)) is None else 1000 * value for m in minutes]
            axes.plot(_days([m.start for m in minutes]), values, color=colour, lw=2, ls=style, marker=".", ms=4, label=label)
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(mpl.ticker.LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter("{x:g} ms")
        axes.yaxis.set_minor_formatter(mpl.ticker.NullFormatter())
        _legend(axes, 2)
        _times(axes, minutes)
        known = [m for m in minutes if m.p50_s is not None]
        told = "No request was answered."
        if known:
            told = f"Newest: median {wording.milliseconds(known[-1].p50_s)}, 99th percentile {wording.milliseconds(known[-1].p99_s)}."
        return _svg(Drawn(figure, "Answer time", told), "latency")


@functools.lru_cache(maxsize=_KEPT)
def rows(windows: tuple[tuple[float, int], ...]) -> str:
    """Rows by window."""
    with _drawing():
        figure, (axes,) = canvas(_WIDE, _LOW)
        starts, counts = [start for start, _ in windows], [count for _, count in windows]
        axes.bar(_days(starts), counts, width=0.85 * _least_gap(starts), color=MAIN, align="edge")
        axes.yaxis.set_major_formatter("{x:,.0f}")
        _dates(axes, starts)
        told = f"From {min(counts):,} to {max(counts):,} rows a window; {counts[-1]:,} in the newest."
        return _svg(Drawn(figure, "Rows by window", told), "rows")


@functools.lru_cache(maxsize=_KEPT)
def performance(seen: Series) -> str:
    """A metric by window, measured and estimated, with the reference's as a line."""
    with _drawing():
        figure, (axes,) = canvas(_WIDE, _LOW)
        if seen.expected is not None:
            axes.axhline(seen.expected, color=SECOND, lw=1.5, ls=(0, (4, 3)), label=f"when trained, {number(seen.expected)}")
        if seen.times:
            axes.plot(_days(seen.times), seen.values, color=MAIN, lw=2, marker=".", ms=5, label="measured")
        if seen.guesses:
            at, values, low, high = (np.array(part) for part in zip(*seen.guesses, strict=True))
            spread_ = np.maximum([values - low, high - values], 0)
            axes.errorbar(at / 86_400, values, yerr=spread_, color=FOURTH, fmt="D", ms=5, elinewidth=1.5, label="estimated")
        _legend(axes, 3)
        axes.margins(y=0.2)
        _dates(axes, [*seen.times, *(guess[0] for guess in seen.guesses)])
        return _svg(Drawn(figure, f"{name(seen.name)}, {better(seen.name)}", _told(seen)), f"performance-{_slug(seen.name)}")


def _told(seen: Series) -> str:
    parts = [] if seen.expected is None else [f"{number(seen.expected)} when trained."]
    if seen.values:
        parts.append(
            f"Measured: {number(seen.values[-1])} in the newest window, between {number(min(seen.values))} and {number(max(seen.values))} in all."
        )
    if seen.guesses:
        _, value, low, high = seen.guesses[-1]
        parts.append(f"Estimated for the newest window, without labels: {number(value)} ({between(low, high)}).")
    return " ".join(parts)


@functools.lru_cache(maxsize=_KEPT)
def spread(seen: Spread, place: str) -> str:
    """A column then and now; `place` keeps the ids of several on one page apart."""
    with _drawing():
        figure, (axes,) = canvas(_WIDE, _LOW if seen.edges else 0.9 + 0.34 * len(seen.cells))
        (_density if seen.edges else _bars)(axes, seen)
        _legend(axes, 2)
        return _svg(Drawn(figure, f"{seen.column}, then and now", seen.told), place)


def _density(axes: Any, seen: Spread) -> None:
    """Rows by value: the area is the share of rows. What lies beyond the reference's extremes has a cell of its own on either side."""
    low, high = seen.edges[0], seen.edges[-1]
    beyond = 0.12 * (high - low)
    edges = [low - beyond, *seen.edges, high + beyond]
    widths = np.diff(edges)
    axes.stairs(np.array(seen.then) / widths, edges, color=MUTED, alpha=0.4, fill=True, label="then, in training")
    axes.stairs(np.array(seen.now) / widths, edges, color=MAIN, lw=2, label="now")
    axes.set_xlim(edges[0] if seen.now[0] else low, edges[-1] if seen.now[-1] else high)
    for is_held, edge, side in ((seen.now[0], low, "right"), (seen.now[-1], high, "left")):
        if is_held:
            axes.axvline(edge, color=_BAD, lw=1, ls=":")
            axes.annotate(
                "never seen then",
                (edge, 1),
                (0, 3),
                xycoords=axes.get_xaxis_transform(),
                textcoords="offset points",
                ha=side,
                color=_BAD,
                fontsize=9.5,
            )
    axes.set_yticks([])
    axes.set_ylabel("share of rows", color=MUTED)
    axes.spines["left"].set_visible(False)
    axes.set_xlabel(seen.column)


def _bars(axes: Any, seen: Spread) -> None:
    places = np.arange(len(seen.cells))[::-1]
    axes.barh(places + 0.2, [100 * share for share in seen.then], height=0.36, color=MUTED, alpha=0.55, label="then, in training")
    axes.barh(places - 0.2, [100 * share for share in seen.now], height=0.36, color=MAIN, label="now")
    axes.set_yticks(places, [short(cell) for cell in seen.cells])
    axes.xaxis.set_major_formatter("{x:.0f} %")
    axes.set_xlabel("of rows")
    axes.set_ylim(-0.6, len(places) - 0.4)


@functools.lru_cache(maxsize=_KEPT)
def importance(seen: tuple[Importance, ...], loss: str) -> str:
    """What shuffling a feature costs, with intervals."""
    with _drawing():
        figure, (axes,) = canvas(_WIDE, 0.9 + 0.26 * len(seen))
        dots(axes, [(i.feature, i.loss.estimate, i.loss.lower, i.loss.upper) for i in seen], MAIN)
        axes.axvline(0, color=MUTED, lw=1)
        axes.set_xlabel(f"increase of {name(loss)} when shuffled")
        told = f"Most important: {wording.listed([i.feature for i in seen[:5]])}."
        return _svg(Drawn(figure, "Importance of the features", told), "importance")


@functools.lru_cache(maxsize=_KEPT)
def attribution(seen: tuple[Verdict, ...]) -> str:
    """Sizes of the features' contributions in the newest window, with bounds, beside those on the reference."""
    with _drawing():
        figure, (axes,) = canvas(_WIDE, 1.2 + 0.26 * len(seen))
        known = [(one.name, one.value or 0.0, one.lower or 0.0, one.upper or 0.0) for one in seen]
        dots(axes, known, MAIN)
        places = range(len(seen) - 1, -1, -1)
        then = [one.expected or 0.0 for one in seen]
        axes.plot(then, places, ls="", marker="|", ms=13, mew=2.5, color=MUTED, label="then, in training")
        axes.plot([], [], ls="", marker="o", ms=5, color=MAIN, label="now, with bounds")
        changed = [(one, place) for one, place in zip(seen, places, strict=True) if one.alarm]
        if changed:
            axes.plot([one.value for one, _ in changed], [place for _, place in changed], "o", color=_BAD, ms=6, label="has changed")
        axes.set_xlim(left=0)
        axes.set_xlabel(seen[0].unit)
        _legend(axes, 3)
        moved = wording.listed([f"{one.name} from {number(one.expected)} to {number(one.value)}" for one, _ in changed])
        told = f"Shown to have changed: {moved}." if changed else "None is shown to have changed."
        return _svg(Drawn(figure, "What answers rest on, then and now", told), "attribution")


@functools.lru_cache(maxsize=_KEPT)
def groups(attribute: str, figure_name: str, seen: tuple[tuple[str, float, float, float], ...]) -> str:
    """A figure of each group, with intervals."""
    with _drawing():
        figure, (axes,) = canvas(_WIDE, 0.9 + 0.3 * len(seen))
        dots(axes, seen, MAIN)
        axes.set_xlabel(name(figure_name))
        told = "; ".join(f"{group} {number(estimate)}" for group, estimate, _, _ in seen) + "."
        return _svg(Drawn(figure, f"{name(figure_name)} by {attribute}", told), f"groups-{_slug(attribute)}")


@contextmanager
def _drawing() -> Iterator[None]:
    with _LOCK, mpl.rc_context(_RC):
        yield


def _svg(drawn: Drawn, place: str) -> str:
    """With the page's colours, and without the drawing's own style sheet: the page says what it says, and allows no other."""
    svg = re.sub(r"<style.*?</style>", "", inline(to_svg(drawn, place).decode()), flags=re.DOTALL)
    for colour, meaning in _COLOURS.items():
        svg = svg.replace(colour, f"var(--{meaning})")
    return svg


def _legend(axes: Any, columns: int) -> None:
    """Above the drawing, as wide as the figure: it hides nothing, and takes no room from the axes' width."""
    axes.figure.legend(
        loc="outside upper left", ncols=columns, fontsize=10.5, borderaxespad=0.2, handlelength=1.6, handletextpad=0.5, columnspacing=1.4
    )


def _slug(text: str) -> str:
    """A name fit for an id."""
    return re.sub(r"\W+", "-", text)


def _days(times: Sequence[float]) -> list[float]:
    return [at / 86_400 for at in times]


def _step(minutes: Sequence[Minute]) -> float:
    return _least_gap([m.start for m in minutes])


def _least_gap(starts: Sequence[float]) -> float:
    """In days."""
    gaps = np.diff(starts)
    return float(gaps.min()) / 86_400 if len(gaps) else 1.0


def _times(axes: Any, minutes: Sequence[Minute]) -> None:
    """Hours of the day, UTC; days where there are several."""
    span = minutes[-1].start - minutes[0].start if minutes else 0.0
    _axis(axes, [m.start for m in minutes], "%H:%M" if span < 2 * 86_400 else "%-d %b")


def _dates(axes: Any, times: Sequence[float]) -> None:
    span = max(times) - min(times) if times else 0.0
    _axis(axes, times, "%H:%M" if span < 86_400 else "%-d %b" if span < 300 * 86_400 else "%b %Y")


def _axis(axes: Any, times: Sequence[float], form: str) -> None:
    if not times:
        return
    low, high = min(times), max(times)
    ticks = np.linspace(low, high, 5) if high > low else np.array([low])
    step = 86_400 if "%H" not in form else 60
    ticks = np.unique(np.round(ticks / step) * step)
    axes.set_xticks(_days(ticks.tolist()), [f"{dt.datetime.fromtimestamp(at, dt.UTC):{form}}" for at in ticks.tolist()])
    axes.grid(visible=True, axis="y", color=GRID)
    axes.set_axisbelow(True)
