"""What the gate says of groups of people: a gap that is shown to be too wide keeps a challenger out. Pure."""

from __future__ import annotations

from cluster.fairness_settings import Fairness
from monitoring.fairness import OVERALL, Attribute, Comparison, FairnessReport, kind
from training.judging.rules import Rule

_NAMES = {
    "selection_rate": "selection rate",
    "tpr": "true positive rate",
    "fpr": "false positive rate",
    "calibration": "calibration",
}


def rules(report: FairnessReport, settings: Fairness, champion: FairnessReport | None) -> list[Rule]:
    """One rule for each limit and attribute; none without limits.

    A rule fails when the whole interval of a pair's gap lies beyond the limit, at the level at which all pairs hold together, unless the
    champion's widest gap that is shown in the same way, of the same figure and attribute, is wider: an improvement is let through.

    Parameters
    ----------
    report, champion
        Of the challenger and of the champion, on the same rows; None where there is no champion.
    """
    found = []
    for name, limit in settings.limits.items():
        found += [Rule(True, f"not judged: {_NAMES[name]} by {attribute}: {why}") for attribute, why in report.refused.items()]
        found += [_rule(name, limit, attribute, report, champion) for attribute in report.attributes]
    return found


def _rule(name: str, limit: float, attribute: Attribute, report: FairnessReport, champion: FairnessReport | None) -> Rule:
    what = f"{_NAMES[name]} by {attribute.name}"
    pairs = _pairs(attribute, name)
    if not pairs:
        judged = sum(group.judged for group in attribute.groups)
        return Rule(
            True, f"not judged: {what}: {judged} groups of at least {report.min_group_rows:,} rows, and too few labels or groups to compare"
        )
    shown = _widest([pair for pair in pairs if _excess(pair) > limit])
    if shown is None:
        return Rule(True, f"{what}: {_sentence(_widest(pairs), attribute, report)}; no gap is shown to exceed {limit:g}")
    reason = f"{what}: {_sentence(shown, attribute, report)}; it exceeds {limit:g}"
    theirs = _of_champion(champion, attribute.name, name, limit)
    if theirs is not None and _size(shown) < _size(theirs):
        return Rule(True, f"{reason}, but is smaller than the champion's {_size(theirs):.4f} between '{theirs.group}' and '{theirs.other}'")
    return Rule(False, reason if theirs is None else f"{reason}, and is not smaller than the champion's {_size(theirs):.4f}")


def _of_champion(champion: FairnessReport | None, attribute: str, name: str, limit: float) -> Comparison | None:
    same = [a for a in champion.attributes if a.name == attribute] if champion is not None else []
    return _widest([pair for a in same for pair in _pairs(a, name) if _excess(pair) > limit])


def _pairs(attribute: Attribute, name: str) -> list[Comparison]:
    return [c for c in attribute.comparisons if c.other != OVERALL and kind(c.metric) == name]


def _size(pair: Comparison) -> float:
    return abs(pair.difference.estimate)


def _excess(pair: Comparison) -> float:
    """The least gap that the interval allows, whichever way it points; 0 when it allows none."""
    return max(pair.difference.lower, -pair.difference.upper, 0.0)


def _widest(pairs: list[Comparison]) -> Comparison | None:
    return max(pairs, key=_size, default=None)


def _sentence(pair: Comparison | None, attribute: Attribute, report: FairnessReport) -> str:
    assert pair is not None
    figures = {group.name: group.figures[pair.metric].estimate for group in attribute.groups if pair.metric in group.figures}
    most = max(abs(pair.difference.lower), abs(pair.difference.upper))
    over = f" over all {report.pairs} pairs" if report.pairs > 1 else ""
    of = f" for class '{pair.metric[len(kind(pair.metric)) + 1 : -1]}'" if "[" in pair.metric else ""
    return (
        f"'{pair.group}' {figures[pair.group]:.4f} and '{pair.other}' {figures[pair.other]:.4f}{of}, a gap of {_size(pair):.4f} "
        f"({_excess(pair):.4f} to {most:.4f}, with {report.confidence:.0%} confidence{over})"
    )
