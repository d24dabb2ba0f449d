"""The rules of a row: what each column may hold, and the words for a row that breaks them.

Every protocol's decoder is compiled from these rules; when it refuses, `RowRules.explain` says what is wrong and
where. So the same mistake reads the same, whichever protocol it came by. Knows nothing of bytes.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Annotated, Any, Final

import msgspec
import numpy as np

from cluster.errors import BadTime, InvalidRows, MissingColumn, NoRows, NotFinite, TooManyRows, UnknownColumn, UnknownModel, WrongType
from cluster.records import Int64
from cluster.schema import FeatureSchema, Scalar, parse_time
from serve_apps.protocols.plane import DecodedRows

MOST_DETAILS: Final = 20
"""Problems that one error lists."""
_FLOAT32_MAX: Final = float(np.finfo(np.float32).max)
_FLOAT64_MAX: Final = float(np.finfo(np.float64).max)
_Number = Annotated[float, msgspec.Meta(ge=-_FLOAT32_MAX, le=_FLOAT32_MAX)] | None
_Finite = Annotated[float, msgspec.Meta(ge=-_FLOAT64_MAX, le=_FLOAT64_MAX)]
_Category = str | Int64 | _Finite | bool | None
_Time = str | _Finite | None
_TIME: Final = "ISO 8601 text or seconds since 1970"

Problem = tuple[type[InvalidRows], str, dict[str, object]]
"""An error's class, message and detail."""


class RowRules:
    """The rules of one schema's rows.

    Parameters
    ----------
    schema
        A frozen schema.
    """

    def __init__(self, schema: FeatureSchema) -> None:
        self.schema = schema
        self.sent = (*schema.names, *schema.side_columns)
        """The columns that every row has, in the order of rows by position."""
        self.known = (*self.sent, schema.time) if schema.time else self.sent
        """All columns that a row may have; the time comes last, and may be left out."""
        self._numbers = frozenset(feature.name for feature in schema.features if feature.type == "number")

    def struct(self, name: str, of: Callable[[Any], Any] = lambda kind: kind) -> type[Any]:
        """A struct with a field for each of `known`; `of` makes a field's type of a value's."""
        fields: list[tuple[str, Any] | tuple[str, Any, Any]] = [
            (f"c{j}", of(_Number if column in self._numbers else _Category), msgspec.field(name=column))
            for j, column in enumerate(self.sent)
        ]
        if self.schema.time is not None:
            fields.append((f"c{len(fields)}", of(_Time) | None, msgspec.field(default=None, name=self.schema.time)))
        return msgspec.defstruct(name, fields, forbid_unknown_fields=True, frozen=True, gc=False)

    def times(self, values: Sequence[Scalar], now: float) -> list[float]:
        """Event times in seconds since 1970 UTC; `now` where there is none.

        Raises
        ------
        BadTime
            Naming the first row whose time cannot be read.
        """
        try:
            return [now if value is None else parse_time(value) for value in values]
        except ValueError:
            i, value = next((i, value) for i, value in enumerate(values) if value is not None and not _is_readable(value))
            message = f"row {i}, column '{self.schema.time}': {shown(value)} is not a time; allowed: {_TIME}"
            raise BadTime(message, details=[detail_of(BadTime, i, self.schema.time, value, _TIME)]) from None

    def decoded(self, columns: Sequence[Sequence[Scalar]], *, now: float) -> DecodedRows:
        """Checked columns, in the order of `known`, as the data plane takes them."""
        times = self.times(columns[-1], now) if self.schema.time is not None else [now] * len(columns[0])
        return DecodedRows({name: list(columns[j]) for j, name in enumerate(self.sent)}, times)

    def explain(self, rows: Iterable[object]) -> None:
        """Raise the first problem of these rows, with up to `MOST_DETAILS` in its details; return when there is none."""
        problems: list[Problem] = []
        for i, row in enumerate(rows):
            problems.extend(itertools.islice(self._problems(i, row), MOST_DETAILS - len(problems)))
            if len(problems) >= MOST_DETAILS:
                break
        refuse(problems)

    def _problems(self, i: int, row: object) -> Iterator[Problem]:
        if not isinstance(row, dict):
            message = f"row {i} is {kind_of(row)}, not an object of column: value"
            yield WrongType, message, detail_of(WrongType, i, None, row, "an object")
            return
        for name in self.sent:
            if name not in row:
                message = f"row {i} lacks column '{name}'; send null if its value is missing"
                yield MissingColumn, message, detail_of(MissingColumn, i, name, None, list(self.known))
        for name in row:
            if name not in self.known:
                message = f"row {i} has column '{name}', which the schema lacks"
                yield UnknownColumn, message, detail_of(UnknownColumn, i, name, row[name], list(self.known))
        for name, allowed, fits in self._checks():
            value = row.get(name)
            if _is_huge(value, number=name in self._numbers):
                message = f"row {i}, column '{name}': the number is infinite or too large; send null for a missing value"
                yield NotFinite, message, detail_of(NotFinite, i, name, value, allowed)
            elif not fits(value):
                message = f"row {i}, column '{name}': {shown(value)} is {kind_of(value)}; allowed: {allowed}"
                yield WrongType, message, detail_of(WrongType, i, name, value, allowed)

    def _checks(self) -> Iterator[tuple[str, str, Callable[[object], bool]]]:
        for feature in self.schema.features:
            if feature.type == "number":
                yield feature.name, "a number, or null for missing", _is_number
            else:
                yield feature.name, "a string, integer or boolean, or null for missing", _is_scalar
        for name in self.schema.side_columns:
            yield name, "a string, number or boolean, or null for missing", _is_scalar
        if self.schema.time is not None:
            yield self.schema.time, _TIME, _is_time


