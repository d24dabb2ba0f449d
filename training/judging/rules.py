"""One rule of the gate, judged: may the challenger pass, and why. Knows no metric and no model."""

from __future__ import annotations

from typing import NamedTuple


class Rule(NamedTuple):
    """What one rule says of a challenger."""

    ok: bool
    """False keeps the challenger out. True also when too few rows could be looked at: `reason` then begins with "not judged"."""
    reason: str
    """The rule with its figures, for a person."""
