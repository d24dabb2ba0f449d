"""The feature schema: what a row of this model is, and how rows become the matrix its graphs read.

Owns names, types, ranges, categories, the label and its classes. Knows nothing of HTTP, Ray or models.
One `FeatureSchema` comes from the YAML file (open: categories may be left to the data); `freeze` closes it
over a training table, and the closed one travels inside the bundle.
"""

from __future__ import annotations

import datetime as dt
import math
import re
import sys
from collections.abc import Mapping, Sequence
from typing import Annotated, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, model_validator

from cluster.errors import DataError, NotEnoughData

Scalar = str | int | float | bool | None
Columns = Mapping[str, Sequence[Scalar]]
Matrix = npt.NDArray[np.float32]
Floats = npt.NDArray[np.float64]
Task = Literal["binary", "multiclass", "regression"]

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


def as_strings(column: pa.ChunkedArray | pa.Array) -> pa.Array:
    """An Arrow column as canonical category strings, nulls kept."""
    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    if pa.types.is_floating(array.type) or pa.types.is_decimal(array.type):
        return pa.array([canonical(value) for value in array.to_pylist()], pa.string())
    return array.cast(pa.string())


class Encoder:
    """Turns columns into the float32 matrix that a bundle's graphs read.

    A number is itself, NaN where missing. A category is its index in `Feature.categories`; an unknown one is
    the index after the last; a missing one is NaN.

    Parameters
    ----------
    schema
        A frozen schema.

    Raises
    ------
    DataError
        When the schema still has unknown categories.

    Examples
    --------
    >>> schema = FeatureSchema(
    ...     features=(Feature(name="miles", type="number"), Feature(name="carrier", type="category", categories=("UA", "B6"))),
    ...     label=Label(name="late", classes=(0, 1)),
    ... )
    >>> Encoder(schema).columns({"miles": [200, None], "carrier": ["B6", "ZZ"]})
    array([[200.,   1.],
           [ nan,   2.]], dtype=float32)
    """

    def __init__(self, schema: FeatureSchema) -> None:
        if not schema.is_frozen:
            raise DataError("the schema has categories or classes that are not known yet; freeze it over a training table first")
        self.schema = schema
        self._codes = {
            f.name: {category: float(code) for code, category in enumerate(f.categories)}
            for f in schema.features
            if f.categories is not None
        }

    def columns(self, columns: Columns) -> Matrix:
        """Encode Python columns, each of n values; returns float32 of shape (n, features)."""
        n = len(columns[self.schema.names[0]])
        matrix = np.empty((n, len(self.schema.features)), dtype=np.float32)
        for j, feature in enumerate(self.schema.features):
            values = columns[feature.name]
            codes = self._codes.get(feature.name)
            if codes is None:
                matrix[:, j] = values  # numpy reads None as NaN
            else:
                unknown = float(len(codes))
                matrix[:, j] = [_code(value, codes, unknown) for value in values]
        return matrix

    def table(self, table: pa.Table) -> Matrix:
        """Encode an Arrow table; returns float32 of shape (rows, features).

        Raises
        ------
        DataError
            When a feature's column is absent, or a number's column holds text.
        """
        matrix = np.empty((table.num_rows, len(self.schema.features)), dtype=np.float32)
        for j, feature in enumerate(self.schema.features):
            matrix[:, j] = self._arrow_column(table, feature)
        return matrix

    def _arrow_column(self, table: pa.Table, feature: Feature) -> npt.NDArray[np.float32]:
        column = column_of(table, feature.name)
        if feature.categories is None:
            return numbers_of(column, feature.name).astype(np.float32)
        strings = as_strings(column)
        codes = pc.index_in(strings, value_set=pa.array(feature.categories, pa.string()))
        codes = pc.fill_null(codes, len(feature.categories)).cast(pa.float32())
        codes = pc.if_else(pc.is_null(strings), pa.scalar(math.nan, pa.float32()), codes)
        return np.asarray(codes.to_numpy(zero_copy_only=False), dtype=np.float32)


def _code(value: Scalar, codes: Mapping[str, float], unknown: float) -> float:
    text = value if isinstance(value, str) else canonical(value)
    return math.nan if text is None else codes.get(text, unknown)


def column_of(table: pa.Table, name: str) -> pa.ChunkedArray:
    """A table's column, or a `DataError` that lists what there is."""
    if name not in table.column_names:
        raise DataError(f"the table has no column '{name}'; it has: {', '.join(table.column_names)}")
    return table.column(name)


def numbers_of(column: pa.ChunkedArray, name: str) -> Floats:
    """An Arrow column as float64 with NaN for nulls.

    Raises
    ------
    DataError
        When the column does not hold numbers.
    """
    if not (
        pa.types.is_integer(column.type)
        or pa.types.is_floating(column.type)
        or pa.types.is_boolean(column.type)
        or pa.types.is_decimal(column.type)
    ):
        raise DataError(f"column '{name}' is declared a number and holds {column.type}; declare it a category or convert it")
    if pa.types.is_boolean(column.type):
        column = column.cast(pa.int8())
    return np.asarray(column.cast(pa.float64()).to_numpy(), dtype=np.float64)


