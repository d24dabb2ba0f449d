"""The section of a card on how the model comes to its answers."""

from __future__ import annotations

from collections.abc import Iterator

from cluster.schema import Label
from monitoring.wording import DASH, count, estimate, level, name, number, percent
from training.card.document import Block, Paragraph, Picture, Section, Table, code, plain, unmeasured
from training.card.evidence import FILES, LIME, Evidence
from training.explaining.attributions import Attribution
from training.explaining.explanation import Explanation
from training.explaining.surrogate import Rule, Surrogate, describe

_SOURCE = FILES["explanation"]
_MOST_FEATURES = 10


def explanation(found: Evidence) -> Section:
    """Importance, contributions, a surrogate's rules, partial dependence, and how to explain one row."""
    title, kept = "Explanations", found.explanation
    if kept is None:
        return Section(title, (unmeasured("How it comes to its answers", found.unreadable.get("explanation", "")), *_single(found)))
    blocks: list[Block] = [
        Paragraph(
            f"On {count(kept.rows)} held-out rows; intervals are of {level(kept.confidence)} and take rows as independent. "
            "They tell what the model goes by, not what causes what.",
            _SOURCE,
        ),
        Picture("importance", _SOURCE),
        _importance(kept),
    ]
    if kept.trees:
        blocks.append(_contributions(kept.trees))
    blocks += _surrogate(kept.surrogate, found.schema.label)
    if kept.dependence:
        blocks.append(Picture("dependence", _SOURCE))
        blocks.append(Paragraph("The band holds the middle eight tenths of rows' own curves, each moved to the common height."))
    return Section(title, (*blocks, *_single(found)))


def _importance(kept: Explanation) -> Table:
    rows = tuple((code(i.feature), estimate(i.loss)) for i in kept.importance[:_MOST_FEATURES])
    caption = f"The ensemble: increase of {name(kept.loss)}, {number(kept.loss_before)} as it is, when a column is shuffled"
    return Table(caption, ("column", "increase"), rows, _SOURCE)


def _contributions(trees: list[Attribution]) -> Table:
    rows = tuple(
        (code(a.feature), estimate(a.mean_abs), percent(a.share), DASH if a.direction is None else number(a.direction))
        for a in trees[:_MOST_FEATURES]
    )
    head = ("column", "mean size", "share", "direction")
    return Table(
        "The XGBoost member: Shapley contributions to its margin; direction is the rank correlation with the value", head, rows, _SOURCE
    )


def _surrogate(kept: Surrogate, label: Label) -> Iterator[Block]:
    told = f"One tree of {count(kept.depth)} levels that imitates the ensemble explains {percent(kept.r2)} of the variance of its scores"
    agrees = (
        f" and decides as it does on {percent(kept.agreement)} of rows (always giving the commonest decision: {percent(kept.constant_agreement)})"
        if kept.agreement is not None
        else ""
    )
    yield Paragraph(f"{told}{agrees}, on {count(kept.checked_rows)} rows that it was not fitted on. Its rules:", _SOURCE)
    rows = tuple((_when(rule), _answer(rule, label), percent(rule.share)) for rule in kept.rules)
    yield Table("Rules of the imitating tree", ("rows where", "mean score", "share of rows"), rows, _SOURCE)


def _when(rule: Rule) -> str:
    told = [plain(describe(condition)) for condition in rule.conditions]
    if len(told) > 1:
        told = [
            f"({text})" if condition.missing and condition.known else text for text, condition in zip(told, rule.conditions, strict=True)
        ]
    return " and ".join(told) or "any"


def _answer(rule: Rule, label: Label) -> str:
    if label.task == "multiclass":
        return f"{plain(rule.decision)} ({number(max(rule.scores))})"
    return number(rule.scores[0])


def _single(found: Evidence) -> Iterator[Block]:
    if found.has_lime:
        yield Paragraph(
            f"A single row is explained by LIME without any training row: {code('training.explaining.lime_setup.lime_explainer')} reads {code(LIME)} of the bundle."
        )
