"""Sections of a card on what the model is, what it learned from and how it was made."""

from __future__ import annotations

from collections.abc import Iterator

from cluster.schema import Feature
from monitoring.wording import DASH, FIRST, between, count, day, level, name, number, percent
from training.card.document import Block, Commands, Key, Paragraph, Picture, Section, Table, code, plain, unmeasured
from training.card.evidence import FILES, SCHEMA, Evidence

_CALIBRATIONS = {
    "none": "no calibration: none of the kinds that were tried did better",
    "platt": "Platt's sigmoid",
    "beta": "a beta calibration",
    "isotonic": "an isotonic calibration",
    "temperature": "a temperature",
    "vector": "a temperature with a shift a class",
}
_LESSONS = {
    "ensemble": "the ensemble's scores",
    "labels": "the true labels",
    "both": "the mean of the ensemble's scores and the true labels",
}


def summary(found: Evidence) -> Paragraph:
    """What it does, and how well, in one sentence."""
    does = f"{code(found.model)} {_does(found)}"
    metric = FIRST[found.schema.label.task]
    value = found.metrics.held_out.get("ensemble", {}).get(metric) if found.metrics else None
    if value is None:
        return Paragraph(f"{does}.", SCHEMA)
    told = f"{does}; on rows held out from every choice, the {name(metric)} of its ensemble is {number(value)}"
    bounds = found.metrics.intervals.get("ensemble", {}).get(metric) if found.metrics else None
    sure = f" ({between(*bounds)}{_at(found.confidence)})" if bounds else ""
    return Paragraph(f"{told}{sure}.", f"{SCHEMA}, {FILES['metrics']}")


def keys(found: Evidence) -> Iterator[Key]:
    """The figures that are looked for first."""
    metric = FIRST[found.schema.label.task]
    if found.metrics:
        for who in ("ensemble", "student"):
            if (value := found.metrics.held_out.get(who, {}).get(metric)) is not None:
                yield Key(number(value), f"{name(metric)}, {who}", FILES["metrics"])
        if (error := found.metrics.held_out.get("ensemble", {}).get("ece")) is not None:
            yield Key(number(error), "calibration error, ensemble", FILES["metrics"])
    if found.cascade:
        yield Key(percent(found.cascade.student_share), "of rows answered by the student alone", FILES["cascade"])
    if found.lineage:
        yield Key(count(found.lineage.rows), "rows it was made from", FILES["lineage"])
        if found.lineage.until is not None:
            yield Key(day(found.lineage.until), "its latest row", FILES["lineage"])


def purpose(found: Evidence) -> Section:
    """What it is for, and what it is not for."""
    said = (found.settings or {}).get("card") or {}
    blocks: list[Block] = []
    if said.get("purpose"):
        blocks.append(Paragraph(plain(said["purpose"]), FILES["settings"]))
    blocks.append(Paragraph(f"It reads the columns listed below and {_does(found)}.", SCHEMA))
    if said.get("out_of_scope"):
        blocks.append(Paragraph("Out of scope: " + plain(said["out_of_scope"]), FILES["settings"]))
    blocks.append(
        Paragraph(
            "Out of scope in any case: rows of another kind or origin than the table below, questions of cause (what would happen "
            "if a column were changed in the world), and decisions about people by it alone, without the figures by group and "
            "somebody who answers for them."
        )
    )
    if said.get("contact"):
        blocks.append(Paragraph("Questions go to " + plain(said["contact"]) + ".", FILES["settings"]))
    return Section("Purpose and scope", tuple(blocks))


