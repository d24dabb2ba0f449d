"""How a figure is drawn: palette, canvas, dots with intervals, and SVG of stable bytes. Knows nothing of what is shown.

Colours mean one thing each, so that a page can put its own in their place. The monitor's page and the cards of bundles both draw by it.
"""

from __future__ import annotations

import html
import io
import re
from collections.abc import Sequence
from types import MappingProxyType
from typing import Any, Final, NamedTuple

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

INK, MUTED, GRID, PAPER, MAIN, SECOND, THIRD, FOURTH = (
    "#1b1f24",
    "#545c66",
    "#dfe3e8",
    "#ffffff",
    "#0b5cad",
    "#8a5200",
    "#17692f",
    "#7a2d8f",
)
PALETTE: Final = MappingProxyType(
    {
        INK: "ink",
        MUTED: "muted",
        GRID: "grid",
        PAPER: "paper",
        MAIN: "main",
        SECOND: "second",
        THIRD: "third",
        FOURTH: "fourth",
    }
)
"""Colours of the figures, by what they are for."""
LINES: Final = (MAIN, SECOND, THIRD, FOURTH)
RC: Final = {
    "svg.fonttype": "none",
    "text.parse_math": False,
    "font.size": 10.5,
    "font.family": "sans-serif",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.titlesize": 10.5,
    "axes.titlelocation": "left",
    "axes.titlecolor": INK,
    "text.color": INK,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "grid.color": GRID,
    "axes.facecolor": "none",
    "figure.facecolor": PAPER,
    "legend.frameon": False,
}


class Drawn(NamedTuple):
    """A figure and what it shows, in words."""

    figure: Figure
    title: str
    told: str


def to_svg(drawn: Drawn, name: str) -> bytes:
    """Saved without date, address or random id; ids carry the figure's name, for several may share a page."""
    target = io.StringIO()
    with mpl.rc_context({"svg.hashsalt": name}):
        drawn.figure.savefig(target, format="svg", metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
    text = target.getvalue()
    text = re.sub(r"<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.DOTALL)
    text = re.sub(r'\bid="', f'id="{name}-', text)
    text = re.sub(r'(?:xlink:)?href="#', f'href="#{name}-', text).replace("url(#", f"url(#{name}-")
    told = f'<title id="{name}-title">{html.escape(drawn.title)}</title><desc id="{name}-desc">{html.escape(drawn.told)}</desc>'
    opening = re.compile(r"<svg ([^>]*)>")
    text = opening.sub(lambda m: f'<svg role="img" aria-labelledby="{name}-title {name}-desc" {m[1]}>{told}', text, count=1)
    return text.strip().encode() + b"\n"


def inline(svg: str) -> str:
    """A drawing to be put inside a page: with the page's own colours and font, so that one drawing serves light and dark."""
    svg = re.sub(r"font: ([\d.]+px)[^;\"]*", r"font: \1 var(--font)", svg)
    for colour, meaning in PALETTE.items():
        svg = svg.replace(colour, f"var(--{meaning})")
    return svg


def canvas(width: float, height: float, columns: int = 1, rows: int = 1) -> tuple[Figure, list[Any]]:
    """A figure of so many inches, and its axes row by row."""
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False)
    return figure, list(axes.ravel())


def dots(axes: Any, rows: Sequence[tuple[str, float, float, float]], colour: str) -> None:
    """Names with an estimate and its interval, the first on top."""
    names, estimates, lower, upper = (list(part) for part in zip(*reversed(rows), strict=True))
    spread = np.maximum([np.subtract(estimates, lower), np.subtract(upper, estimates)], 0)
    axes.errorbar(estimates, range(len(names)), xerr=spread, fmt="o", color=colour, ms=5, elinewidth=1.5)
    axes.set_yticks(range(len(names)), [short(name) for name in names])
    axes.grid(visible=True, axis="x")
    axes.set_ylim(-0.6, len(names) - 0.4)


def short(text: str, most: int = 22) -> str:
    """A name cut to fit.

    >>> short("a name that is much too long for an axis")
    'a name that is much t…'
    """
    return text if len(text) <= most else text[: most - 1] + "…"
