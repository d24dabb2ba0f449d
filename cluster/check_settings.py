"""The section of a model's YAML that lists checks of its behaviour, and what of it a schema can refuse.

`monitoring.checks` runs them. Kinds after Ribeiro et al. 2020 (ACL, "Beyond Accuracy: Behavioral Testing of NLP Models
with CheckList"): invariance, direction (here `monotonic`), and minimal functionality (here `range` and `row`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Annotated, Final, Literal

from pydantic import Field, model_validator

from cluster.schema import Feature, FeatureSchema, Label, Scalar, Section, canonical

Condition = Scalar | tuple[Scalar, ...]
"""One value; for a category also a list of them; for a number [low, high], both included, null where a side is open."""
Class = str | int | bool
Bounds = tuple[float, float]


class _Check(Section):
    """What every check has."""

    name: str = Field(min_length=1)
    """Shown in reports; each check has one of its own."""


class _OverRows(_Check):
    """A check that is tried on rows of the table."""

    where: dict[str, Condition] = Field(default={})
    """Only rows like this are tried. A feature and a value; for a category also a list; for a number [low, high], null where a side is open."""
    share: float = Field(default=1.0, gt=0, le=1)
    """It must hold on at least this share of the rows tried."""
    min_rows: int = Field(default=50, ge=1)
    """With fewer rows to try it is not judged, and keeps nobody out."""


class Invariance(_OverRows):
    """Changing these features hardly changes the score."""

    kind: Literal["invariance"]
    features: tuple[str, ...] = Field(min_length=1)
    """Changed together: a category to another one, a number by up to `by` of itself. What is missing stays missing."""
    by: float = Field(default=0.1, gt=0)
    """Share of itself that a number is raised or lowered by, at most; it stays within the feature's range."""
    tolerance: float = Field(default=0.05, ge=0)
    """The score may move by this much."""
    of: Class | None = None
    """Multiclass: only the score of this class counts; left out, every class's does."""


class Monotonic(_OverRows):
    """Raising a number never lowers the score (`up`), or never raises it (`down`)."""

    kind: Literal["monotonic"]
    feature: str
    """The number that is raised; rows where it is missing are not tried."""
    direction: Literal["up", "down"]
    """Where the score may go."""
    step: float | None = Field(default=None, gt=0)
    """Raised by once, twice and three times this, within the feature's range; left out, half a standard deviation."""
    tolerance: float = Field(default=0.0, ge=0)
    """The score may go the other way by this much."""
    of: Class | None = None
    """Multiclass: the class whose score is meant."""


class Range(_OverRows):
    """On rows like these the score lies within bounds, or the decision is this one."""

    kind: Literal["range"]
    score: Bounds | None = None
    """Lowest and highest score allowed."""
    decision: Class | None = None
    """The class that must be answered."""
    of: Class | None = None
    """Multiclass: the class whose score is meant."""

    @model_validator(mode="after")
    def _expects_one_thing(self) -> Range:
        _expects_one(self.score, self.decision)
        return self


class Row(_Check):
    """One example row with the answer it must get."""

    kind: Literal["row"]
    row: dict[str, Scalar] = Field(min_length=1)
    """Features and values; those left out are missing."""
    score: Bounds | None = None
    """Lowest and highest score allowed."""
    decision: Class | None = None
    """The class that must be answered."""
    of: Class | None = None
    """Multiclass: the class whose score is meant."""

    @model_validator(mode="after")
    def _expects_one_thing(self) -> Row:
        _expects_one(self.score, self.decision)
        return self


Check = Annotated[Invariance | Monotonic | Range | Row, Field(discriminator="kind")]
"""One check."""
KINDS: Final[Mapping[str, type[Section]]] = MappingProxyType({"invariance": Invariance, "monotonic": Monotonic, "range": Range, "row": Row})
"""The section of each kind."""


def check_names(checks: Sequence[Check], schema: FeatureSchema) -> None:
    """Refuse checks that do not fit the schema; an open one is asked only what it knows.

    Raises
    ------
    ValueError
        Naming each fault and what is allowed; from a validator, `cluster.settings.parse` makes a ConfigError of it.

    Examples
    --------
    >>> schema = FeatureSchema(features=(Feature(name="miles", type="number"),), label=Label(name="late", classes=(0, 1)))
    >>> check_names((Monotonic(name="far", kind="monotonic", feature="mile", direction="up"),), schema)
    Traceback (most recent call last):
    ...
    ValueError: check 'far': 'mile' is no feature; allowed: miles
    """
    if found := problems(checks, schema):
        raise ValueError("; ".join(found))


