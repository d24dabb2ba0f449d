"""Sections of a card on what is promised and what was tried against it: cascade, intervals, stress, checks, columns."""

from __future__ import annotations

from collections.abc import Iterator

from cluster.bundle import CascadeRule
from cluster.intervals import Intervals
from monitoring.wording import DASH, between, count, level, name, number, percent, yes
from training.card.document import Block, Paragraph, Section, Table, code, plain, sentence, unmeasured, whole
from training.card.evidence import FILES, Evidence
from training.judging.stability import Disturbance, Spread, Stress

_MOST_FEATURES = 8


def promises(found: Evidence) -> Section:
    """The cascade's promise, and prediction intervals."""
    blocks: list[Block] = []
    if found.cascade is None:
        blocks.append(unmeasured("When the student may answer alone", found.unreadable.get("cascade", "")))
    else:
        blocks += _cascade(found.cascade)
    if found.intervals is not None:
        blocks += _intervals(found.intervals)
    elif found.schema.label.task == "regression":
        blocks.append(unmeasured("How far the truth may be from an answer", found.unreadable.get("intervals", "")))
    return Section("Promises", tuple(blocks))


def stability(found: Evidence) -> Section:
    """What disturbed rows do to it, and how much figures move."""
    title, kept = "Stability and stress", found.stability
    if kept is None:
        return Section(title, (unmeasured("What disturbed rows do to it", found.unreadable.get("stability", "")),))
    blocks: list[Block] = []
    if kept.stress is not None:
        blocks.append(_stress(kept.stress))
    for spread in (kept.time, kept.groups, kept.seeds):
        if spread is not None:
            blocks += _spread(spread)
    return Section(title, tuple(blocks) or (unmeasured("What disturbed rows do to it"),))


def checks(found: Evidence) -> Section:
    """What it must do beyond being right on average."""
    title, kept = "Behavioural checks", found.checks
    if kept is None:
        return Section(title, (unmeasured("How it behaves", found.unreadable.get("checks", "")),))
    rows = tuple(
        (
            plain(o.name),
            plain(o.kind),
            yes(o.passed, other="not judged"),
            count(o.rows),
            percent(o.share),
            percent(o.needed),
            plain(o.message),
        )
        for o in kept.outcomes
    )
    blocks: list[Block] = []
    if rows:
        head = ("check", "kind", "passed", "rows", "holds on", "needed", "what was found")
        blocks.append(Table("Checks of the settings file", head, rows, FILES["checks"]))
    else:
        blocks.append(Paragraph("The settings file lists no checks."))
    edge = kept.edge_cases
    verdict = "passed" if edge.passed else "failed"
    blocks.append(Paragraph(f"Edge cases made from the schema {verdict}: {sentence(edge.message)}", FILES["checks"]))
    return Section(title, tuple(blocks))


def columns(found: Evidence) -> Section:
    """Columns by which it could learn dates by heart."""
    title, kept = "Columns that tell the date", found.columns
    if kept is None:
        return Section(title, (unmeasured("Whether columns tell the date", found.unreadable.get("columns", "")),))
    blocks: list[Block] = [Paragraph(whole(kept.message), FILES["columns"])]
    if kept.suspects:
        rows = tuple((code(s.feature), plain(s.reason), plain(s.evidence)) for s in kept.suspects)
        blocks.append(Table("Suspects", ("column", "kind", "what was found"), rows, FILES["columns"]))
    if kept.gain is not None:
        blocks.append(
            Paragraph(
                f"The {name(kept.metric)} of a small model on later rows is {number(kept.with_suspects)} with them and "
                f"{number(kept.without_suspects)} without.",
                FILES["columns"],
            )
        )
    return Section(title, tuple(blocks))


def _cascade(rule: CascadeRule) -> Iterator[Block]:
    if rule.threshold > 1:
        yield Paragraph(
            "The student never answers alone: no threshold kept the promise, and the ensemble answers every row.", FILES["cascade"]
        )
        return
    promise = (
        f"The student answers alone where its margin is at least {number(rule.threshold)}. It is promised to differ from the ensemble on at most "
        f"{percent(rule.max_disagreement)} of those rows, with {level(rule.confidence)} confidence"
    )
    bound = f"; the upper bound is {percent(rule.upper_bound)}" if rule.upper_bound is not None else ""
    yield Paragraph(
        f"{promise}{bound}. On held-out rows it answered {percent(rule.student_share)} and differed on {percent(rule.disagreement)} of them.",
        FILES["cascade"],
    )
    if rule.tolerance is not None:
        yield Paragraph(f"Two answers differ when they are further apart than {number(rule.tolerance)}.", FILES["cascade"])
    yield Paragraph("The promise is for rows of the same distribution; drift breaks it, which is why the monitor watches.")


def _intervals(kept: Intervals) -> Iterator[Block]:
    yield Paragraph(
        f"An answer comes with an interval that holds the truth for {level(kept.confidence)} of rows like the held-out ones ({plain(kept.method)}); "
        f"on those {count(kept.rows)} rows it did for {percent(kept.coverage)}.",
        FILES["intervals"],
    )
    ends = [None, *kept.edges, None]
    rows = tuple((_range(low, high), number(width)) for low, high, width in zip(ends, ends[1:], kept.half_widths, strict=False))
    yield Table("Half-widths by predicted value", ("predicted", "half-width"), rows, FILES["intervals"])


def _range(low: float | None, high: float | None) -> str:
    if low is None:
        return "any" if high is None else f"below {number(high)}"
    return f"from {number(low)}" if high is None else between(low, high)


def _stress(stress: Stress) -> Table:
    head = (
        "disturbance",
        "size",
        "rows",
        "mean change of score",
        "decided otherwise",
        f"{name(stress.metric)} before",
        "after",
        "worst feature",
    )
    alone = sorted((d for d in stress.disturbances if d.feature is not None), key=lambda d: -d.score_change)[:_MOST_FEATURES]
    rows = tuple(_disturbance(d, stress.metric) for d in (*(d for d in stress.disturbances if d.feature is None), *alone))
    return Table("Disturbed rows; of columns missing alone, those that move scores most", head, rows, FILES["stability"])


def _disturbance(found: Disturbance, metric: str) -> tuple[str, ...]:
    what = name(found.kind) + (f": {code(found.feature)}" if found.feature else "")
    worst = f"{code(found.worst_feature)} ({number(found.worst_change)})" if found.worst_feature else DASH
    before, after = number(found.before.get(metric)), number(found.after.get(metric))
    return what, number(found.size), count(found.rows), number(found.score_change), percent(found.flipped), before, after, worst


_KINDS = {
    "time": "From one piece of time to the next",
    "groups": "From one set of groups to the next",
    "seeds": "From one seed to the next",
}

_PARTS = {"time": "Pieces of time", "groups": "Sets of groups", "seeds": "Seeds"}


def _spread(spread: Spread) -> Iterator[Block]:
    yield Paragraph(f"{_KINDS[spread.kind]}: {sentence(spread.message)}", FILES["stability"])
    if spread.parts:
        rows = tuple((plain(part.name), count(part.rows), number(part.value)) for part in spread.parts)
        yield Table(_PARTS[spread.kind], ("part", "rows", name(spread.metric)), rows, FILES["stability"])
