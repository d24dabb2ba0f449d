"""Views to HTML: the page, its live part, and a report in one file. Everything is escaped but our own drawings.

Nothing is loaded from elsewhere. The page has no inline script or style sheet; a report has no script at all.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Final, NamedTuple

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template
from markupsafe import Markup

from monitoring import wording as words
from monitoring.dashboard import charts, tables, wording
from monitoring.dashboard.figure import EVER, Span
from monitoring.dashboard.treatment import treatments
from monitoring.dashboard.views import Views
from monitoring.dashboard.watched import better

HERE: Final = Path(__file__).parent
_DRAWN: Final = ("evidence", "requests", "latency", "rows", "performance", "spread", "attribution", "importance", "groups")


class Choice(NamedTuple):
    """A part of history that one can choose to look at."""

    name: str
    days: str
    is_chosen: bool


def page(views: Views, *, mount: str, choices: list[Choice], query: str, now: float) -> str:
    """The whole page.

    Parameters
    ----------
    mount
        Path of the page; its style sheet, script and live part lie below it.
    query
        What the live part is asked for with, so that it shows the same span.
    """
    return _template("page.html").render(v=views, mount=mount, choices=choices, query=query, now=now)


def parts(views: Views) -> str:
    """What of the page changes, to be put in its place by the page's script."""
    return _template("parts.html").render(v=views)


def report(views: Views, *, now: float, span: Span = EVER) -> str:
    """One file that needs nothing but itself."""
    css = Markup((HERE / "page.css").read_text())  # noqa: S704 - our own file
    return _template("report.html").render(v=views, css=css, now=now, span=span)


@functools.cache
def _environment() -> Environment:
    made = Environment(loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    made.filters |= {
        "named": words.name,
        "number": words.number,
        "count": words.count,
        "moment": wording.moment,
        "iso": wording.iso,
        "plural": wording.plural,
        "better": better,
        "treatments": treatments,
    }
    made.globals |= {"tables": tables} | {f"draw_{name}": _drawn(name) for name in _DRAWN}
    return made


def _drawn(name: str) -> object:
    draw = getattr(charts, name)
    return lambda *seen: Markup(draw(*seen))  # noqa: S704 - our own drawing, escaped when drawn


def _template(name: str) -> Template:
    return _environment().get_template(name)
