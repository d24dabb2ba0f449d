"""Closes a schema over a training table: what the YAML left open is learned, once, and travels in the bundle.

What is learned is counted first (`tally`) and decided afterwards (`close`), so that a table larger than memory is counted
piece by piece. `freeze` is both for a table in memory.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cluster.arrow import as_strings, column_of
from cluster.errors import DataError, NotEnoughData
from cluster.schema import Feature, FeatureSchema, Label, Scalar, canonical, encode_labels

_MOST_VALUES: Final = 1_000_000
"""Different values that are counted of one column; one that has more is an identifier."""


class Tally(NamedTuple):
    """What is counted over rows to close a schema."""

    rows: int
    labels: dict[Scalar, int]
    """Rows by label, as it stands in the table; empty for regression."""
    categories: dict[str, pa.Table]
    """By open feature, a row for each category and label: `category` and `label` (canonical strings; null where missing, and the
    label for regression), `rows`, and for regression `known` and `total`, the number and the sum of the labels that are known."""


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
    return close(schema, tally(schema, table), min_count=min_count, max_categories=max_categories)


def tally(schema: FeatureSchema, table: pa.Table) -> Tally:
    """Count what `close` needs over some rows of a training frame.

    Raises
    ------
    DataError
        When a column is absent, or a label is no finite number though its task is regression.
    """
    column = column_of(table, schema.label.name)
    regression = schema.label.task == "regression"
    found = [] if regression else pc.value_counts(column).to_pylist()
    y = pa.array(encode_labels(schema.label, column), from_pandas=True) if regression else None  # NaN as null
    labels = pa.nulls(table.num_rows, pa.string()) if regression else as_strings(column)
    return Tally(
        table.num_rows,
        {v["values"]: v["counts"] for v in found if canonical(v["values"]) is not None},
        {f.name: _count(as_strings(column_of(table, f.name)), labels, y) for f in schema.features if _is_open(f)},
    )


def merge(tallies: Iterable[Tally]) -> Tally:
    """The tally of all rows together.

    Raises
    ------
    DataError
        When a feature has too many different values to be one.
    """
    parts = list(tallies)
    labels: dict[Scalar, int] = {}
    for part in parts:
        for value, count in part.labels.items():
            labels[value] = labels.get(value, 0) + count
    names = parts[0].categories if parts else {}
    return Tally(sum(p.rows for p in parts), labels, {n: _sum(n, [p.categories[n] for p in parts]) for n in names})


def close(schema: FeatureSchema, counted: Tally, *, min_count: int = 20, max_categories: int = 1000) -> FeatureSchema:
    """The frozen schema that a tally decides; see `freeze`.

    Raises
    ------
    DataError
        When a label is none of the classes, or a column has more than `max_categories` frequent values.
    NotEnoughData
        When the label has fewer than two classes.
    """
    label = _freeze_label(schema.label, counted.labels)
    encode_labels(label, list(counted.labels))  # refuses what is none of the classes
    features = tuple(
        f.model_copy(update={"categories": _categories(f.name, label, counted, min_count, max_categories)}) if _is_open(f) else f
        for f in schema.features
    )
    return schema.model_copy(update={"label": label, "features": features})


def _is_open(feature: Feature) -> bool:
    return feature.type == "category" and feature.categories is None


def _count(strings: pa.Array, labels: pa.Array, y: pa.Array | None) -> pa.Table:
    columns = {"category": strings, "label": labels, "rows": pa.array(np.ones(len(strings), dtype=np.int64))}
    if y is not None:
        columns |= {"known": y.is_valid().cast(pa.int64()), "total": pc.fill_null(y, 0.0)}
    return _grouped(pa.table(columns))


def _grouped(table: pa.Table) -> pa.Table:
    sums = table.column_names[2:]
    grouped = table.group_by(["category", "label"], use_threads=False).aggregate([(name, "sum") for name in sums])
    return grouped.select(["category", "label", *(f"{name}_sum" for name in sums)]).rename_columns(table.column_names)


def _sum(name: str, tables: list[pa.Table]) -> pa.Table:
    summed = _grouped(pa.concat_tables(tables))
    if summed.num_rows > _MOST_VALUES:
        raise DataError(
            f"feature '{name}' has more than {_MOST_VALUES:,} different values; it is an identifier: drop it from schema.features"
        )
    return summed


def _freeze_label(label: Label, counts: Mapping[Scalar, int]) -> Label:
    if label.task == "regression" or label.classes is not None:
        return label
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


def _categories(name: str, label: Label, counted: Tally, min_count: int, max_categories: int) -> tuple[str, ...]:
    table = counted.categories[name]
    if label.task != "regression":
        y = encode_labels(label, table.column("label").to_pylist())
        rows = table.column("rows").to_numpy()
        table = table.append_column("known", pa.array(np.where(np.isnan(y), 0, rows)))
        table = table.append_column("total", pa.array(np.nan_to_num(y) * rows))
    found = table.group_by("category", use_threads=False).aggregate([("rows", "sum"), ("known", "sum"), ("total", "sum")]).to_pylist()
    known, total = (sum(r[column] for r in found) for column in ("known_sum", "total_sum"))
    middle = total / known if known else 0.0
    frequent = [r for r in found if r["category"] is not None and r["rows_sum"] >= min(min_count, max(1, counted.rows // 50))]
    if len(frequent) > max_categories:
        raise DataError(
            f"feature '{name}' has {len(frequent)} frequent categories, more than {max_categories}; drop it or group its values"
        )
    if not frequent:
        raise DataError(
            f"feature '{name}' has no value that occurs {min_count} times; it is an identifier or nearly empty: drop it from schema.features"
        )

    def mean(row: Mapping[str, float]) -> float:
        return row["total_sum"] / row["known_sum"] if row["known_sum"] else middle

    return tuple(r["category"] for r in sorted(frequent, key=lambda r: (mean(r), r["category"])))
