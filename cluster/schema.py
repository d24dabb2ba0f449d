"""The feature schema: what a row of this model is.

Owns names, types, ranges, categories, the label and its classes. Knows nothing of HTTP, Ray or models. One
`FeatureSchema` comes from the YAML file (open: categories may be left to the data); `cluster.freeze` closes it over a
training table, and the closed one travels inside the bundle. `cluster.encoder` makes rows into numbers.
"""

from __future__ import annotations

import datetime as dt
import math
import re
import sys
from collections.abc import Mapping, Sequence
from typing import Annotated, Final, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, model_validator

from cluster.errors import DataError

Scalar = str | int | float | bool | None
Columns = Mapping[str, Sequence[Scalar]]
Matrix = npt.NDArray[np.float32]
Floats = npt.NDArray[np.float64]
Task = Literal["binary", "multiclass", "regression"]

OWN_COLUMNS: Final = ("__time__", "event_time")
"""Names of the time in training frames and in histories of the journal: a user's column of such a name would be taken for it."""
_DURATION = re.compile(r"^\s*(\d+(?:\.\d+)?)\s*(s|m|h|d|w)\s*$")
_UNIT_S = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}


def parse_duration(value: object) -> object:
    """Read '90s', '30m', '6h', '1d' or '2w' as a timedelta; anything else is left for pydantic to judge.

    >>> parse_duration("36h")
    datetime.timedelta(days=1, seconds=43200)
    """
    if isinstance(value, str) and (match := _DURATION.match(value)):
        return dt.timedelta(seconds=float(match[1]) * _UNIT_S[match[2]])
    return value


def format_duration(value: dt.timedelta) -> str:
    """Write a timedelta in the largest unit that divides it.

    >>> format_duration(dt.timedelta(days=7))
    '1w'
    """
    seconds = value.total_seconds()
    for unit in ("w", "d", "h", "m"):
        if seconds and seconds % _UNIT_S[unit] == 0:
            return f"{int(seconds // _UNIT_S[unit])}{unit}"
    return f"{seconds:.6f}".rstrip("0").rstrip(".") + "s"


def _not_negative(value: dt.timedelta) -> dt.timedelta:
    if value < dt.timedelta(0):
        raise ValueError("must not be negative")
    return value


def _longer_than_zero(value: dt.timedelta) -> dt.timedelta:
    if value <= dt.timedelta(0):
        raise ValueError("must be longer than 0 s")
    return value


Duration = Annotated[dt.timedelta, BeforeValidator(parse_duration), AfterValidator(_not_negative), PlainSerializer(format_duration)]
Period = Annotated[dt.timedelta, BeforeValidator(parse_duration), AfterValidator(_longer_than_zero), PlainSerializer(format_duration)]


class Section(BaseModel):
    """Base of everything read from YAML: frozen, and a key it does not know is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True, use_attribute_docstrings=True)


class Feature(Section):
    """One column the model reads."""

    name: str
    """The column's name, in tables and in requests."""
    type: Literal["number", "category"]
    """`number` is a float32; `category` is one of a set of strings (integers and booleans are read as strings)."""
    range: tuple[float, float] | None = None
    """Lowest and highest credible number, both included. Others are scored all the same, and counted."""
    categories: tuple[str, ...] | None = None
    """The known categories. Left out, they are learned from the training table."""
    description: str = ""
    """Shown in the OpenAPI page."""

    @model_validator(mode="after")
    def _fits_its_type(self) -> Feature:
        if self.type == "category" and self.range is not None:
            raise ValueError(f"feature '{self.name}' is a category and cannot have a range")
        if self.type == "number" and self.categories is not None:
            raise ValueError(f"feature '{self.name}' is a number and cannot have categories")
        if self.range is not None and self.range[0] > self.range[1]:
            raise ValueError(f"feature '{self.name}': range {self.range} is upside down")
        if self.categories is not None and len(set(self.categories)) != len(self.categories):
            raise ValueError(f"feature '{self.name}' lists a category twice")
        return self


class Label(Section):
    """What is predicted."""

    name: str
    """The label's column in the training table."""
    task: Task = "binary"
    """`binary`, `multiclass` or `regression`."""
    positive: str | int | bool | None = None
    """Binary: the class whose probability is answered. Left out: 1, true, or the rarer class."""
    classes: tuple[str | int | bool, ...] | None = None
    """The classes; binary: negative, positive. Left out, they are learned from the training table."""
    delay: Duration = dt.timedelta(0)
    """How long after a row's time its label is usually known."""
    threshold: float = Field(default=0.5, gt=0, lt=1)
    """Binary: the answer is positive at this probability or above."""

    @model_validator(mode="after")
    def _classes_fit_the_task(self) -> Label:
        if self.task == "regression" or self.classes is None:
            return self
        names = [canonical(c) for c in self.classes]
        if len(names) < 2 or len(set(names)) != len(names) or (self.task == "binary" and len(names) != 2):
            wanted = "two different classes, negative and positive" if self.task == "binary" else "at least two different classes"
            raise ValueError(f"label '{self.name}' is {self.task} and needs {wanted}; found {list(self.classes)}")
        if self.task == "binary" and self.positive is not None and canonical(self.positive) != names[1]:
            raise ValueError(f"label '{self.name}': positive is {self.positive!r}, yet classes name {self.classes[1]!r} last")
        return self


