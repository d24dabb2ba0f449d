"""The section of a model's YAML that says what no figure can: what the model is for, and who answers for it."""

from __future__ import annotations

from cluster.schema import Section


class Card(Section):
    """Words for the model card."""

    purpose: str = ""
    """What decisions the model serves, in a sentence or two."""
    out_of_scope: str = ""
    """What it must not be used for."""
    contact: str = ""
    """Who answers questions about it."""
