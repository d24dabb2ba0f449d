"""What the parts of the page share: a number that is read at a glance, and the part of history that is looked at. Pure."""

from __future__ import annotations

import math
from typing import NamedTuple


class Figure(NamedTuple):
    """A number with its name."""

    name: str
    value: str
    more: str = ""
    """What it is to be held against."""


class Span(NamedTuple):
    """A part of history: [since, until), seconds since 1970."""

    since: float = -math.inf
    until: float = math.inf

    def holds(self, moment: float) -> bool:
        """Whether a moment lies in it."""
        return self.since <= moment < self.until


EVER = Span()
