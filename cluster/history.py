"""The journal as one table: predictions joined with the labels that came for them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pyarrow as pa

from cluster.errors import DataError
from cluster.journal import scan
from cluster.records import Prediction
from cluster.schema import FeatureSchema, Scalar, canonical, score_width

EXTRA = ("request_id", "row", "event_time", "bundle", "by_ensemble", "scores")
"""Columns of a history beside features, protected columns and the label."""


def read_history(
    root: str, schema: FeatureSchema, *, since: float = -math.inf, until: float = math.inf, labelled: bool = False
) -> pa.Table:
    """Every acknowledged prediction with its label, ordered by event time.

    Parameters
    ----------
    root
        The model's journal.
    schema
        Frozen or not; says which columns there are.
    since, until
        Bounds on the event time, the first included, seconds since 1970 UTC.
    labelled
        Only rows whose label has come.

    Returns
    -------
    pyarrow.Table
        `EXTRA`, then features (float64, or canonical strings), protected columns and the label, null where it has
        not come. A label that came twice is the one received last. Scores of bundles that know fewer classes are
        filled up with NaN.

    Raises
    ------
    DataError
        When a column of the journal does not hold what the schema says, since the schema was changed.
    """
    names = (*schema.names, *schema.side_columns)
    blocks: list[tuple[str, Prediction]] = []
    labels: dict[tuple[str, int], tuple[int, Scalar]] = {}
    for entry in scan(root):
        if entry.kind == "prediction":
            block = entry.prediction()
            if max(block.event_times) >= since and min(block.event_times) < until:
                blocks.append((entry.request_id, block))
        elif entry.kind == "labels":
            for label in entry.labels().entries:
                key = (label.request_id, label.row)
                if key not in labels or labels[key][0] <= entry.received_ns:
                    labels[key] = (entry.received_ns, label.label)
    table = _table(blocks, labels, schema, names)
    times = table.column("event_time").to_numpy()
    keep = (times >= since) & (times < until)
    if labelled:
        keep &= table.column(schema.label.name).is_valid().to_numpy(zero_copy_only=False)
    order = np.flatnonzero(keep)
    return table.take(pa.array(order[np.argsort(times[order], kind="stable")]))


def _table(
    blocks: list[tuple[str, Prediction]], labels: dict[tuple[str, int], tuple[int, Scalar]], schema: FeatureSchema, names: tuple[str, ...]
) -> pa.Table:
    sizes = [len(block.event_times) for _, block in blocks]
    ids = [request_id for request_id, block in blocks for _ in block.event_times]
    rows = [i for size in sizes for i in range(size)]
    columns: dict[str, Any] = {
        "request_id": pa.array(ids, pa.string()),
        "row": pa.array(rows, pa.int32()),
        "event_time": pa.array([t for _, block in blocks for t in block.event_times], pa.float64()),
        "bundle": pa.array([block.bundle for (_, block), size in zip(blocks, sizes, strict=True) for _ in range(size)], pa.string()),
        "by_ensemble": pa.array(np.frombuffer(b"".join(block.by_ensemble for _, block in blocks), dtype=np.uint8).astype(bool)),
        "scores": _scores([block for _, block in blocks], schema),
    }
    numbers = {feature.name for feature in schema.features if feature.type == "number"}
    for name in names:
        values = [value for _, block in blocks for value in block.columns.get(name) or [None] * len(block.event_times)]
        columns[name] = _numbers(name, values) if name in numbers else pa.array(list(map(canonical, values)), pa.string())
    columns[schema.label.name] = label_array(schema, [labels.get(key, (0, None))[1] for key in zip(ids, rows, strict=True)])
    return pa.table(columns)


def _scores(blocks: list[Prediction], schema: FeatureSchema) -> pa.FixedSizeListArray:
    """All scores in lists of one width, that of the widest bundle."""
    parts = [np.frombuffer(block.scores, dtype=np.float32).reshape(len(block.event_times), -1) for block in blocks]
    width = max((part.shape[1] for part in parts), default=max(1, score_width(schema.label)))
    whole = np.full((sum(map(len, parts)), width), np.nan, dtype=np.float32)
    start = 0
    for part in parts:
        whole[start : start + len(part), : part.shape[1]] = part
        start += len(part)
    return pa.FixedSizeListArray.from_arrays(pa.array(whole.ravel()), width)


def _numbers(name: str, values: list[Scalar]) -> pa.Array:
    try:
        return pa.array(values, pa.float64())
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise DataError(f"column '{name}' is declared a number, and the journal holds other values of it: {error}") from error


def label_array(schema: FeatureSchema, values: list[Scalar]) -> pa.Array:
    """Labels in one Arrow type: float64 for regression; for classes bool, int64 or strings, the first that fits all."""
    if schema.label.task == "regression":
        return pa.array(values, pa.float64())
    texts = list(map(canonical, values))
    kinds = set(texts) - {None}
    if kinds and kinds <= {"true", "false"}:
        return pa.array([None if text is None else text == "true" for text in texts])
    if kinds <= {"true", "false", "0", "1"}:
        return pa.array([None if text is None else int(text in ("true", "1")) for text in texts], pa.int64())
    if all(_is_integer(text) for text in kinds if text is not None):
        return pa.array([None if text is None else int(text) for text in texts], pa.int64())
    return pa.array(texts, pa.string())


def _is_integer(text: str) -> bool:
    return text.removeprefix("-").isdecimal() and str(int(text)) == text and abs(int(text)) < 1 << 63
