"""The section of a card on what is known to be wrong, weak or unknown, drawn from the stored evidence alone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from monitoring.wording import count, day, estimate, level, name, number, percent
from training.card.document import Block, Bullets, Paragraph, Section, code, plain, sentence
from training.card.evidence import FILES, Evidence, Part
from training.card.quality import is_shown, widest

_PARTS: Final[dict[Part, str]] = {
    "metrics": "how good it is",
    "calibration": "calibration",
    "fairness": "how it treats groups of people",
    "slices": "where it is weakest",
    "stability": "what disturbed rows do to it",
    "checks": "how it behaves on checks",
    "columns": "whether columns tell the date",
    "explanation": "how it comes to its answers",
    "cascade": "when the student may answer alone",
    "lineage": "where it came from",
}
_MOST_SLICES: Final = 3


def limits(found: Evidence) -> Section:
    """What failed, what is weak and what was not measured."""
    known = (*_training(found), *_slices(found), *_groups(found), *_stress(found), *_checks(found), *_columns(found))
    missing = tuple(_missing(found))
    blocks: list[Block] = []
    blocks.append(Bullets(known) if known else Paragraph("Nothing that was measured came out as a weakness."))
    if missing:
        blocks += [Paragraph("Not known:"), Bullets(missing)]
    return Section("Limits", tuple(blocks))


def _training(found: Evidence) -> Iterator[Paragraph]:
    if found.lineage and found.lineage.until is not None:
        yield Paragraph(
            f"It knows no row later than {day(found.lineage.until)}; what changed since is for the monitor to tell.", FILES["lineage"]
        )
    if found.blend and found.blend.fell_back:
        yield Paragraph("The mixture of members lost to its best member, so one member answers alone.", FILES["blend"])
    if found.cascade and found.cascade.threshold > 1:
        yield Paragraph("The student could not keep the promise, so every row costs the ensemble.", FILES["cascade"])
    if found.intervals and found.intervals.coverage < found.intervals.confidence:
        yield Paragraph(
            f"Intervals held the truth for {percent(found.intervals.coverage)} of held-out rows, of {level(found.intervals.confidence)} promised.",
            FILES["intervals"],
        )


def _slices(found: Evidence) -> Iterator[Paragraph]:
    weak = found.slices
    for part in weak.found[:_MOST_SLICES] if weak else ():
        yield Paragraph(
            f"Rows where {plain(part.where)} are answered worse: {name(weak.loss if weak else '')} {number(part.loss)}, elsewhere "
            f"{number(part.rest_loss)} ({count(part.rows)} rows).",
            FILES["slices"],
        )


def _groups(found: Evidence) -> Iterator[Paragraph]:
    source = FILES["fairness"]
    for attribute in found.fairness.attributes if found.fairness else ():
        for gap in widest(attribute):
            if is_shown(gap):
                yield Paragraph(
                    f"{name(gap.metric).capitalize()} differs by {plain(attribute.name)}: {plain(gap.group)} less {plain(gap.other)} is "
                    f"{estimate(gap.difference)}.",
                    source,
                )
        if attribute.small:
            small = ", ".join(f"{plain(group)} ({count(rows)} rows)" for group, rows in attribute.small.items())
            yield Paragraph(f"Too small to be judged by {plain(attribute.name)}: {small}.", source)


def _stress(found: Evidence) -> Iterator[Paragraph]:
    source, kept = FILES["stability"], found.stability
    changes = [d for d in kept.stress.disturbances if d.feature is None] if kept and kept.stress else []
    if changes:
        worst = max(changes, key=lambda d: d.score_change)
        flipped = f", and decides {percent(worst.flipped)} of rows otherwise" if worst.flipped is not None else ""
        yield Paragraph(
            f"Of the disturbances tried, {name(worst.kind)} (size {number(worst.size)}) moves scores most: by {number(worst.score_change)} on "
            f"average{flipped}.",
            source,
        )


def _checks(found: Evidence) -> Iterator[Paragraph]:
    source, kept = FILES["checks"], found.checks
    for outcome in kept.outcomes if kept else ():
        if outcome.passed is not True:
            verdict = "failed" if outcome.passed is False else "could not be judged"
            yield Paragraph(f"The check {code(outcome.name)} {verdict}: {sentence(outcome.message)}", source)
    if kept and not kept.edge_cases.passed:
        yield Paragraph(f"Edge cases failed: {sentence(kept.edge_cases.message)}", source)


def _columns(found: Evidence) -> Iterator[Paragraph]:
    if found.columns and found.columns.suspects:
        names = ", ".join(code(s.feature) for s in found.columns.suspects)
        yield Paragraph(f"It may know dates by heart from {names}.", FILES["columns"])


def _missing(found: Evidence) -> Iterator[Paragraph]:
    for part, what in _PARTS.items():
        if part in found.unreadable:
            yield Paragraph(f"{what}: {code(FILES[part])} is of another version and cannot be read")
        elif getattr(found, part) is None and not (part == "calibration" and found.schema.label.task == "regression"):
            yield Paragraph(f"{what}: there is no {code(FILES[part])}")
