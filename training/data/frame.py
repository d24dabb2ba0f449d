"""The training frame: rows from the source table and from the journal in the same columns and types. Pure.

Numbers are float64, categories canonical strings, classes keep their type, and the time is seconds since
1970 UTC in a column named `TIME`. So rows of both origins can be put one after the other.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from cluster.arrow import as_strings, column_of, numbers_of, times_of
from cluster.errors import DataError
from cluster.history import label_array
from cluster.schema import FeatureSchema, Floats

TIME: Final = "__time__"  # also in cluster.schema.OWN_COLUMNS
LARGEST: Final = float(np.finfo(np.float32).max)
"""The largest number that a model reads."""


def from_table(table: pa.Table, schema: FeatureSchema, *, group: str | None = None) -> pa.Table:
    """A source table as a frame; rows without a label are left out.

    Parameters
    ----------
    group
        A further column to keep, of rows that belong together (`training.group`).

    Raises
    ------
    DataError
        When a column is absent or of a wrong type.
    """
    columns = {
        f.name: pa.array(_credible(numbers_of(column_of(table, f.name), f.name), f.name), from_pandas=True)
        if f.type == "number"
        else as_strings(column_of(table, f.name))
        for f in schema.features
    }
    columns |= {name: as_strings(column_of(table, name)) for name in schema.side_columns}
    label = column_of(table, schema.label.name)
    columns[schema.label.name] = (
        pa.array(numbers_of(label, schema.label.name), from_pandas=True)
        if schema.label.task == "regression"
        else label_array(schema, label.to_pylist())
    )
    if schema.time is not None:
        columns[TIME] = pa.array(times_of(table, schema.time))
    if group is not None and group not in columns:
        columns[group] = as_strings(column_of(table, group))
    return _labelled(pa.table(columns), schema)


def _credible(values: Floats, name: str) -> Floats:
    """The values of a feature, unless some do not fit the float32 that models read."""
    wrong = np.flatnonzero(np.abs(np.nan_to_num(values, nan=0.0)) > LARGEST)
    if len(wrong):
        raise DataError(
            f"column '{name}' holds {len(wrong):,} numbers that are infinite or too large for 32 bits, first in row {wrong[0]:,} "
            f"({values[wrong[0]]:g}); clean them, or make them null"
        )
    return values


def from_history(history: pa.Table, schema: FeatureSchema, *, group: str | None = None) -> pa.Table:
    """A journal's history (`cluster.history.read_history`) as a frame; rows without a label are left out. Their group is not known."""
    return _labelled(_of_history(history, schema, group), schema)


def unlabelled(history: pa.Table, schema: FeatureSchema) -> pa.Table:
    """The rows of a journal's history whose label has not come."""
    frame = _of_history(history, schema, None)
    return frame.filter(frame.column(schema.label.name).is_null())


def _of_history(history: pa.Table, schema: FeatureSchema, group: str | None) -> pa.Table:
    names = [*schema.names, *schema.side_columns, schema.label.name]
    frame = history.select(names).append_column(TIME, history.column("event_time"))
    return frame if group is None or group in names else frame.append_column(group, pa.nulls(frame.num_rows, pa.string()))


def strings(frame: pa.Table, name: str) -> npt.NDArray[np.str_]:
    """A column of groups as text, shape (n,); the empty string where it is missing."""
    return np.asarray(as_strings(frame.column(name)).fill_null("").to_numpy(zero_copy_only=False), dtype=np.str_)


def join(*frames: pa.Table) -> pa.Table:
    """Frames one after the other, ordered by time where all have one."""
    shared = [name for name in frames[0].column_names if all(name in frame.column_names for frame in frames)]
    filled = [frame.select(shared) for frame in frames if frame.num_rows] or [frames[0].select(shared)]  # an empty one has no real types
    joined = pa.concat_tables(_aligned(filled), promote_options="permissive")
    if TIME not in shared:
        return joined
    return joined.take(pa.array(np.argsort(joined.column(TIME).to_numpy(), kind="stable")))


def between(frame: pa.Table, since: float, until: float) -> pa.Table:
    """Rows of a frame with `since` <= time < `until`; all of them when it has no time."""
    if TIME not in frame.column_names or (since == -math.inf and until == math.inf):
        return frame
    times = frame.column(TIME).to_numpy()
    return frame.filter(pa.array((times >= since) & (times < until)))


def _aligned(frames: list[pa.Table]) -> list[pa.Table]:
    """Classes in one type: a label may be sent as true for 1, and the few that have come may all look like integers."""
    types = {name: {frame.schema.field(name).type for frame in frames} for name in frames[0].column_names}

    def align(frame: pa.Table) -> pa.Table:
        for i, name in enumerate(frame.column_names):
            if len(types[name]) == 1:
                continue
            if pa.string() in types[name]:
                frame = frame.set_column(i, name, as_strings(frame.column(i)))
            elif pa.types.is_boolean(frame.column(i).type):
                frame = frame.set_column(i, name, frame.column(i).cast(pa.int64()))
        return frame

    return [align(frame) for frame in frames]


def _labelled(frame: pa.Table, schema: FeatureSchema) -> pa.Table:
    return frame.filter(frame.column(schema.label.name).is_valid())
