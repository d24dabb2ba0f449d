"""Closes a schema over a training table: what the YAML left open is learned, once, and travels in the bundle."""

from __future__ import annotations

from collections.abc import Mapping

import pyarrow as pa
import pyarrow.compute as pc

from cluster.arrow import as_strings, column_of
from cluster.errors import DataError, NotEnoughData
from cluster.schema import Feature, FeatureSchema, Floats, Label, Scalar, canonical, encode_labels


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
