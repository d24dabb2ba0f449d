"""`homeostat init`: writes a commented YAML for a table never seen, which trains as it is.

Owns the guesses (task, sizes of windows and gates) and the text. What a column is fit for is judged by
`training.data.columns`; the explanations are those of the settings themselves, so the two cannot drift apart.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import yaml

from cluster import settings, storage
from cluster.arrow import column_of, times_of
from cluster.errors import ConfigError, DataError
from cluster.schema import Section
from training.data import columns, datasets
from training.data.guesses import LabelFacts, fit_sizes, label_facts
from training.material import FEWEST_ROWS

_MANY_GROUPS: Final = 20
_PLAIN: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_./-]*|[0-9]+[smhdw]")

Live = Mapping[str, object]


class Ask(NamedTuple):
    """What the person asked for, and the name it gets."""

    uri: str
    label: str
    time: str | None
    protect: tuple[str, ...]
    name: str
    out: Path


def write_config(
    table_uri: str,
    *,
    label: str,
    time: str | None,
    protect: Sequence[str],
    out: Path,
    name: str | None = None,
    cache: Path = Path("var/data"),
    tell: Callable[[str], object] = lambda _: None,
) -> Path:
    """Look at a table and write the YAML of a model for it; returns `out`.

    Parameters
    ----------
    table_uri
        As in `data.source`.
    label, time, protect
        Columns of the table.
    out
        The file to write; it must not exist.
    name
        The model's name; None derives it from the table's.
    cache
        Folder in which named data sets are kept.
    tell
        Called with each sentence about the table that a person should not have to look for in the file.

    Raises
    ------
    ConfigError
        When the file exists, the name is not allowed, or one column is given two parts.
    DataError
        When the table cannot be read, lacks a column, or has no column that a model could read.
    NotEnoughData
        When the label has fewer than two different values.
    """
    if out.exists():
        raise ConfigError(f"'{out}' exists already; name another file or remove it")
    if label == time or label in protect:
        raise ConfigError(f"column '{label}' is the label; it cannot be the time or protected too")
    table = datasets.read_table(settings.Data(source=table_uri), time=None, cache=cache)
    for wanted in (label, *([time] if time else []), *protect):
        column_of(table, wanted)
    ask = Ask(table_uri, label, time, tuple(dict.fromkeys(protect)), name or _model_name(table_uri), out)
    remarks = _remarks(ask, table)
    text = _compose(ask, table)
    settings.parse(yaml.safe_load(text), name=str(out))  # what cannot be read back is not written
    if not storage.create_exclusive(str(out), text.encode()):
        raise ConfigError(f"'{out}' exists already; name another file or remove it")
    for remark in remarks:
        tell(remark)
    return out


def _model_name(uri: str) -> str:
    """The table's file name made into a name of a model.

    >>> _model_name("s3://lake/2024 Loans.v2.csv.gz")
    'model-2024-loans-v2'
    """
    stem = re.sub(r"(\.(csv|tsv|parquet|pq|gz))+$", "", uri.rstrip("/").rsplit("/", 1)[-1].lower())
    stem = re.sub(r"[^a-z0-9_-]+", "-", stem).strip("-_")
    return (stem if stem[:1].isalpha() else f"model-{stem}".rstrip("-"))[:63]


def _remarks(ask: Ask, table: pa.Table) -> list[str]:
    """What is wrong with the table and does not keep a file from being written; a label that cannot be read does."""
    read = [name for name in table.column_names if name not in (ask.time, *ask.protect)]
    remarks = []
    if commas := {name: example for name in read if (example := columns.comma_number(table.column(name)))}:
        remarks.append(_comma_remark(ask.uri, commas))
        if ask.label in commas:
            raise DataError(remarks[0])
    if empty := [repr(name) for name in read if name != ask.label and table.column(name).null_count == table.num_rows]:
        remarks.append(f"left out, because missing in all {table.num_rows:,} rows: {', '.join(empty)}; fill what should be a feature")
    if (known := _labelled(ask, table)) < FEWEST_ROWS:
        remarks.append(f"too few rows to train on: {known:,} have the label '{ask.label}', at least {FEWEST_ROWS} are needed; bring more")
    return remarks


def _comma_remark(uri: str, commas: Mapping[str, str]) -> str:
    separator = datasets.separator_of(uri)
    found = f" (its separator is {separator!r})" if separator else ""
    names, example = ", ".join(map(repr, commas)), next(iter(commas.values()))
    remedy = f": pandas.read_csv({uri!r}, sep={separator!r}, decimal=',').to_parquet('table.parquet')" if separator else ""
    return (
        f"'{uri}'{found} has numbers with a decimal comma, such as {example!r}, in {names}; they are read as text and left out. "
        f"Write them with a point{remedy}"
    )


def _ready(ask: Ask, table: pa.Table) -> str:
    if (known := _labelled(ask, table)) < FEWEST_ROWS:
        return f"# {known:,} of them have the label, too few to train on: at least {FEWEST_ROWS} are needed."
    return f"# It trains as it is: homeostat train {str(ask.out)!r}"


def _labelled(ask: Ask, table: pa.Table) -> int:
    return int((columns.target_of(table.column(ask.label), regression=False).codes >= 0).sum())


def _compose(ask: Ask, table: pa.Table) -> str:
    """The whole file."""
    facts = label_facts(ask.label, table.column(ask.label))
    sizes = fit_sizes(table.num_rows, times_of(table, ask.time) if ask.time else None)
    target = columns.target_of(table.column(ask.label), regression=facts.task == "regression")
    judged = columns.judge(table, target, skip=frozenset({ask.label, ask.time or ask.label, *ask.protect}))
    if not any(j.feature for j in judged):
        reasons = "; ".join(f"{j.name!r}: {j.note}" for j in judged) or "there is no other column"
        advice = "".join(f". {remark}" for remark in _remarks(ask, table))
        raise DataError(f"no column of '{ask.uri}' can be a feature: {reasons}{advice}")
    lines = [
        f"# A model of {ask.label!r} from {ask.uri!r}, written by `homeostat init` after a look at {table.num_rows:,} rows.",
        _ready(ask, table),
        "# A key behind a hash shows its default; remove the hash to change it.",
        "",
        f"model: {_scalar(ask.name)}",
        "",
        *_section("data", settings.Data(source=ask.uri), {"source": ask.uri}),
        *_schema(ask, table, judged, facts),
    ]
    live: dict[str, Live] = {
        "training": {"num_workers": 1, "validation_share": 0.2},
        "gate": {"holdout": sizes.holdout, "min_rows": sizes.gate_rows},
        "serving": {"host": "127.0.0.1", "port": 8000},
        "monitoring": {"window": sizes.window, "min_rows": sizes.window_rows, "one_false_alarm_in": "180d"},
        "loop": {"on_alarm": True, "train_window": sizes.train_window, "cooldown": sizes.cooldown},
    }
    for section, field in settings.Settings.model_fields.items():
        if isinstance(field.default, Section):
            lines += _section(section, field.default, live.get(section, {}))
    return "\n".join(lines).rstrip() + "\n"


def _schema(ask: Ask, table: pa.Table, judged: list[columns.Judged], facts: LabelFacts) -> list[str]:
    kept = [j for j in judged if j.feature is not None]
    left = [j for j in judged if j.feature is None]
    return [
        "# The columns of the model.",
        "schema:",
        "  # A number's range is what was seen, a quarter wider on both sides: numbers outside are scored and counted.",
        "  # A category's values are learned when training; others are scored as unknown, and counted.",
        "  features:",
        *(_feature(j) for j in kept),
        *(["  # Left out:", *(f"  #   {j.name!r} - {_clean(j.note)}" for j in left)] if left else []),
        *_label(ask.label, facts),
        *_time(table, judged, ask.time),
        *_protected(table, ask.protect),
        "",
    ]


def _feature(judged: columns.Judged) -> str:
    feature = judged.feature
    assert feature is not None
    bounds = f", range: [{feature.range[0]:.15g}, {feature.range[1]:.15g}]" if feature.range else ""
    return f"    - {{name: {_scalar(feature.name)}, type: {feature.type}{bounds}}}  # {_clean(judged.note)}"


def _label(name: str, facts: LabelFacts) -> list[str]:
    lines = ["  label:", f"    name: {_scalar(name)}", f"    task: {facts.task}  # {facts.note}"]
    if facts.task == "binary":
        lines.append(f"    positive: {_scalar(facts.positive)}  # the class whose probability is answered")
        lines.append("    threshold: 0.5  # the answer is positive at this probability or above; lower it to find more of them")
    return [*lines, "    delay: 0s  # how long after a row its label is known, such as 36h or 7d"]


def _time(table: pa.Table, judged: list[columns.Judged], time: str | None) -> list[str]:
    if time is not None:
        return [f"  time: {_scalar(time)}  # when a row happened; the latest rows validate"]
    found = [j.name for j in judged if columns.is_time(j.name, table.column(j.name))]
    hint = f"; it may be {' or '.join(map(repr, found))}" if found else ""
    return [f"  # time: null  # The column that says when a row happened{hint}. Without one, rows are split at random."]


def _protected(table: pa.Table, protect: tuple[str, ...]) -> list[str]:
    lines = [
        "  # Groups of people. Kept out of the model unless they are features too, and journaled with every prediction. Every version's card",
        "  # compares them; limits and mitigation are in the section fairness.",
    ]
    for name in protect:
        groups = len(pc.unique(table.column(name)))
        if groups > _MANY_GROUPS:
            lines.append(f"  # {name!r} has {groups:,} different values, each a group of its own: a column of bands would say more.")
    return [*lines, f"  protected: [{', '.join(_scalar(name) for name in protect)}]"]


def _section(name: str, section: Section, live: Live) -> list[str]:
    """A section with all its keys: those in `live` as they are, the others with their default behind a hash."""
    title = (type(section).__doc__ or "").splitlines()[0]
    body = _fields(section, live, indent=2)
    head = f"{name}:" if any(not line.startswith("#") for line in body) else f"# {name}:"
    return [f"# {title}", head, *body, ""]


def _fields(section: Section, live: Live, *, indent: int) -> list[str]:
    lines: list[str] = []
    for key, field in type(section).model_fields.items():
        value = getattr(section, key)
        if isinstance(value, Section):
            lines += [f"# {' ' * indent}{key}:", *_fields(value, {}, indent=indent + 2)]
            continue
        shown = live[key] if key in live else section.model_dump(mode="json")[key]
        note = f"  # {_clean(field.description)}" if field.description else ""
        lines.append(f"{'' if key in live else '# '}{' ' * indent}{key}: {_scalar(shown)}{note}")
    return lines


def _scalar(value: object) -> str:
    """A value as YAML on one line that reads back as the same, whatever a column is called.

    >>> print(_scalar("carrier"), _scalar("yes"), _scalar("a: b"), _scalar(None), _scalar(True), _scalar([128, 64]))
    carrier "yes" "a: b" null true [128, 64]
    """
    if not isinstance(value, str):
        return json.dumps(value)
    if _PLAIN.fullmatch(value) and yaml.safe_load(value) == value:
        return value
    return yaml.safe_dump(value, default_style='"', allow_unicode=True, width=10**9).strip()


def _clean(text: str) -> str:
    return " ".join(text.split())
