"""The model card: made from a bundle's folder alone, every figure from a stored file that is named beside it.

The same folder gives the same bytes. What was not measured is said, and nothing is measured here.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final, NamedTuple

from training.card import evidence, facts, figures, limits, markdown, page, promises, quality, reasons
from training.card.document import Document
from training.card.evidence import Evidence

MARKDOWN: Final = "card.md"
PAGE: Final = "card.html"


class Card(NamedTuple):
    """A model card in both forms."""

    markdown: str
    html: str


def render(folder: Path) -> Card:
    """The card of the bundle in a folder, sealed or not yet.

    Raises
    ------
    BundleError
        When the folder has no schema.
    """
    found = evidence.read(folder)
    drawn = figures.read(folder)
    told = {name: figures.told(svg) for name, svg in drawn.items()}
    document = compose(found)
    return Card(markdown.write(document, found, told), page.write(document, drawn, told))


def write(folder: Path, out: Path | None = None) -> Path:
    """Render a bundle's card into its folder, or with its figures into another; returns the page.

    Raises
    ------
    BundleError
        When the folder has no schema.
    """
    made, target = render(folder), out or folder
    target.mkdir(parents=True, exist_ok=True)
    if out is not None:
        (out / figures.FOLDER).mkdir(exist_ok=True)
        for name, content in figures.read(folder).items():
            (out / figures.FOLDER / f"{name}.svg").write_bytes(content)
    (target / MARKDOWN).write_bytes(made.markdown.encode())
    (target / PAGE).write_bytes(made.html.encode())
    return target / PAGE


def compose(found: Evidence) -> Document:
    """What the card says, before it has a form."""
    return Document(
        title=f"Model card: {found.model}",
        summary=facts.summary(found),
        keys=tuple(facts.keys(found)),
        sections=(
            facts.purpose(found),
            limits.limits(found),
            quality.metrics(found),
            quality.calibration(found),
            quality.fairness(found),
            quality.slices(found),
            promises.promises(found),
            promises.stability(found),
            promises.checks(found),
            promises.columns(found),
            reasons.explanation(found),
            facts.data(found),
            facts.training(found),
            facts.lineage(found),
        ),
    )
