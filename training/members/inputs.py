"""How a network or a linear model reads the matrix: standardised numbers, and categories as rows of one table.

The same steps exist twice, in numpy for training and as ONNX nodes, and give the same values. Also packs
arrays into JSON, so that native models need no pickle.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator

import numpy as np
import numpy.typing as npt
import onnx

from cluster.records import Record
from cluster.schema import Feature, Floats, Label, Matrix
from training.composing.graphs import INPUT, constant, node
from training.members import Crew, Rows

CLIP = 10.0
"""Standardised numbers are cut here, so that one wild value cannot carry a row away."""
CHUNK = 65_536
"""Rows that are read, standardised or scored at a time: what a table larger than memory costs in memory."""
_TINY = 1e-300  # instead of a weight of 0
Codes = npt.NDArray[np.int64]


class Array(Record, frozen=True, kw_only=True):
    """A float32 array inside JSON."""

    shape: tuple[int, ...]
    data: bytes
    """Little-endian, row-major; JSON carries it as base64."""


def pack(values: npt.ArrayLike) -> Array:
    """An array as a record.

    >>> unpack(pack([[1.0, 2.5]]))
    array([[1. , 2.5]], dtype=float32)
    """
    array = np.asarray(values, dtype="<f4")
    return Array(shape=array.shape, data=array.tobytes())


def unpack(array: Array) -> Matrix:
    """The array of a record."""
    return np.frombuffer(array.data, dtype="<f4").reshape(array.shape).astype(np.float32)


class Inputs(Record, frozen=True, kw_only=True):
    """How columns are read. Each feature is either in `numbers` or in `categories`, by its column in the matrix."""

    numbers: list[int]
    mean: list[float]
    scale: list[float]
    """Reciprocal of the standard deviation; 0 for a constant column."""
    gaps: list[float]
    """1 where the training rows had missing values: only then is the indicator of missing informative, else it is 0."""
    categories: list[int]
    sizes: list[int]
    """Codes a category has: the known ones, unknown, missing."""

    @property
    def width(self) -> int:
        """Columns of `numeric`."""
        return 2 * len(self.numbers)

    @property
    def table_rows(self) -> int:
        """Rows of the table of all categories."""
        return sum(self.sizes)

    @property
    def offsets(self) -> Codes:
        """First table row of each category feature."""
        return np.cumsum([0, *self.sizes[:-1]], dtype=np.int64)[: len(self.sizes)]


def learn(features: tuple[Feature, ...], rows: Rows, crew: Crew) -> Inputs:
    """Weighted means and spreads over all workers' rows: two passes in float64, `CHUNK` rows at a time."""
    numbers = [j for j, f in enumerate(features) if f.categories is None]
    categories = [j for j, f in enumerate(features) if f.categories is not None]
    count, total, gaps = crew.total(sum_of(_moments(numbers, part) for part in chunks(rows)))
    mean = total / np.maximum(count, _TINY)
    squares = crew.total(sum_of(_squares(numbers, mean, part) for part in chunks(rows)))
    deviation = np.sqrt(squares / np.maximum(count, _TINY))
    steady = deviation > 1e-6 * np.maximum(1e-6, np.abs(mean))  # below that, float32 holds no difference
    return Inputs(
        numbers=numbers,
        mean=[float(v) for v in mean.astype(np.float32)],
        scale=[float(v) for v in np.where(steady, 1 / np.where(steady, deviation, 1), 0).astype(np.float32)],
        gaps=[float(v) for v in (gaps > 0)],
        categories=categories,
        sizes=[len(features[j].categories or ()) + 2 for j in categories],
    )


def chunks(rows: Rows) -> Iterator[Rows]:
    """The rows, `CHUNK` at a time; copies nothing."""
    return (rows[start : start + CHUNK] for start in range(0, max(1, len(rows)), CHUNK))


def sum_of(parts: Iterable[Floats]) -> Floats:
    """The sum of arrays of one shape, at least one."""
    return functools.reduce(np.add, parts)


def weights_of(rows: Rows) -> Floats:
    """How much each row counts, float64 of shape (n,)."""
    return np.ones(len(rows)) if rows.weight is None else rows.weight