class FeatureSchema(Section):
    """The columns of a model: features in order, label, time, protected attributes."""

    features: tuple[Feature, ...] = Field(min_length=1)
    """In the order of the matrix's columns."""
    label: Label
    time: str | None = None
    """The column that says when a row happened. Left out, a request's arrival is its time."""
    protected: tuple[str, ...] = ()
    """Columns that name groups of people: sent with each row and journaled. They need not be features."""

    @model_validator(mode="after")
    def _names_agree(self) -> FeatureSchema:
        names = [feature.name for feature in self.features]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"features listed twice: {', '.join(twice)}")
        if self.label.name in names:
            raise ValueError(f"the label '{self.label.name}' is also listed as a feature: it would give the answer away")
        if self.time is not None and self.time in names:
            raise ValueError(f"the time column '{self.time}' is also listed as a feature; derive a feature from it instead")
        if barred := {self.time, self.label.name} & set(self.protected):
            raise ValueError(f"'{barred.pop()}' is the time or the label and cannot be protected")
        if len({*names, *self.protected}) != len(names) + len(self.side_columns):
            raise ValueError("a protected column is listed twice")
        return self

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the features, in order."""
        return tuple(feature.name for feature in self.features)

    @property
    def side_columns(self) -> tuple[str, ...]:
        """Protected columns that are not features: sent with a row, journaled, not read by the model."""
        return tuple(name for name in self.protected if name not in self.names)

    @property
    def is_frozen(self) -> bool:
        """True once every category and class is known."""
        known = all(f.categories is not None for f in self.features if f.type == "category")
        return known and (self.label.task == "regression" or self.label.classes is not None)


def canonical(value: Scalar) -> str | None:
    """The string a category value stands for; None is missing.

    >>> canonical(True), canonical(7), canonical(7.0), canonical("B6"), canonical(float("nan"))
    ('true', '7', '7', 'B6', None)
    """
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


_FIRST_S: Final = dt.datetime(2, 1, 1, tzinfo=dt.UTC).timestamp()
_LAST_S: Final = dt.datetime(9999, 1, 1, tzinfo=dt.UTC).timestamp()
"""Times outside, or the ends of their windows, could not be written as dates."""


def parse_time(value: Scalar) -> float:
    """A row's time as seconds since 1970 UTC, from ISO 8601 text (naive is UTC) or a number of seconds.

    Raises
    ------
    ValueError
        For anything else.

    >>> parse_time("2013-01-01T05:00:00")
    1357016400.0
    """
    if isinstance(value, bool) or value is None:
        raise ValueError(f"{value!r} is not a time")
    if isinstance(value, (int, float)):
        if not _FIRST_S <= value < _LAST_S:  # NaN too
            raise ValueError(f"{value!r} is not a number of seconds since 1970, in the years 2 to 9998")
        return float(value)
    moment = dt.datetime.fromisoformat(value)
    seconds = (moment if moment.tzinfo else moment.replace(tzinfo=dt.UTC)).timestamp()
    if not _FIRST_S <= seconds < _LAST_S:
        raise ValueError(f"{value!r} is not in the years 2 to 9998")
    return seconds


def encode_labels(label: Label, values: Sequence[Scalar] | pa.ChunkedArray) -> Floats:
    """Labels as float64 of shape (n,): the class's index, or the number itself for regression; NaN where missing.

    Raises
    ------
    DataError
        For a value that is none of the classes, or no finite number.
    """
    scalars = values.to_pylist() if isinstance(values, pa.ChunkedArray) else values
    if label.task == "regression":
        return np.array([math.nan if v is None else _finite(label, v) for v in scalars], dtype=np.float64)
    if label.classes is None:
        raise DataError(f"the classes of label '{label.name}' are not known yet; freeze the schema first")
    index = {canonical(c): float(i) for i, c in enumerate(label.classes)}
    if set(index) == {"0", "1"}:
        index |= {"false": index["0"], "true": index["1"]}
    result = np.empty(len(scalars), dtype=np.float64)
    for i, value in enumerate(scalars):
        text = canonical(value)
        if text is not None and text not in index:
            raise DataError(f"label {value!r} is none of the classes of '{label.name}': {', '.join(map(repr, label.classes))}")
        result[i] = math.nan if text is None else index[text]
    return result


def _finite(label: Label, value: Scalar) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or abs(value) > sys.float_info.max:
        raise DataError(f"label {value!r} of '{label.name}' must be a finite number")
    return float(value)


def decide(label: Label, scores: Floats | Matrix) -> list[str | int | float | bool]:
    """Turn scores of shape (n, width) into predictions: classes, or numbers for regression."""
    if label.task == "regression":
        return [float(v) for v in scores[:, 0]]
    assert label.classes is not None
    if label.task == "binary":
        negative, positive = label.classes
        return [positive if late else negative for late in (scores[:, 0] >= label.threshold).tolist()]
    return [label.classes[i] for i in scores.argmax(axis=1).tolist()]


def score_width(label: Label) -> int:
    """Scores a row has: one (probability of the positive class, or the number), or one a class for multiclass."""
    return len(label.classes or ()) if label.task == "multiclass" else 1
