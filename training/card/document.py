"""What a card is made of, before it is Markdown or HTML: sections of blocks, each naming the file its figures come from.

Texts are Markdown of two constructs only, code spans and backslash escapes; `plain` and `code` make them from data.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final

_FIGURE: Final = re.compile(r"-?[\d.,]+(e[-+]\d+)?( %)?( to -?[\d.,e+-]+| \(.*\))?")
_ACTIVE: Final = re.compile(r"([\\`*\[\]<>|#]|(?<!\w)_|_(?!\w))")


@dataclass(frozen=True)
class Paragraph:
    """Sentences, and the files that their figures are in; empty for sentences without figures."""

    text: str
    source: str = ""


@dataclass(frozen=True)
class Bullets:
    """Sentences in a list, each with its own source."""

    items: tuple[Paragraph, ...]


@dataclass(frozen=True)
class Table:
    """Cells of text; the first column names the row."""

    caption: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    source: str

    def is_numeric(self, column: int) -> bool:
        """Whether a column holds figures or dashes only, and is set to the right.

        >>> [Table("", ("a", "b"), (("x", "0.7 (0.6 to 0.8)"), ("y", "–")), "").is_numeric(column) for column in (0, 1)]
        [False, True]
        """
        return all(row[column] == "–" or _FIGURE.fullmatch(row[column]) for row in self.rows)


@dataclass(frozen=True)
class Picture:
    """A figure of `training.card.figures` by name."""

    name: str
    source: str


@dataclass(frozen=True)
class Commands:
    """What to type."""

    lines: tuple[str, ...]
    source: str


Block = Paragraph | Bullets | Table | Picture | Commands


@dataclass(frozen=True)
class Key:
    """A figure to see at a glance."""

    value: str
    name: str
    source: str


@dataclass(frozen=True)
class Section:
    """A heading and what is under it."""

    title: str
    blocks: tuple[Block, ...]

    @property
    def anchor(self) -> str:
        """The id of its heading.

        >>> Section("Data and columns", ()).anchor
        'data-and-columns'
        """
        return re.sub(r"[^a-z0-9]+", "-", self.title.lower()).strip("-")


@dataclass(frozen=True)
class Document:
    """A whole card."""

    title: str
    summary: Paragraph
    keys: tuple[Key, ...]
    sections: tuple[Section, ...] = field(default=())


def plain(value: object) -> str:
    r"""Data as text that no Markdown reader takes for markup.

    >>> plain("a|b *c* dep_delay _x")
    'a\\|b \\*c\\* dep_delay \\_x'
    """
    return _ACTIVE.sub(r"\\\1", " ".join(str(value).split()))


def sentence(value: object) -> str:
    """A message as a sentence that ends in a full stop.

    >>> sentence("holds on every row")
    'holds on every row.'
    """
    text = plain(value)
    return text if text.endswith((".", "!", "?")) else text + "."


def whole(value: object) -> str:
    """A message as a sentence that stands alone.

    >>> whole("no column is seen to tell the date")
    'No column is seen to tell the date.'
    """
    text = sentence(value)
    return text[:1].upper() + text[1:]


def code(value: object) -> str:
    """Data as a code span.

    >>> code("dep_delay")
    '`dep_delay`'
    """
    return "`" + " ".join(str(value).split()).replace("`", "'").replace("|", "¦") + "`"


def unmeasured(what: str, why: str = "") -> Paragraph:
    """The sentence for a part that the bundle lacks.

    >>> unmeasured("How groups are treated").text
    'How groups are treated was not measured for this version.'
    """
    return Paragraph(f"{what} was not measured for this version{': ' + plain(why) if why else ''}.")