def refuse(problems: Sequence[Problem]) -> None:
    """Raise the first of these problems, if any, with up to `MOST_DETAILS` of them in its details."""
    if problems:
        kind, message, _ = problems[0]
        more = f" (and {len(problems) - 1} more, see details)" if len(problems) > 1 else ""
        raise kind(message + more, details=[detail for _, _, detail in problems[:MOST_DETAILS]])


def check_model(found: str | None, model: str) -> None:
    """Raise `UnknownModel` unless a request names no model, or this one."""
    if found is not None and found != model:
        raise UnknownModel(f"model {found!r} is not served here; this service answers for '{model}'")


def check_count(rows: int, max_rows: int) -> None:
    """Raise `NoRows` or `TooManyRows`."""
    if rows == 0:
        raise NoRows("the request holds no rows; send at least one")
    if rows > max_rows:
        raise TooManyRows(f"the request holds {rows} rows; at most {max_rows} are answered at once. Split it")


def detail_of(kind: type[InvalidRows], row: int | None, column: str | None, found: object, allowed: object) -> dict[str, object]:
    """The facts of a problem for a program; `row` is None where a whole column is meant."""
    return {"problem": kind.__name__, "row": row, "column": column, "found": shown(found), "allowed": allowed}


def shown(value: object) -> object:
    """The value as an error may repeat it: short, and JSON can hold it."""
    if value is None or (isinstance(value, int) and abs(value) < 2**63) or (isinstance(value, float) and math.isfinite(value)):
        return value
    return repr(value)[:80]


def kind_of(value: object) -> str:
    """The kind of a JSON value, in words."""
    names: Mapping[type, str] = {
        dict: "an object",
        list: "a list",
        str: "text",
        bool: "a boolean",
        int: "a number",
        float: "a number",
        type(None): "null",
    }
    return names.get(type(value), type(value).__name__)


def _is_huge(value: object, *, number: bool) -> bool:
    """Whether a value is a number that its column cannot hold: an infinite one, a float32 overflow, or no int64 where a category is due."""
    if number or isinstance(value, float):
        return isinstance(value, (int, float)) and abs(value) > (_FLOAT32_MAX if number else _FLOAT64_MAX)
    return isinstance(value, int) and not -(2**63) <= value < 2**63


def _is_readable(time: Scalar) -> bool:
    try:
        parse_time(time)
    except ValueError:
        return False
    return True


def _is_time(value: object) -> bool:
    return _is_scalar(value) and not isinstance(value, bool)


def _is_number(value: object) -> bool:
    return value is None or (isinstance(value, (int, float)) and not isinstance(value, bool) and not math.isnan(value))


def _is_scalar(value: object) -> bool:
    return value is None or isinstance(value, (str, int, float, bool))
