"""Sections of a card on how good the model is: overall, calibrated, by group and where it is weakest."""

from __future__ import annotations

from collections.abc import Iterator

from monitoring.fairness import OVERALL, Attribute, Comparison, Group
from monitoring.wording import DASH, between, count, estimate, level, name, number, yes
from training.card.document import Block, Paragraph, Picture, Section, Table, code, plain, unmeasured, whole
from training.card.evidence import FILES, Evidence, Figures, Mitigation

_GROUP_COLUMNS = ("selection_rate", "tpr", "fpr", "mean_prediction", "mae", "accuracy", "calibration")


def metrics(found: Evidence) -> Section:
    """Metrics of the ensemble, the student and the members."""
    measured = found.metrics
    if measured is None or not measured.held_out:
        return Section("How good it is", (unmeasured("How good it is", found.unreadable.get("metrics", "")),))
    sure = f", with {level(found.confidence)} intervals" if found.confidence is not None and measured.intervals else ""
    blocks: list[Block] = [
        _metric_table(f"On held-out rows, which no choice looked at{sure}", measured.held_out, measured.intervals, FILES["metrics"])
    ]
    if measured.forward:
        caption = "Out of fold: later rows than any that the fits which scored them had seen"
        blocks.append(_metric_table(caption, measured.forward, {}, FILES["metrics"]))
    if measured.parity:
        rows = tuple((plain(who), number(value)) for who, value in measured.parity.items())
        blocks.append(Table("Largest difference of exported and native scores", ("graph", "difference"), rows, FILES["metrics"]))
    return Section("How good it is", tuple(blocks))


def calibration(found: Evidence) -> Section:
    """Whether probabilities are what they say; for regression, what is left over."""
    title = "Residuals" if found.schema.label.task == "regression" else "Calibration"
    blocks: list[Block] = []
    if found.schema.label.task == "regression":
        if found.explanation is None:
            blocks.append(unmeasured("How far off predictions are, by size,", found.unreadable.get("explanation", "")))
        else:
            blocks.append(Picture("residuals", FILES["explanation"]))
    elif not (found.calibration and found.calibration.get("ensemble")):
        blocks.append(unmeasured("Calibration on held-out rows", found.unreadable.get("calibration", "")))
    else:
        blocks.append(Picture("calibration", FILES["calibration"]))
        rows = tuple((number(b.mean_score), number(b.rate), count(b.rows)) for b in found.calibration["ensemble"])
        blocks.append(
            Table("The ensemble's bins of equal numbers of rows", ("mean probability", "observed rate", "rows"), rows, FILES["calibration"])
        )
    if found.explanation is not None:
        blocks.append(Picture("scores", FILES["explanation"]))
    return Section(title, tuple(blocks))


def fairness(found: Evidence) -> Section:
    """Figures by group of people."""
    title, report = "Groups of people", found.fairness
    if report is None:
        why = found.unreadable.get("fairness", "") or ("" if found.schema.protected else "no column is named as protected")
        return Section(title, (unmeasured("How it treats groups of people", why),))
    blocks: list[Block] = [
        Paragraph(
            f"Groups of at least {count(report.min_group_rows)} rows are judged. Each figure has a {level(report.confidence)} interval of its "
            f"own; all differences hold together at {level(report.confidence)}, each at {level(report.level)}. Rows are taken as independent.",
            FILES["fairness"],
        )
    ]
    if found.mitigation is not None:
        blocks.append(_mitigated(found.mitigation))
    if report.attributes:
        blocks.append(Picture("fairness", FILES["fairness"]))
    for attribute in report.attributes:
        blocks += _attribute(attribute)
    blocks += [Paragraph(f"{code(column)} was not looked at: {plain(why)}.", FILES["fairness"]) for column, why in report.refused.items()]
    return Section(title, tuple(blocks))


def widest(attribute: Attribute) -> list[Comparison]:
    """Each figure's widest gap between two groups, among those that the rows show to be there; else the widest of all."""
    by_metric: dict[str, list[Comparison]] = {}
    for comparison in attribute.comparisons:
        if comparison.other != OVERALL:
            by_metric.setdefault(comparison.metric, []).append(comparison)
    return [max(pairs, key=lambda c: (is_shown(c), abs(c.difference.estimate))) for pairs in by_metric.values()]


