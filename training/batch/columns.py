"""A block of rows as a matrix, fast: whole columns, never a value at a time; and the rows that do not fit, with the reason.

Knows the feature schema and Arrow. Categories are looked up once a distinct value, by `cluster.encoder`, so that a
table's rows get the codes that a request's would.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from cluster.arrow import as_strings
from cluster.encoder import Encoder
from cluster.errors import MissingColumn, WrongType
from cluster.schema import Feature, FeatureSchema, Floats, Matrix, canonical

NUMBER: Final = "a finite number, or empty for missing"
CATEGORY: Final = "text, an integer or a boolean, or empty for missing"
_NUMBER_TYPES: Final = "integers, floats, decimals or booleans"
_CATEGORY_TYPES: Final = "text, integers, floats, decimals, booleans, dates or times"
_IS_NUMBER: Final = (pa.types.is_integer, pa.types.is_floating, pa.types.is_decimal, pa.types.is_boolean, pa.types.is_null)
_IS_TEXT: Final = (pa.types.is_string, pa.types.is_large_string)
_IS_CATEGORY: Final = (*_IS_NUMBER, *_IS_TEXT, pa.types.is_temporal)
_NUMERAL: Final = r"^\s*[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?\s*$"
_INFINITE: Final = r"(?i)^\s*[+-]?inf(inity)?\s*$"
_SHOWN: Final = 80


class Reject(NamedTuple):
    """A row that does not fit; the first column, in the schema's order, says why."""

    row: int
    """Within the block."""
    reason: str
    """Name of the error that a request with this row would get."""
    column: str | None
    found: str
    """The value, at most 80 characters of it."""
    allowed: str


class Block(NamedTuple):
    """A block of rows, read."""

    matrix: Matrix
    """float32 of shape (n, features): all rows, those that do not fit with NaN in place of what does not."""
    rejects: dict[int, Reject]
    """By row."""
    unknown: dict[str, int]
    """Rows with a category the model does not know, by column; columns without are left out."""
    out_of_range: dict[str, int]
    """Rows outside `Feature.range`, likewise."""


class ColumnReader:
    """Reads blocks of one schema.

    Parameters
    ----------
    schema
        A frozen schema.
    is_text
        Every column is text, as in CSV: numerals are parsed, and a category is what training would have taken it for.
    """

    def __init__(self, schema: FeatureSchema, *, is_text: bool = False) -> None:
        self.schema, self.is_text = schema, is_text
        self._codes = {f.name: _Codes(schema, f, is_text=is_text) for f in schema.features if f.type == "category"}

    def read(self, columns: Mapping[str, pa.Array]) -> Block:
        """Read the features of n rows; other columns are not looked at."""
        n = len(columns[self.schema.names[0]])
        block = Block(np.empty((n, len(self.schema.features)), dtype=np.float32), {}, {}, {})
        for j, feature in enumerate(self.schema.features):
            column = columns[feature.name]
            if feature.type == "number":
                values = self._numbers(block, feature, column)
                _count_outside(block, feature, values)
            else:
                values = self._codes[feature.name].encode(block, column)
            block.matrix[:, j] = values
        return block

    def _numbers(self, block: Block, feature: Feature, column: pa.Array) -> npt.NDArray[np.float32]:
        parsed = _parse(block, feature.name, column) if self.is_text else column
        with np.errstate(over="ignore"):  # what overflows is found below
            values = _floats(parsed).astype(np.float32)
        if np.isinf(values).any():
            rows = np.flatnonzero(np.isinf(values))
            _reject(block, rows, "NotFinite", feature.name, column, NUMBER)
            values[rows] = math.nan
        return values


class _Codes:
    """The codes of one category's values, looked up once a distinct value."""

    def __init__(self, schema: FeatureSchema, feature: Feature, *, is_text: bool) -> None:
        alone = FeatureSchema(features=(feature,), label=schema.label)
        self._name, self._encoder = feature.name, Encoder(alone)
        self._known = frozenset(feature.categories or ())
        self._unknown, self._is_text = float(len(self._known)), is_text
        self._distinct: pa.Array | None = None
        self._table = np.zeros(0, dtype=np.float32)

    def encode(self, block: Block, column: pa.Array) -> npt.NDArray[np.float32]:
        """Codes as float32 of shape (n,), NaN where missing."""
        if pa.types.is_floating(column.type) and (rows := np.flatnonzero(np.isinf(_floats(column)))).size:
            _reject(block, rows, "NotFinite", self._name, column, CATEGORY)
            column = pc.if_else(pc.is_inf(column), pa.scalar(None, column.type), column)
        folded = column if pa.types.is_dictionary(column.type) else column.dictionary_encode()
        self._look_up(folded.dictionary)
        indices = folded.indices
        if indices.null_count:
            indices = pc.fill_null(indices, len(folded.dictionary))  # the last entry of the table is "missing"
        codes: npt.NDArray[np.float32] = self._table[indices.to_numpy(zero_copy_only=False)]
        if (self._table == self._unknown).any() and (unknown := int((codes == self._unknown).sum())):
            block.unknown[self._name] = unknown
        return codes

    def _look_up(self, distinct: pa.Array) -> None:
        """Blocks of one file mostly share their dictionary."""
        if self._distinct is not None and self._distinct.equals(distinct):
            return
        texts = as_strings(distinct)
        if self._is_text:
            texts = pa.array([self._as_trained(text) for text in texts.to_pylist()], pa.string())
        codes = self._encoder.table(pa.table({self._name: texts}))[:, 0]
        self._distinct, self._table = distinct, np.append(codes, np.float32(math.nan))

    def _as_trained(self, text: str | None) -> str | None:
        """A CSV says 07 or 7.0 where training read the number 7, and True where it read true."""
        if text is None or text in self._known:
            return text
        if text in ("True", "TRUE", "False", "FALSE"):
            return text.lower()
        try:
            number = float(text) if "_" not in text else math.nan
        except ValueError:
            return text
        other = canonical(number) if math.isfinite(number) else None
        return other if other in self._known else text


