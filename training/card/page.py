"""A card as one HTML page that needs nothing but itself: figures inside, no scripts, light, dark and print."""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from monitoring.drawing import inline
from training.card.document import Document
from training.card.figures import Told

_ESTIMATE: Final = re.compile(r"(-?[\d.,]+(?:e[-+]\d+)?) (\([^()]* to [^()]*\))")
_SPAN: Final = re.compile(r"`([^`]*)`")


def write(document: Document, figures: Mapping[str, bytes], told: Mapping[str, Told]) -> str:
    """The page; figures that are missing are left out."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"prose": prose, "cell": cell}
    environment.tests |= {name: _is(name) for name in ("Paragraph", "Bullets", "Table", "Picture", "Commands")}
    drawings = {name: Markup(inline(content.decode())) for name, content in figures.items()}  # noqa: S704 - our own drawings, escaped when drawn
    return environment.get_template("page.html").render(document=document, figures=drawings, told=told)


def prose(text: str) -> Markup:
    r"""A card's text as HTML: code spans and escapes, all else as it is.

    >>> str(prose("is `a<b` where a\\|b & c"))
    'is <code>a&lt;b</code> where a|b &amp; c'
    """
    parts = _SPAN.split(text)
    made = [f"<code>{html.escape(part)}</code>" if i % 2 else html.escape(re.sub(r"\\(.)", r"\1", part)) for i, part in enumerate(parts)]
    return Markup("".join(made))  # noqa: S704 - every part was escaped


def cell(text: str) -> Markup:
    """A cell; an interval goes below its estimate.

    >>> str(cell("0.7 (0.6 to 0.8)"))
    '0.7 <small>(0.6 to 0.8)</small>'
    """
    estimate = _ESTIMATE.fullmatch(text)
    return prose(text) if estimate is None else Markup("{} <small>{}</small>").format(*estimate.groups())


def _is(name: str) -> Callable[[object], bool]:
    return lambda block: type(block).__name__ == name