def is_shown(comparison: Comparison) -> bool:
    """Whether the interval of the difference leaves no room for none."""
    return comparison.difference.lower > 0 or comparison.difference.upper < 0


def slices(found: Evidence) -> Section:
    """Where it is weakest."""
    title, weak = "Weak slices", found.slices
    if weak is None:
        return Section(title, (unmeasured("Where it is weakest", found.unreadable.get("slices", "")),))
    blocks: list[Block] = [Paragraph(whole(weak.message), FILES["slices"])]
    if weak.found:
        head = ("rows where", "rows", f"{name(weak.loss)} inside", "outside", "excess", f"{name(weak.metric)} inside", "outside")
        rows = tuple(
            (
                plain(s.where),
                count(s.rows),
                number(s.loss),
                number(s.rest_loss),
                estimate(s.excess),
                number(s.metric),
                number(s.rest_metric),
            )
            for s in weak.found
        )
        blocks.append(Table("Suggested by one half of the rows, proved on the other", head, rows, FILES["slices"]))
    return Section(title, tuple(blocks))


def _metric_table(caption: str, by_who: Figures, intervals: dict[str, dict[str, tuple[float, float]]], source: str) -> Table:
    order: list[str] = [who for who in _WHO if who in by_who]
    order += [who for who in by_who if who not in order]
    names = list(dict.fromkeys(metric for who in order for metric in by_who[who]))

    def cell(who: str, metric: str) -> str:
        value = by_who[who].get(metric)
        bounds = intervals.get(who, {}).get(metric)
        return number(value) + (f" ({between(*bounds)})" if bounds and value is not None else "")

    rows = tuple((_WHO.get(who, plain(who)), *(cell(who, metric) for metric in names)) for who in order)
    return Table(caption, ("who answers", *map(name, names)), rows, source)


_WHO = {"ensemble": "ensemble", "student": "student", "answered": "both, as served"}


def _attribute(attribute: Attribute) -> Iterator[Block]:
    columns = [key for key in _GROUP_COLUMNS if any(key in group.figures for group in attribute.groups)]
    rows = tuple(_group(group, columns) for group in attribute.groups)
    head = ("group", "rows", "judged", *map(name, columns), "calibration error")
    yield Table(f"Groups of {plain(attribute.name)}", head, rows, FILES["fairness"])
    gaps = tuple(
        (name(gap.metric), plain(gap.group), plain(gap.other), estimate(gap.difference), estimate(gap.ratio), yes(is_shown(gap)))
        for gap in widest(attribute)
    )
    if gaps:
        head = ("figure", "group", "against", "difference", "ratio", "beyond chance")
        yield Table(f"Widest gaps between groups of {plain(attribute.name)}", head, gaps, FILES["fairness"])


def _mitigated(kept: Mitigation) -> Paragraph:
    if kept.gap == kept.gap_before and kept.cost == kept.cost_before:
        return Paragraph(
            f"Mitigation ({name(kept.constraint)}) was asked for and changed nothing: on {count(kept.rows)} sampled rows the widest gap between "
            f"groups of {plain(kept.attribute)} is {number(kept.gap)}, and no weighting of the rows was preferred to none.",
            FILES["mitigation"],
        )
    return Paragraph(
        f"Training evened groups of {plain(kept.attribute)} out ({name(kept.constraint)}): on {count(kept.rows)} sampled rows, a small model's "
        f"widest gap went from {number(kept.gap_before)} to {number(kept.gap)} and its cost of errors from {number(kept.cost_before)} to "
        f"{number(kept.cost)}.",
        FILES["mitigation"],
    )


def _group(group: Group, columns: list[str]) -> tuple[str, ...]:
    figures = (estimate(group.figures.get(key)) if group.judged else DASH for key in columns)
    chance = f" (below {number(group.ece_by_chance)} by chance)" if group.ece_by_chance is not None else ""
    error = number(group.ece) + chance if group.judged and group.ece is not None else DASH
    return plain(group.name), count(group.rows), yes(group.judged), *figures, error
