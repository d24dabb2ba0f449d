"""What the tests of several protocols share: rows of every kind, what typed rows make of them, and answers to render."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
from hypothesis import strategies as st

from cluster.schema import Label
from serve_apps.cascade import ENSEMBLE, STUDENT, UNANSWERED
from serve_apps.protocols.columns import ColumnsReader
from serve_apps.protocols.plane import Answered, DecodedRows
from serve_apps.protocols.rows import RowsCodec
from tests.builders import make_row, make_schema

NOW = 1.7e9
SCHEMA = make_schema()
READER = ColumnsReader(SCHEMA, model="late", max_rows=5)
NAMES = ("miles", "wind", "carrier", "sex", "at")
BINARY = Label(name="late", classes=(0, 1), positive=1)
MULTICLASS = Label(name="late", task="multiclass", classes=("a", "b", "c"))
REGRESSION = Label(name="late", task="regression")

numbers = st.one_of(st.none(), st.floats(width=32, allow_nan=False, allow_infinity=False), st.integers(-(10**9), 10**9))
texts = st.text(st.characters(codec="utf-8"))
scalars = st.one_of(st.none(), texts, st.integers(-(2**63), 2**63 - 1), st.booleans(), st.floats(allow_nan=False, allow_infinity=False))
times = st.one_of(st.none(), st.floats(0, 4e9), st.integers(0, 4 * 10**9), st.just("2013-01-01T05:00:00+02:00"))


def rows_of(
    categories: st.SearchStrategy[Any] = scalars, moments: st.SearchStrategy[Any] = times
) -> st.SearchStrategy[list[dict[str, Any]]]:
    """One to five good rows."""
    row = st.fixed_dictionaries({"miles": numbers, "wind": numbers, "carrier": categories, "sex": categories, "at": moments})
    return st.lists(row, min_size=1, max_size=5)


def typed(rows: Sequence[dict[str, Any]]) -> DecodedRows:
    """What typed rows make of these."""
    return RowsCodec(SCHEMA, model="late", max_rows=5).decode(msgspec.json.encode({"rows": rows}), now=NOW)


def columns_of(rows: Sequence[dict[str, Any]]) -> dict[str, list[Any]]:
    """Rows by column."""
    return {name: [row[name] for row in rows] for name in rows[0]}


def two_rows() -> list[dict[str, Any]]:
    """Two good rows, the second with all that may be missing."""
    return [make_row(), make_row(miles=None, wind=7, carrier=None, sex=None, at=None)]


def answered(label: Label, scores: list[list[float]], by: Sequence[int] = (STUDENT, ENSEMBLE, UNANSWERED)) -> Answered:
    """An answer of the data plane."""
    return Answered("id", "late", "3", label, np.array(scores, dtype=np.float32), np.array(by[: len(scores)], dtype=np.uint8))


def dumps(content: Any) -> bytes:
    """JSON as Python writes it, NaN and all."""
    return json.dumps(content).encode()