def _moments(numbers: list[int], rows: Rows) -> Floats:
    """Weight of the known values, their weighted sum, and weight of the missing ones; float64 of shape (3, numbers)."""
    values, weight = rows.X[:, numbers].astype(np.float64), weights_of(rows)
    known = ~np.isnan(values)
    return np.stack([weight @ known, weight @ np.where(known, values, 0), weight @ ~known])


def _squares(numbers: list[int], mean: Floats, rows: Rows) -> Floats:
    distance = rows.X[:, numbers].astype(np.float64) - mean
    return np.asarray(weights_of(rows) @ np.where(np.isnan(distance), 0, distance) ** 2)


def numeric(inputs: Inputs, matrix: Matrix) -> Matrix:
    """Standardised numbers (0 where missing), then the indicators of missing; float32 of shape (n, width)."""
    values = matrix[:, inputs.numbers]
    missing = np.isnan(values)
    mean, scale, gaps = (np.asarray(v, dtype=np.float32) for v in (inputs.mean, inputs.scale, inputs.gaps))
    filled = np.where(missing, mean, values)
    scaled = np.clip((filled - mean) * scale, -CLIP, CLIP)
    return np.hstack([scaled, missing.astype(np.float32) * gaps]).astype(np.float32)


def codes(inputs: Inputs, matrix: Matrix) -> Codes:
    """Table rows of each category, int64 of shape (n, categories)."""
    values = matrix[:, inputs.categories]
    last = np.asarray(inputs.sizes, dtype=np.float32) - 1  # missing; the one before is unknown
    filled = np.where(np.isnan(values), last, np.clip(values, 0, last - 1))
    return np.asarray(filled.astype(np.int64) + inputs.offsets)


def numeric_nodes(inputs: Inputs) -> tuple[list[onnx.NodeProto], list[onnx.TensorProto]]:
    """Nodes that write "numeric"."""
    nodes = [
        node("Gather", [INPUT, "number_columns"], "numbers", axis=1),
        node("IsNaN", ["numbers"], "number_missing"),
        node("Where", ["number_missing", "mean", "numbers"], "filled"),
        node("Sub", ["filled", "mean"], "centred"),
        node("Mul", ["centred", "scale"], "unclipped"),
        node("Clip", ["unclipped", "clip_low", "clip_high"], "scaled"),
        node("Cast", ["number_missing"], "indicator", to=onnx.TensorProto.FLOAT),
        node("Mul", ["indicator", "gaps"], "gap"),
        node("Concat", ["scaled", "gap"], "numeric", axis=1),
    ]
    constants = [
        constant("number_columns", inputs.numbers, np.int64),
        constant("mean", inputs.mean),
        constant("scale", inputs.scale),
        constant("gaps", inputs.gaps),
        constant("clip_low", -CLIP),
        constant("clip_high", CLIP),
    ]
    return nodes, constants


def code_nodes(inputs: Inputs) -> tuple[list[onnx.NodeProto], list[onnx.TensorProto]]:
    """Nodes that write "codes"."""
    last = np.asarray(inputs.sizes, dtype=np.float32) - 1
    nodes = [
        node("Gather", [INPUT, "category_columns"], "categories", axis=1),
        node("IsNaN", ["categories"], "category_missing"),
        node("Max", ["categories", "zero"], "not_negative"),
        node("Min", ["not_negative", "unknown"], "known"),
        node("Where", ["category_missing", "missing", "known"], "coded"),
        node("Cast", ["coded"], "whole", to=onnx.TensorProto.INT64),
        node("Add", ["whole", "offsets"], "codes"),
    ]
    constants = [
        constant("category_columns", inputs.categories, np.int64),
        constant("zero", 0.0),
        constant("unknown", last - 1),
        constant("missing", last),
        constant("offsets", inputs.offsets, np.int64),
    ]
    return nodes, constants


def label_scale(label: Label, rows: Rows, crew: Crew) -> tuple[float, float]:
    """Weighted mean and standard deviation of the labels over all workers for regression; (0, 1) for classes."""
    if label.task != "regression":
        return 0.0, 1.0
    weight = weights_of(rows)
    count, total = crew.total(np.array([weight.sum(), weight @ rows.y]))
    mean = total / count
    spread = float(np.sqrt(crew.total(np.array([weight @ (rows.y - mean) ** 2]))[0] / count))
    return float(mean), spread if spread > 0 else 1.0
