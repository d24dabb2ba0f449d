"""Rows that arrive already parsed: by column, as records, or by position; checked against the feature schema.

For protocols that read their own bytes. Good rows are checked and typed in one pass of compiled code; a slow
pass only explains what is wrong, in the words of `serve_apps.protocols.rules`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

import msgspec

from cluster.errors import BadRequestShape, MissingColumn, UnknownColumn, WrongType
from cluster.schema import FeatureSchema, Scalar
from serve_apps.protocols.plane import DecodedRows
from serve_apps.protocols.rules import MOST_DETAILS, Problem, RowRules, check_count, check_model, detail_of, kind_of, refuse


class ColumnsReader:
    """Checks rows of one schema; the bytes were somebody else's work.

    Not a number (NaN) counts as missing: binary formats have no other word for it.

    Parameters
    ----------
    schema
        A frozen schema.
    model
        The name that a request may mention.
    max_rows
        Most rows in a request.
    """

    def __init__(self, schema: FeatureSchema, *, model: str, max_rows: int) -> None:
        self.schema: Final = schema
        self.model: Final = model
        self.max_rows: Final = max_rows
        self._rules = RowRules(schema)
        self.known: Final = self._rules.known
        """All columns that a row may have: features, protected columns, time."""
        self.categories: Final = frozenset(schema.side_columns).union(f.name for f in schema.features if f.type == "category")
        """Columns that hold anything but are compared as text."""
        self._columns = self._rules.struct("Columns", lambda kind: list[kind])  # type: ignore[valid-type] # made at run time
        self._records: Any = list[self._rules.struct("Record")]  # type: ignore[misc] # likewise

    def check_model(self, model: str | None) -> None:
        """Raise `UnknownModel` unless a request names no model, or this one."""
        check_model(model, self.model)

    def check_count(self, rows: int) -> None:
        """Raise `NoRows` or `TooManyRows`; for decoders that know the count before they have the values."""
        check_count(rows, self.max_rows)

    def read(self, columns: Mapping[str, Sequence[Scalar]], *, now: float) -> DecodedRows:
        """Read columns by name.

        Parameters
        ----------
        columns
            Lists or tuples of one length: every feature and protected column; the time column may be left out.
        now
            Event time of rows that bring none, seconds since 1970 UTC.

        Raises
        ------
        BadRequestShape
            When columns are no lists, or differ in length.
        NoRows, TooManyRows
        InvalidRows
            As `MissingColumn`, `UnknownColumn`, `WrongType`, `NotFinite` or `BadTime`; `details` lists up to 20 places.
        """
        self.check_names(columns)
        rows = _length(columns)
        self.check_count(rows)
        found = msgspec.structs.astuple(self._fit(columns, rows))
        if self.schema.time is not None and found[-1] is None:
            found = (*found[:-1], [None] * rows)
        return self._rules.decoded(found, now=now)

    def read_records(self, records: Sequence[object], *, now: float) -> DecodedRows:
        """Read rows one by one: all are objects of column: value, or all are lists by position (`read_matrix`).

        Raises
        ------
        NoRows, TooManyRows
        InvalidRows
            See `read`.
        """
        self.check_count(len(records))
        if all(isinstance(record, list) for record in records):
            return self.read_matrix(records, now=now)  # type: ignore[arg-type] # what a list holds is checked there
        columns = list(zip(*map(msgspec.structs.astuple, self._fit_records(records)), strict=True))
        return self._rules.decoded(columns, now=now)

    def read_matrix(self, values: Sequence[Sequence[Scalar]], *, now: float) -> DecodedRows:
        """Read rows by position: the features in order, then protected columns, then the time.

        The time may be left out, and so may the protected columns with it: they are null then.

        Raises
        ------
        NoRows, TooManyRows
        InvalidRows
            See `read`.
        """
        self.check_count(len(values))
        features, known = len(self.schema.features), self.known
        widths = sorted({features, len(self._rules.sent), len(known)})
        for i, row in enumerate(values):
            if not isinstance(row, (list, tuple)):
                message = f"row {i} is {kind_of(row)}, not a list of values"
                raise WrongType(message, details=[detail_of(WrongType, i, None, row, "a list of values")])
            if len(row) != len(values[0]) or len(row) not in widths:
                allowed = f"{' or '.join(map(str, widths))} values by position: {', '.join(known)}; in every row as many"
                message = f"row {i} has {len(row)} values; allowed: {allowed}"
                raise WrongType(message, details=[detail_of(WrongType, i, None, len(row), allowed)])
        columns: dict[str, Sequence[Scalar]] = dict(zip(known, zip(*values, strict=True), strict=False))
        missing = [None] * len(values)
        return self.read({name: columns.get(name, missing) for name in known}, now=now)

    def check_names(self, columns: Collection[str]) -> None:
        """Raise `MissingColumn` or `UnknownColumn` unless these are the columns of the schema."""
        known = self.known
        problems: list[Problem] = []
        for name in self._rules.sent:
            if name not in columns:
                message = f"column '{name}' is absent; send nulls if its values are missing"
                problems.append((MissingColumn, message, detail_of(MissingColumn, None, name, None, list(known))))
        for name in columns:
            if len(problems) >= MOST_DETAILS:
                break
            if name not in known:
                message = f"there is a column '{name}', which the schema lacks"
                problems.append((UnknownColumn, message, detail_of(UnknownColumn, None, name, None, list(known))))
        refuse(problems)

    def _fit(self, columns: Mapping[str, Sequence[Scalar]], rows: int) -> Any:
        try:
            return msgspec.convert(columns, self._columns)
        except msgspec.ValidationError:
            columns = {name: list(map(_without_nan, values)) for name, values in columns.items()}
        try:
            return msgspec.convert(columns, self._columns)
        except msgspec.ValidationError as error:
            self._rules.explain({name: values[i] for name, values in columns.items()} for i in range(rows))
            raise BadRequestShape(f"the columns do not fit: {error}") from error

    def _fit_records(self, records: Sequence[object]) -> Any:
        try:
            return msgspec.convert(records, self._records)
        except msgspec.ValidationError:
            records = [{name: _without_nan(v) for name, v in row.items()} if isinstance(row, dict) else row for row in records]
        try:
            return msgspec.convert(records, self._records)
        except msgspec.ValidationError as error:
            self._rules.explain(records)
            raise BadRequestShape(f"the rows do not fit: {error}") from error


def _length(columns: Mapping[str, Sequence[Scalar]]) -> int:
    lengths: dict[int, str] = {}
    for name, values in columns.items():
        if not isinstance(values, (list, tuple)):
            raise BadRequestShape(f"column '{name}' is {kind_of(values)}, not a list of values")
        lengths.setdefault(len(values), name)
    if len(lengths) > 1:
        (a, first), (b, second) = list(lengths.items())[:2]
        raise BadRequestShape(f"columns differ in length: '{first}' has {a} values, '{second}' has {b}")
    return next(iter(lengths))


def _without_nan(value: Any) -> Any:
    return None if isinstance(value, float) and value != value else value