def times_of(table: pa.Table, name: str) -> Floats:
    """A time column as seconds since 1970 UTC, float64 of shape (rows,); naive times are read as UTC.

    Raises
    ------
    DataError
        When the column is absent, holds nulls, or is no time.
    """
    column = column_of(table, name)
    try:
        if pa.types.is_integer(column.type) or pa.types.is_floating(column.type):
            seconds = column.cast(pa.float64())
        else:
            if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
                column = pc.cast(column, pa.timestamp("us", tz="UTC")) if _has_zone(column) else pc.cast(column, pa.timestamp("us"))
            seconds = pc.divide(column.cast(pa.timestamp("us"), safe=False).cast(pa.int64()).cast(pa.float64()), 1e6)
    except pa.ArrowInvalid as error:
        raise DataError(f"column '{name}' cannot be read as a time: {error}") from error
    except pa.ArrowNotImplementedError as error:
        raise DataError(
            f"column '{name}' of type {column.type} is not a time; use a timestamp, an ISO 8601 string or seconds since 1970"
        ) from error
    if seconds.null_count:
        raise DataError(f"column '{name}' is the time and has {seconds.null_count} empty values; every row needs one")
    return np.asarray(seconds.to_numpy(), dtype=np.float64)


def _has_zone(column: pa.ChunkedArray) -> bool:
    first = next((value for value in column.to_pylist()[:1000] if value), "")
    return bool(re.search(r"(Z|[+-]\d\d:?\d\d)$", str(first)))


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
        if not abs(value) <= 1e11:  # NaN too
            raise ValueError(f"{value!r} is not a number of seconds since 1970")
        return float(value)
    moment = dt.datetime.fromisoformat(value)
    return (moment if moment.tzinfo else moment.replace(tzinfo=dt.UTC)).timestamp()


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


def freeze(schema: FeatureSchema, table: pa.Table, *, min_count: int = 20, max_categories: int = 1000) -> FeatureSchema:
    """Close a schema over a training table: learn classes, and the categories that the YAML left open.

    Learned categories seen fewer than `min_count` times are left out, so that a model meets the unknown already
    in training. They are ordered by mean label (mean class index for multiclass, ties by name): then one
    threshold of a tree separates the risky from the safe ones.

    Raises
    ------
    DataError
        When a column is absent or a column has more than `max_categories` frequent values.
    NotEnoughData
        When the label has fewer than two classes.
    """
    label = _freeze_label(schema.label, table)
    y = encode_labels(label, column_of(table, label.name))
    features = tuple(
        f
        if f.type == "number" or f.categories is not None
        else f.model_copy(update={"categories": _categories(table, f, y, min_count, max_categories)})
        for f in schema.features
    )
    return schema.model_copy(update={"label": label, "features": features})


def _freeze_label(label: Label, table: pa.Table) -> Label:
    if label.task == "regression" or label.classes is not None:
        return label
    found = pc.value_counts(column_of(table, label.name)).to_pylist()
    counts = {v["values"]: v["counts"] for v in found if canonical(v["values"]) is not None}
    classes = sorted(counts, key=str)
    if len(classes) < 2:
        raise NotEnoughData(f"label '{label.name}' has {len(classes)} class in this table ({classes}); at least two are needed")
    if any(isinstance(c, float) and not c.is_integer() for c in classes):
        raise DataError(f"label '{label.name}' holds fractions; set schema.label.task to regression")
    classes = [int(c) if isinstance(c, float) else c for c in classes]
    if label.task == "multiclass":
        return label.model_copy(update={"classes": tuple(sorted(classes) if all(isinstance(c, int) for c in classes) else classes)})
    if len(classes) != 2:
        raise DataError(f"label '{label.name}' has {len(classes)} classes and its task is binary; set schema.label.task to multiclass")
    positive = _positive(label, classes, counts)
    return label.model_copy(update={"classes": tuple(sorted(classes, key=lambda c: c == positive)), "positive": positive})


def _positive(label: Label, classes: list[Scalar], counts: Mapping[Scalar, int]) -> Scalar:
    if label.positive is not None:
        for c in classes:
            if canonical(c) == canonical(label.positive):
                return c
        raise DataError(f"schema.label.positive is {label.positive!r}; the classes of '{label.name}' are {classes}")
    if {canonical(c) for c in classes} in ({"0", "1"}, {"false", "true"}):
        return max(classes, key=str)
    return min(classes, key=lambda c: (counts[c], str(c)))


def _categories(table: pa.Table, feature: Feature, y: Floats, min_count: int, max_categories: int) -> tuple[str, ...]:
    strings = as_strings(column_of(table, feature.name))
    labels = pa.array(y, from_pandas=True)  # NaN as null: rows without a label yet count for nothing
    grouped = pa.table({"category": strings, "y": labels}).group_by("category").aggregate([("y", "mean"), ("category", "count")])
    middle = pc.mean(labels).as_py() or 0.0
    rows = [
        r for r in grouped.to_pylist() if r["category"] is not None and r["category_count"] >= min(min_count, max(1, table.num_rows // 50))
    ]
    if len(rows) > max_categories:
        raise DataError(
            f"feature '{feature.name}' has {len(rows)} frequent categories, more than {max_categories}; drop it or group its values"
        )
    if not rows:
        raise DataError(
            f"feature '{feature.name}' has no value that occurs {min_count} times; it is an identifier or nearly empty: drop it from schema.features"
        )
    return tuple(r["category"] for r in sorted(rows, key=lambda r: (middle if r["y_mean"] is None else r["y_mean"], r["category"])))