def data(found: Evidence) -> Section:
    """What it learned from."""
    blocks: list[Block] = []
    if found.lineage is None:
        blocks.append(unmeasured("Where its data came from", found.unreadable.get("lineage", "")))
    else:
        line = found.lineage
        window = (
            f", from {day(line.since)} to {day(line.until)}" if line.since is not None and line.until is not None else ", without times"
        )
        blocks.append(Paragraph(f"{count(line.rows)} labelled rows of {code(line.data_source)}{window}.", FILES["lineage"]))
        blocks.append(Paragraph(f"SHA-256 of their content: {code(line.data_sha256)}.", FILES["lineage"]))
    if found.metrics and found.metrics.rows:
        rows = tuple((_USED.get(use, plain(use)), count(n)) for use, n in found.metrics.rows.items())
        blocks.append(Table("What the rows were used for", ("use", "rows"), rows, FILES["metrics"]))
    columns = tuple(_column(feature, found) for feature in found.schema.features)
    blocks.append(Table("Columns that it reads", ("column", "type", "values", "meaning"), columns, SCHEMA))
    label = found.schema.label
    classes = f", one of {', '.join(map(code, label.classes))}" if label.classes else ""
    blocks.append(Paragraph(f"The label is {code(label.name)}{classes}.", SCHEMA))
    protected = ", ".join(map(code, found.schema.protected))
    told = f"Protected columns, by which groups of people are compared: {protected}." if protected else "No column is named as protected."
    blocks.append(Paragraph(told, SCHEMA))
    return Section("Data", tuple(blocks))


_USED = {
    "train": "fitted on before the first validation row",
    "tune": "validation: weights, calibration, choice of student; each scored by fits on earlier rows",
    "held_out": "held out: promises and metrics; no choice looked at them",
    "fitted": "fitted on in the end",
}


def training(found: Evidence) -> Section:
    """How it was made."""
    blocks: list[Block] = []
    blocks += _blend(found)
    blocks += _student(found)
    return Section("How it was trained", tuple(blocks))


def lineage(found: Evidence) -> Section:
    """Where it came from, and how to make it again."""
    line = found.lineage
    if line is None:
        return Section("Lineage", (unmeasured("Its lineage", found.unreadable.get("lineage", "")),))
    facts = {
        "run": line.run,
        "reason": line.reason,
        "code": line.code_commit or DASH,
        "settings (SHA-256)": line.settings_sha256,
        "data (SHA-256)": line.data_sha256,
        "unlabelled data (SHA-256)": line.unlabelled_sha256,
        "seed": line.seed,
        "workers": line.num_workers,
        "Python": line.python,
        "machine": line.machine,
    }
    rows = tuple((key, code(value)) for key, value in facts.items() if value is not None)
    pins = tuple((plain(package), code(version)) for package, version in line.pins.items())
    blocks: list[Block] = [
        Table("Where it came from", ("what", "value"), rows, FILES["lineage"]),
        Table("Packages", ("package", "version"), pins, FILES["lineage"]),
        Paragraph("This trains it again from the same rows and settings, and compares every file (VERSION is its number in the registry):"),
        Commands(
            (
                *((f"git checkout {line.code_commit.rstrip('+')}",) if line.code_commit else ()),
                f"homeostat reproduce {found.model}.yaml VERSION",
            ),
            FILES["lineage"],
        ),
    ]
    if (line.code_commit or "").endswith("+"):
        blocks.append(
            Paragraph("The code had changes that were not committed: checking the commit out does not bring them back.", FILES["lineage"])
        )
    return Section("Lineage", tuple(blocks))


def _does(found: Evidence) -> str:
    label = found.schema.label
    if label.task == "regression":
        return f"estimates the number {code(label.name)} of a row"
    if label.task == "multiclass":
        return f"says which class of {code(label.name)} a row belongs to, with a probability for each"
    positive = label.classes[1] if label.classes else label.positive
    return f"estimates the probability that {code(label.name)} is {code(positive)} for a row"


def _at(confidence: float | None) -> str:
    return f", with {level(confidence)} confidence" if confidence is not None else ""


