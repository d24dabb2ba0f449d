"""Late labels: the JSON of POST /v1/labels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec

from cluster.errors import BadJson, BadLabel, BadRequestShape, DataError, NoRows, TooManyRows, UnknownModel, UnknownRow
from cluster.records import LabelEntry, Labels
from cluster.schema import Label, encode_labels

LABELS_A_ROW: Final = 10
"""A request may hold this many times more labels than rows: a label is small, and labels come in batches."""


class _Body(msgspec.Struct, forbid_unknown_fields=True):
    labels: list[LabelEntry]
    model: str | None = None


_decode = msgspec.json.Decoder(_Body).decode


def decode_labels(body: bytes, *, model: str, label: Label, rows_of: Callable[[str], int], max_labels: int) -> Labels:
    """Read and check labels; all of a request are taken, or none.

    A label for a row that has one already replaces it: labels get corrected. The latest received counts.

    Parameters
    ----------
    model
        The name that a request may mention.
    label
        The frozen label of the schema.
    rows_of
        How many rows a request id has; raises `UnknownRequest`.
    max_labels
        Most labels in a request.

    Raises
    ------
    BadJson, BadRequestShape, UnknownModel, NoRows, TooManyRows
    UnknownRequest, UnknownRow, BadLabel
    """
    try:
        request = _decode(body)
    except msgspec.ValidationError as error:
        shape = '{"labels": [{"request_id": "…", "row": 0, "label": …}, …]}'
        raise BadRequestShape(f"the body does not fit {shape}: {error}") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadJson(f"the body is not JSON: {error}") from error
    if request.model is not None and request.model != model:
        raise UnknownModel(f"model {request.model!r} is not served here; this service answers for '{model}'")
    entries = request.labels
    if not entries:
        raise NoRows("the request holds no labels; send at least one in 'labels'")
    if len(entries) > max_labels:
        raise TooManyRows(f"the request holds {len(entries)} labels; at most {max_labels} are taken at once. Split it")
    for i, entry in enumerate(entries):
        rows = rows_of(entry.request_id)
        if not 0 <= entry.row < rows:
            detail = {"label": i, "request_id": entry.request_id, "row": entry.row, "allowed": f"0 to {rows - 1}"}
            raise UnknownRow(f"label {i}: request {entry.request_id} has rows 0 to {rows - 1}, not {entry.row}", details=[detail])
    _check_values(label, entries)
    return Labels(entries=entries)


def _check_values(label: Label, entries: list[LabelEntry]) -> None:
    try:
        encode_labels(label, [entry.label for entry in entries])
    except DataError:
        for i, entry in enumerate(entries):
            try:
                encode_labels(label, [entry.label])
            except DataError as error:
                raise BadLabel(
                    f"label {i}: {error.message}",
                    details=[{"label": i, "found": entry.label, "allowed": list(label.classes or ["a finite number"])}],
                ) from error
        raise
