"""The surrogate as a bundle keeps it: rules in words, how faithful they are, and which of them a row meets. Pure.

`training.explaining.surrogate` fits the tree and writes `evaluation/explanation.json`; whoever explains a row reads it here.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import msgspec
import numpy as np

from cluster.errors import BundleError
from cluster.records import Record
from cluster.schema import Feature, FeatureSchema, Matrix

NAME: Final = "evaluation/explanation.json"
"""The file of a bundle whose part `surrogate` this is."""
MISSING: Final = "(missing)"
"""How an absent value is called where values have names."""
UNKNOWN: Final = "(unknown)"
"""How a category that the schema does not know is called."""


class Condition(Record, frozen=True, kw_only=True):
    """What a rule asks of one feature: a known value in (lower, upper], or one of the categories; or that it is missing."""

    feature: str
    lower: float | None = None
    upper: float | None = None
    categories: list[str] | None = None
    """For a category; in order of their mean label."""
    known: bool = True
    """Whether a known value can meet it."""
    missing: bool = False
    """Whether a missing value meets it."""


class Rule(Record, frozen=True, kw_only=True):
    """A leaf of the tree."""

    conditions: list[Condition]
    """All of them must hold; none in a tree without a split."""
    scores: list[float]
    """What it answers: of the positive class, of each class, or the number."""
    decision: str
    share: float
    """Of all rows."""


class Surrogate(Record, frozen=True, kw_only=True):
    """The tree, read."""

    depth: int
    fitted_rows: int
    checked_rows: int
    r2: float | None
    """Share of the scores' variance that it explains on the checked rows; None when the scores don't vary."""
    agreement: float | None
    """Share of the checked rows that it decides as the scorer does; None for regression."""
    constant_agreement: float | None
    """What always giving the scorer's commonest decision would reach."""
    rules: list[Rule]


class _Measured(msgspec.Struct):
    """The file's part that is read here; the others are training's."""

    surrogate: Surrogate


def read_surrogate(folder: Path) -> Surrogate:
    """The surrogate in a bundle's folder.

    Raises
    ------
    BundleError
        When the bundle has none, or another form of it.
    """
    try:
        return msgspec.json.decode((folder / NAME).read_bytes(), type=_Measured).surrogate
    except OSError as error:
        raise BundleError(f"the bundle in '{folder}' has no {NAME}, where the surrogate's rules are; train it anew") from error
    except msgspec.MsgspecError as error:
        raise BundleError(f"{NAME} in '{folder}' cannot be read: {error}") from error


def rule_of(surrogate: Surrogate, schema: FeatureSchema, row: Matrix) -> Rule:
    """The one rule that an encoded row, float32 of shape (features,), meets.

    Raises
    ------
    BundleError
        When the rules are not those of a tree over this schema, so that none is met.
    """
    places = {feature.name: j for j, feature in enumerate(schema.features)}
    for rule in surrogate.rules:
        if all(
            c.feature in places and meets(c, schema.features[places[c.feature]], float(row[places[c.feature]])) for c in rule.conditions
        ):
            return rule
    raise BundleError(f"no rule of the surrogate is met by a row of {len(row)} features: its rules are not of this bundle's schema")


def meets(condition: Condition, feature: Feature, value: float) -> bool:
    """Whether an encoded value of a feature meets a condition.

    >>> wind = Feature(name="wind", type="number")
    >>> [meets(Condition(feature="wind", upper=9.0, missing=True), wind, value) for value in (9.0, 9.5, float("nan"))]
    [True, False, True]
    """
    if np.isnan(value):
        return condition.missing
    if not condition.known:
        return False
    if condition.categories is not None:
        names = [*(feature.categories or ()), UNKNOWN]
        return names[min(int(value), len(names) - 1)] in condition.categories
    return (condition.lower is None or condition.lower < value) and (condition.upper is None or value <= condition.upper)


def describe(condition: Condition, *, most: int = 12) -> str:
    """A condition in words; a longer list of categories is cut at `most` and ends in `…`.

    >>> describe(Condition(feature="wind", lower=3.5, upper=9.0, missing=True))
    '3.5 < wind ≤ 9 or missing'
    >>> describe(Condition(feature="carrier", categories=["UA", "B6"]))
    'carrier in {UA, B6}'
    """
    name = condition.feature
    if not condition.known:
        return f"{name} is missing"
    if condition.categories is not None:
        shown = [*condition.categories[:most], *(["…"] if len(condition.categories) > most else [])]
        text = f"{name} in {{{', '.join(shown)}}}"
    elif condition.lower is None and condition.upper is None:
        return f"{name} is known"
    elif condition.lower is None:
        text = f"{name} ≤ {condition.upper:.4g}"
    elif condition.upper is None:
        text = f"{name} > {condition.lower:.4g}"
    else:
        text = f"{condition.lower:.4g} < {name} ≤ {condition.upper:.4g}"
    return text + (" or missing" if condition.missing else "")
