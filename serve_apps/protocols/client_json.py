"""The caller's side of the service's JSON: Python values into requests, answers into records, failures into errors. Pure.

Takes what data scientists hold (dicts, data frames, numpy's scalars, times) and knows no schema: whether a
value fits its column is the service's to say.
"""

from __future__ import annotations

import datetime as dt
import decimal
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import msgspec
import numpy as np

from cluster import errors
from cluster.errors import BadRequestShape, HomeostatError, NotFinite, WrongType
from serve_apps.protocols.errors import ErrorAnswer

if TYPE_CHECKING:
    import pandas as pd

Rows: TypeAlias = "Sequence[Mapping[str, object]] | Mapping[str, Iterable[object]] | pd.DataFrame"
"""A list of dicts, or values by column."""
Labels = Mapping[int, object] | Iterable[object]
"""By row number, or one a row in the order of the request."""

_MISSING: Final = frozenset(("NAType", "NaTType"))


class Prediction(msgspec.Struct, frozen=True):
    """The answer for one row."""

    prediction: str | int | float | bool
    """The class, or the number."""
    answered_by: str
    """`student` or `ensemble`."""
    probability: float | None = None
    """Binary: of the positive class; multiclass: of the predicted class."""
    probabilities: dict[str, float] | None = None
    """Multiclass: of each class."""
    interval: tuple[float, float] | None = None
    """Regression: the truth lies between these ends as often as the bundle promises; None for a bundle that promises nothing."""
    degraded: bool = False
    """True when the ensemble was asked and could not answer in time, so that the student did."""


class Predictions(msgspec.Struct, frozen=True):
    """The answer of a request: iterable, one `Prediction` a row, in the order of the rows."""

    request_id: str
    """Labels refer to it."""
    bundle: str
    """The version that answered."""
    predictions: list[Prediction]

    def __iter__(self) -> Iterator[Prediction]:
        return iter(self.predictions)

    def __len__(self) -> int:
        return len(self.predictions)

    def __getitem__(self, row: int) -> Prediction:
        return self.predictions[row]

    def to_pandas(self, index: pd.Index | None = None) -> pd.DataFrame:
        """One row a prediction, without the columns that the task does not have; `index` is that of the rows sent."""
        import pandas as pd

        frame = pd.json_normalize(msgspec.to_builtins(self.predictions)).dropna(axis="columns", how="all")
        return frame if index is None else frame.set_axis(index, axis="index")


class Accepted(msgspec.Struct, frozen=True):
    """The answer to labels."""

    accepted: int


def encode_rows(rows: Rows) -> bytes:
    """The body of POST /v1/predict; what is missing (None, NaN, NaT, NA) is null.

    Raises
    ------
    BadRequestShape
        When a column holds one value where a list of values belongs.
    NotFinite, WrongType
        For a value that JSON cannot hold.

    >>> encode_rows({"miles": np.array([200.0, np.nan])})
    b'{"columns":{"miles":[200.0,null]}}'
    """
    if isinstance(rows, Sequence):
        return msgspec.json.encode({"rows": [{str(name): _plain(value, name) for name, value in row.items()} for row in rows]})
    columns = {}
    for name, values in rows.items():
        if isinstance(values, str) or not isinstance(values, Iterable):
            raise BadRequestShape(f"column '{name}' holds {values!r:.80}, not a list of values; send one row as [row]")
        columns[str(name)] = [_plain(value, name) for value in values]
    return msgspec.json.encode({"columns": columns})


def encode_labels(request_id: str, labels: Labels) -> bytes:
    """The body of POST /v1/labels.

    Raises
    ------
    NotFinite, WrongType
        For a label that JSON cannot hold.

    >>> encode_labels("8a-0000-80", {3: True})
    b'{"labels":[{"request_id":"8a-0000-80","row":3,"label":true}]}'
    """
    pairs = labels.items() if isinstance(labels, Mapping) else enumerate(labels)
    return msgspec.json.encode(
        {"labels": [{"request_id": request_id, "row": int(row), "label": _plain(label, "label")} for row, label in pairs]}
    )


def decode_error(content: bytes, *, unknown: type[HomeostatError]) -> HomeostatError | None:
    """The error that the service raised; None when the content is not in the service's shape.

    Parameters
    ----------
    unknown
        Stands for a type of error that is not in `cluster.errors`.

    >>> decode_error(b'{"error": {"type": "NoRows", "message": "the request holds no rows"}}', unknown=HomeostatError)
    NoRows('the request holds no rows')
    """
    try:
        told = msgspec.json.decode(content, type=ErrorAnswer).error
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    named = getattr(errors, told.type, None)
    kind = named if isinstance(named, type) and issubclass(named, HomeostatError) else unknown
    return kind(told.message, details=told.details)


def _plain(value: object, column: object) -> Any:
    """A value as JSON has it."""
    if isinstance(value, np.generic):
        value = (
            str(value) if isinstance(value, np.datetime64) and not np.isnat(value) else value.item()
        )  # item() of nanoseconds is a number
    if value is None or type(value).__name__ in _MISSING:
        return None
    if isinstance(value, dt.date):
        return value.isoformat()
    if isinstance(value, decimal.Decimal):
        value = float(value)
    if isinstance(value, float) and math.isinf(value):
        detail = {"problem": "NotFinite", "column": str(column), "found": repr(value), "allowed": "a finite number, or None for missing"}
        raise NotFinite(f"column '{column}': the number is infinite; send None for a missing value", details=[detail])
    if not isinstance(value, str | int | float):
        allowed = "text, a number, a boolean, a time, or None for missing"
        detail = {"problem": "WrongType", "column": str(column), "found": f"{value!r:.80}", "allowed": allowed}
        raise WrongType(f"column '{column}': {value!r:.80} is a {type(value).__name__}; allowed: {allowed}", details=[detail])
    return value
