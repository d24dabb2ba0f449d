"""The charts of the demo's report, each an inline SVG whose colours are the page's own CSS variables.

So one drawing serves light and dark. Text stays text, and the same figures give the same bytes. Figures are made
without pyplot: no display, no state shared between threads.
"""

from __future__ import annotations

import datetime as dt
import html
import io
import re
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import matplotlib as mpl
from matplotlib.collections import PatchCollection
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from training.demo.digest import DriftGrid, DriftRow, kind_word, moment

# Colours that nothing else draws, replaced by CSS variables once drawn.
_INK, _MUTED, _GRID, _LOOP, _STATIC, _GOOD, _BAD, _PAPER, _ALARM = (f"#00010{i}" for i in range(9))
_HEAT: Final = [f"#00020{i}" for i in range(5)]
_NAMES: Final = ("ink", "muted", "grid", "loop", "static", "good", "bad", "paper", "alarm")
_VARIABLES: Final = {f"#00010{i}": f"var(--{name})" for i, name in enumerate(_NAMES)} | {f"#00020{i}": f"var(--heat-{i})" for i in range(5)}

LEVELS: Final = (0.001, 0.01, 0.1, 0.3)
"""Bounds of the five shades of the drift map, as shares of the alarm threshold."""
_RC: Final = {
    "svg.fonttype": "none",
    "text.parse_math": False,
    "font.size": 13,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "axes.edgecolor": _MUTED,
    "axes.labelcolor": _MUTED,
    "text.color": _INK,
    "xtick.color": _MUTED,
    "ytick.color": _MUTED,
    "grid.color": _GRID,
    "axes.facecolor": "none",
    "figure.facecolor": "none",
}


class Layout(NamedTuple):
    """One drawing for one width of screen; a unit of the drawing is about a pixel of the page."""

    name: str
    width: int
    wide: bool


WIDE: Final = Layout("wide", 1000, wide=True)
NARROW: Final = Layout("narrow", 360, wide=False)


def auc_by_month(
    static: Mapping[str, float],
    loop: Mapping[str, float],
    promotions: Sequence[tuple[str, str]],
    refusals: Sequence[tuple[str, str]],
    layout: Layout,
) -> str:
    """AUC by month ('YYYY-MM') of the model that never changes and of the loop; (time, version) of decisions as marks."""
    with mpl.rc_context(_RC):
        figure, axes = _figure(layout, 340 if layout.wide else 300)
        months = sorted({*static, *loop})
        lines = (("first model, never retrained", static, _STATIC, "o", (0, (5, 3))), ("the loop", loop, _LOOP, "s", "-"))
        for name, values, colour, marker, style in lines:
            shown = sorted(values)
            heights = [values[m] for m in shown]
            axes.plot([_middle(m) for m in shown], heights, color=colour, marker=marker, ls=style, lw=2.2, ms=6, label=name)
        _month_axis(axes, months, layout)
        axes.margins(y=0.2)
        _marks(axes, promotions, "^", _GOOD, "promoted", layout)
        _marks(axes, refusals, "x", _BAD, "refused", layout)
        axes.grid(visible=True, axis="y")
        axes.yaxis.set_major_formatter("{x:.2f}")
        _legend(figure, axes, layout)
        ends = _ends("the first model", static) + _ends("the loop", loop)
        return _svg(figure, "auc", layout, f"AUC by month. {ends}{len(promotions)} promotions and {len(refusals)} refusals are marked.")


def late_rate_by_month(rates: Mapping[str, float], layout: Layout) -> str:
    """Share of rows of the positive class by month ('YYYY-MM') as bars with their figures."""
    with mpl.rc_context(_RC):
        figure, axes = _figure(layout, 220)
        months = sorted(rates)
        heights = [100 * rates[m] for m in months]
        axes.bar([_middle(m) for m in months], heights, width=18, color=_LOOP)
        for month, height in zip(months, heights, strict=True):
            axes.annotate(
                f"{height:.0f} %", (_middle(month), height), (0, 4), textcoords="offset points", ha="center", fontsize=_small(layout)
            )
        _month_axis(axes, months, layout)
        axes.set_yticks([])
        axes.margins(y=0.2)
        return _svg(figure, "late", layout, "Late rate by month. " + "; ".join(f"{_long(m)} {100 * rates[m]:.0f} %" for m in months) + ".")


def drift_map(grid: DriftGrid, promotions: Sequence[tuple[str, str]], layout: Layout) -> str:
    """Evidence of change by metric and span of time in five shades, alarms as triangles, promotions as lines."""
    with mpl.rc_context(_RC):
        figure, axes = _figure(layout, 70 + 30 * len(grid.rows))
        day, first = grid.span.days, _days(grid.start)
        cells = [(y, column, share) for y, row in enumerate(grid.rows) for column, share in enumerate(row.shares) if share is not None]
        boxes = [Rectangle((first + column * day, y - 0.4), 0.92 * day, 0.8) for y, column, _ in cells]
        shades = [_HEAT[sum(share >= bound for bound in LEVELS)] for _, _, share in cells]
        axes.add_collection(PatchCollection(boxes, facecolors=shades, linewidths=0), autolim=False)
        for y, row in enumerate(grid.rows):
            alarmed = [first + (column + 0.46) * day for column in row.alarms]
            axes.plot(
                alarmed,
                [y] * len(alarmed),
                ls="",
                marker="^",
                ms=9 if layout.wide else 7,
                color=_ALARM,
                markeredgecolor=_PAPER,
                markeredgewidth=1.2,
            )
        axes.set_xlim(first, first + grid.columns * day)
        axes.set_ylim(len(grid.rows) - 0.5, -0.75)
        axes.set_yticks(range(len(grid.rows)), [_label(row, layout) for row in grid.rows], color=_INK)
        axes.tick_params(axis="y", length=0, labelsize=_small(layout))
        _calendar(axes, grid, layout)
        for at, _ in promotions:
            axes.axvline(_days(moment(at)), color=_GOOD, lw=1.8, ls=(0, (4, 2)))
        alarms = sum(len(row.alarms) for row in grid.rows)
        names = ", ".join(row.name for row in grid.rows[:3])
        return _svg(figure, "drift", layout, f"Drift map of {len(grid.rows)} metrics with {alarms} alarm marks. Most evidence: {names}.")