def _column(feature: Feature, found: Evidence) -> tuple[str, ...]:
    if feature.categories is not None:
        shown = [plain(c) for c in feature.categories[:8]]
        values = ", ".join([*shown, *(["…"] if len(feature.categories) > 8 else [])])
    else:
        values = f"{feature.range[0]:.6g} to {feature.range[1]:.6g}" if feature.range else "any"
    kind = feature.type + (", protected" if feature.name in found.schema.protected else "")
    return code(feature.name), kind, values or DASH, plain(feature.description) or DASH


def _blend(found: Evidence) -> Iterator[Block]:
    blend = found.blend
    if blend is None:
        yield unmeasured("How members were blended", found.unreadable.get("blend", ""))
        return
    yield Paragraph(
        f"The ensemble is a weighted mean of its members' scores. Weights were learned on {count(blend.rows)} validation rows, which "
        "no member had seen when it scored them; tried on rows they were not learned from, "
        + ("the mixture lost to its best member, which has all the weight." if blend.fell_back else "no member alone did better."),
        FILES["blend"],
    )
    members = sorted(blend.weights, key=lambda member: -blend.weights[member])
    rows = tuple((plain(m), number(blend.weights[m]), number(blend.member_losses.get(m))) for m in members)
    loss = "mean squared error" if found.schema.label.task == "regression" else "log loss"
    yield Table("Members", ("member", "weight", f"{loss} alone"), rows, FILES["blend"])
    yield Picture("weights", FILES["blend"])
    yield Paragraph(f"The {loss} of the mean on the same rows is {number(blend.loss)}.", FILES["blend"])
    if found.schema.label.task != "regression":
        yield Paragraph(f"After the mean comes {_CALIBRATIONS[blend.calibration.kind]}.", FILES["blend"])
    if blend.calibration_losses:
        tried = tuple((plain(kind), number(value)) for kind, value in blend.calibration_losses.items())
        yield Table("Calibrations that were tried, cross-fitted", ("kind", "log loss"), tried, FILES["blend"])


_TENTH = 0.1


def _student(found: Evidence) -> Iterator[Block]:
    made = found.distillation
    if made is None:
        yield unmeasured("How the student was taught", found.unreadable.get("distillation", ""))
        return
    more = f" and {count(made.unlabelled_rows)} rows without a label" if made.unlabelled_rows else ""
    verdict = plain(made.verdict)
    yield Paragraph(
        f"The student, which answers easy rows alone, is {count(made.rounds * made.trees_at_once)} trees of at most {count(made.max_depth)} levels, taught by "
        f"{_LESSONS[made.taught_by]}{more}{_at_once(made.trees_at_once)}. " + f"It {verdict}.",
        FILES["distillation"],
    )
    rows = tuple(
        (_LESSONS[t.taught_by] + _at_once(t.trees_at_once), count(t.rounds * t.trees_at_once), number(t.loss), percent(t.gain_kept))
        for t in made.tries
    )
    if rows:
        yield Table("Students that were tried, on later rows", ("taught by", "trees", "loss", "gain kept"), rows, FILES["distillation"])
    yield from _costs(found)


def _at_once(trees: int) -> str:
    return f", {count(trees)} trees a round" if trees > 1 else ""


def _costs(found: Evidence) -> Iterator[Block]:
    """What a call costs by number of rows; the promise is a tenth of the ensemble's time for one."""
    costs = found.costs
    if costs is None:
        yield unmeasured("What scoring costs", found.unreadable.get("costs", ""))
        return
    is_fast = costs.student.seconds[0] <= _TENTH * costs.ensemble.seconds[0]
    yield Paragraph(
        f"For one row the student {'takes at most' if is_fast else 'takes more than'} a tenth of the ensemble's time, on the machine that made it.",
        FILES["costs"],
    )
    sizes = [size for size in costs.student.rows if size in costs.ensemble.rows]
    rows = tuple((count(size), number(costs.student.at(size)), number(costs.ensemble.at(size))) for size in sizes)
    yield Table("Seconds of one call", ("rows", "student", "ensemble"), rows, FILES["costs"])