def problems(checks: Sequence[Check], schema: FeatureSchema, *, categories: bool = True) -> list[str]:
    """What of the checks does not fit the schema, a sentence each.

    `categories=False` takes any category: one that was learned from an older table may be too rare in this one.
    """
    names = [check.name for check in checks]
    twice = sorted({name for name in names if names.count(name) > 1})
    found = [f"two checks are named '{name}'; give each a name of its own" for name in twice]
    for check in checks:
        found += [f"check '{check.name}': {fault}" for fault in _faults(check, schema, categories=categories)]
    return found


def shown(value: Condition) -> str:
    """A condition as the YAML has it, on one line."""
    return "[" + ", ".join("null" if v is None else str(v) for v in value) + "]" if isinstance(value, tuple) else repr(value)


def _expects_one(score: Bounds | None, decision: Class | None) -> None:
    if (score is None) == (decision is None):
        raise ValueError("needs either `score: [low, high]` or `decision: class`")
    if score is not None and not score[0] <= score[1]:
        raise ValueError(f"score {list(score)} is upside down; allowed: [low, high]")


def _faults(check: Check, schema: FeatureSchema, *, categories: bool) -> Iterator[str]:
    known = {feature.name: feature for feature in schema.features}
    values: dict[str, Condition] = dict(check.row) if isinstance(check, Row) else dict(check.where)
    asked = check.features if isinstance(check, Invariance) else (check.feature,) if isinstance(check, Monotonic) else ()
    for name in (*asked, *values):
        if name not in known:
            yield f"'{name}' is no feature{_hint(name, schema)}; allowed: {', '.join(known)}"
    for name, value in values.items():
        if name in known:
            yield from _value_faults(known[name], value, single=isinstance(check, Row), categories=categories)
    if isinstance(check, Monotonic) and check.feature in known and known[check.feature].type == "category":
        numbers = ", ".join(f.name for f in schema.features if f.type == "number")
        yield f"'{check.feature}' is a category and cannot be raised; allowed: {numbers or 'none of the features is a number'}"
    yield from _answer_faults(check, schema.label)


def _hint(name: str, schema: FeatureSchema) -> str:
    return ": the model does not read it, so changing it changes nothing" if name in schema.side_columns else ""


def _value_faults(feature: Feature, value: Condition, *, single: bool, categories: bool) -> Iterator[str]:
    listed = value if isinstance(value, tuple) else (value,)
    if feature.type == "number":
        if not all(v is None or (isinstance(v, (int, float)) and not isinstance(v, bool)) for v in listed):
            yield f"'{feature.name}' is a number; allowed: a number{'' if single else ', [low, high]'} or null; found {shown(value)}"
        elif isinstance(value, tuple) and not _is_interval(value):
            yield f"'{feature.name}' needs [low, high], low first, null where a side is open; found {shown(value)}"
    elif feature.categories is not None and categories:
        wrong = [v for v in listed if (text := canonical(v)) is not None and text not in feature.categories]
        if wrong or not listed:
            yield f"'{feature.name}' is never {shown(tuple(wrong))}; allowed: {', '.join(feature.categories)}"


def _is_interval(value: tuple[Scalar, ...]) -> bool:
    if len(value) != 2 or value == (None, None):
        return False
    low, high = value
    return low is None or high is None or float(low) <= float(high)


def _answer_faults(check: Check, label: Label) -> Iterator[str]:
    expects_score = isinstance(check, (Range, Row)) and check.score is not None
    if label.task == "multiclass" and check.of is None and (expects_score or isinstance(check, Monotonic)):
        yield f"'{label.name}' is multiclass: say `of: class`, the class whose score is meant{_classes(label)}"
    if label.task != "multiclass" and check.of is not None:
        yield f"`of` is for multiclass; '{label.name}' is {label.task} and has one score a row"
    decision = check.decision if isinstance(check, (Range, Row)) else None
    if label.task == "regression" and decision is not None:
        yield f"'{label.name}' is a number and nothing is decided; use `score: [low, high]`"
    elif label.classes is not None:
        names = {canonical(c) for c in label.classes}
        for asked in (decision, check.of if label.task == "multiclass" else None):
            if asked is not None and canonical(asked) not in names:
                yield f"{asked!r} is no class of '{label.name}'{_classes(label)}"
    if expects_score and label.task != "regression" and isinstance(check, (Range, Row)) and check.score is not None:
        low, high = check.score
        if low > 1 or high < 0:
            yield f"score {shown(check.score)} is never met: scores are probabilities, between 0 and 1"


def _classes(label: Label) -> str:
    return "" if label.classes is None else f"; allowed: {', '.join(map(str, label.classes))}"