def check_types(schema: FeatureSchema, found: Mapping[str, pa.DataType], *, where: str, is_text: bool = False) -> None:
    """Check that a table has every feature, of a type that can hold one (all of a CSV's can); other columns are nobody's business.

    Raises
    ------
    MissingColumn, WrongType
        Naming `where`, and listing every column at fault in `details`.
    """
    if missing := [name for name in schema.names if name not in found]:
        raise MissingColumn(
            f"{where} lacks {_listed(missing)}; the model reads: {', '.join(schema.names)}; {where} has: {', '.join(found)}",
            details=[{"column": name, "found": None, "allowed": list(schema.names)} for name in missing],
        )
    wrong = [feature for feature in schema.features if not (is_text or _can_hold(feature, found[feature.name]))]
    if wrong:
        faults = [f"'{f.name}' holds {found[f.name]} and is a {f.type}: allowed are {_allowed(f)}" for f in wrong]
        raise WrongType(
            f"{where}: column {'; column '.join(faults)}. Convert it, or declare it anew and train again",
            details=[{"column": f.name, "found": str(found[f.name]), "allowed": _allowed(f)} for f in wrong],
        )


def _listed(names: Sequence[str]) -> str:
    return ("column " if len(names) == 1 else "columns ") + ", ".join(f"'{name}'" for name in names)


def _allowed(feature: Feature) -> str:
    return _NUMBER_TYPES if feature.type == "number" else _CATEGORY_TYPES


def _can_hold(feature: Feature, kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return any(fits(kind) for fits in (_IS_NUMBER if feature.type == "number" else _IS_CATEGORY))


def _floats(column: pa.Array) -> Floats | npt.NDArray[np.float32]:
    """Any column of numbers, NaN where missing; floats as they are, without a copy where none is missing."""
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if pa.types.is_boolean(column.type):
        column = column.cast(pa.int8())
    elif pa.types.is_decimal(column.type) or pa.types.is_null(column.type):
        column = column.cast(pa.float64())
    return np.asarray(column.to_numpy(zero_copy_only=False))


def _count_outside(block: Block, feature: Feature, values: npt.NDArray[np.float32]) -> None:
    if feature.range is None:
        return
    low, high = map(np.float32, feature.range)
    if outside := int(np.count_nonzero(values < low) + np.count_nonzero(values > high)):
        block.out_of_range[feature.name] = outside


def _parse(block: Block, name: str, text: pa.Array) -> pa.Array:
    """Numerals as float64; text that is none is rejected and read as missing."""
    try:
        return text.cast(pa.float64())
    except pa.ArrowInvalid:
        pass
    text = pc.replace_substring_regex(pc.utf8_trim_whitespace(text), r"^\+", "")
    for word, digit in (("true", "1"), ("false", "0")):  # training reads a CSV's booleans as numbers too
        text = pc.if_else(pc.fill_null(pc.equal(pc.utf8_lower(text), word), False), digit, text)
    infinite = pc.fill_null(pc.match_substring_regex(text, _INFINITE), False)
    good = pc.or_(pc.fill_null(pc.match_substring_regex(text, _NUMERAL), True), infinite)
    rows = np.flatnonzero(~good.to_numpy(zero_copy_only=False))
    _reject(block, rows, "WrongType", name, text, NUMBER)
    return pc.if_else(good, text, pa.scalar(None, text.type)).cast(pa.float64())


def _reject(block: Block, rows: npt.NDArray[np.intp], reason: str, column: str, values: pa.Array, allowed: str) -> None:
    found = values.take(pa.array(rows))
    for row, value in zip(rows.tolist(), found.to_pylist(), strict=True):
        block.rejects.setdefault(row, Reject(row, reason, column, str(value)[:_SHOWN], allowed))