def _figure(layout: Layout, height: int) -> tuple[Any, Any]:
    figure = Figure(figsize=(layout.width / 72, height / 72), layout="constrained")
    return figure, figure.add_subplot()


def _marks(axes: Any, decisions: Sequence[tuple[str, str]], marker: str, colour: str, name: str, layout: Layout) -> None:
    """Vertical lines for promotions, symbols at the top for all, with versions where there is room."""
    if not decisions:
        return
    top = axes.get_xaxis_transform()
    places = [_days(moment(at)) for at, _ in decisions]
    if marker == "^":
        for place in places:
            axes.axvline(place, color=colour, lw=1, ls=":", zorder=0)
    axes.plot(
        places, [0.95] * len(places), transform=top, ls="", marker=marker, ms=8, mew=2 if marker == "x" else 0, color=colour, label=name
    )
    for place, (_, version) in zip(places, decisions, strict=True) if layout.wide else ():
        axes.annotate(
            f"v{version}" if version.isdigit() else version,
            (place, 0.95),
            (8, -4),
            xycoords=top,
            textcoords="offset points",
            fontsize=11,
            color=colour,
        )


def _legend(figure: Any, axes: Any, layout: Layout) -> None:
    columns = 4 if layout.wide else 2
    figure.legend(
        *axes.get_legend_handles_labels(), loc="outside upper left", ncols=columns, frameon=False, fontsize=_small(layout), handlelength=2.6
    )


def _month_axis(axes: Any, months: Sequence[str], layout: Layout) -> None:
    if months:
        ends = [_first(months[0]), _first(months[-1])]
        axes.set_xlim(_days(ends[0]), _days(ends[1] + dt.timedelta(days=31)))
    axes.set_xticks([_middle(m) for m in months], [f"{_first(m):%b}" for m in months])
    axes.tick_params(length=0, labelsize=_small(layout))


def _calendar(axes: Any, grid: DriftGrid, layout: Layout) -> None:
    """First days of months as ticks; a run too short to hold one shows its first day."""
    end = grid.start + grid.columns * grid.span
    starts = [at for at in (grid.start + dt.timedelta(days=d) for d in range((end - grid.start).days)) if at.day == 1]
    form = "%b" if len(starts) > 1 else "%d %b"
    axes.set_xticks([_days(at) for at in starts or [grid.start]], [f"{at:{form}}" for at in starts or [grid.start]], ha="left")
    axes.tick_params(axis="x", labelsize=_small(layout))


def _label(row: DriftRow, layout: Layout) -> str:
    return f"{row.name} · {kind_word(row.kind)}" if layout.wide else row.name if len(row.name) <= 18 else row.name[:17] + "…"


def _small(layout: Layout) -> int:
    return 13 if layout.wide else 11


def _first(month: str) -> dt.datetime:
    return dt.datetime.strptime(month, "%Y-%m").replace(tzinfo=dt.UTC)


def _middle(month: str) -> float:
    return _days(_first(month)) + 14.5


def _days(at: dt.datetime) -> float:
    return at.timestamp() / 86400


def _long(month: str) -> str:
    return f"{_first(month):%B %Y}"


def _ends(name: str, values: Mapping[str, float]) -> str:
    if not values:
        return ""
    low, high = min(values), max(values)
    return f"{name[:1].upper()}{name[1:]}: {values[low]:.3f} in {_long(low)}, {values[high]:.3f} in {_long(high)}. "


def _svg(figure: Any, chart: str, layout: Layout, told: str) -> str:
    """Save without date, address or random id; name the ids after the chart, for several share a page."""
    name, target = f"{chart}-{layout.name}", io.StringIO()
    with mpl.rc_context({"svg.hashsalt": name}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")  # the reader's browser has the glyph, or says so
        figure.savefig(target, format="svg", metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
    drawing = target.getvalue()
    drawing = drawing[drawing.index("<svg") :]
    drawing = re.sub(r"<metadata>.*?</metadata>", "", drawing, flags=re.DOTALL)
    drawing = re.sub(r'<svg [^>]*?viewBox="([^"]+)"[^>]*>', lambda box: _opening(box[1], layout, told), drawing, count=1)
    drawing = re.sub(r'\bid="', f'id="{name}-', drawing)
    drawing = re.sub(r'(?:xlink:)?href="#', f'href="#{name}-', drawing).replace("url(#", f"url(#{name}-")
    drawing = re.sub(r"font: ([\d.]+px)[^;\"]*", r"font: \1 var(--font)", drawing)
    return re.sub(r"#000[12]0\d", lambda colour: _VARIABLES[colour[0]], drawing).strip()


def _opening(box: str, layout: Layout, told: str) -> str:
    return f'<svg class="{layout.name}" role="img" aria-label="{html.escape(told)}" viewBox="{box}">'
