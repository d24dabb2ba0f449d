import datetime as dt
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from cluster.encoder import Encoder
from cluster.errors import ConfigError, DataError
from cluster.freeze import freeze
from cluster.settings import Data, load
from tests.unit.training.archives import LETTERS, of_census, of_diamonds, of_women
from training.data import census, datasets, diamonds, letter, nlswork
from training.data.datasets import locate, read_table

DAYS = [dt.datetime(2024, 1, day, tzinfo=dt.UTC) for day in (3, 1, 2)]
CONFIGS = Path(__file__).parents[4] / "configs"
MADE = {
    "census": lambda: census.build(of_census()),
    "letter": lambda: letter.build(LETTERS),
    "diamonds": lambda: diamonds.build(of_diamonds()),
    "nlswork": lambda: nlswork.build(of_women()),
}
TABLE = pa.table({"when": DAYS, "x": [3, 1, 2]})


def read(source: object, *, time: str | None = None, since: dt.datetime | None = None, until: dt.datetime | None = None) -> Any:
    return read_table(Data(source=str(source), since=since, until=until), time=time, cache=Path("unused"))


@pytest.fixture
def parquet(tmp_path):
    pq.write_table(TABLE, tmp_path / "t.parquet")
    return tmp_path / "t.parquet"


def test_a_parquet_file_is_read_in_order_of_time(parquet):
    assert read(parquet, time="when")["x"].to_pylist() == [1, 2, 3]


def test_without_a_time_rows_keep_their_order(parquet):
    assert read(parquet)["x"].to_pylist() == [3, 1, 2]


@pytest.mark.parametrize("name", ["t.csv", "t.CSV", "t.csv.gz"])
def test_a_csv_file_is_read_with_types_and_in_order_of_time(tmp_path, name):
    with pa.output_stream(str(tmp_path / name)) as stream:
        pyarrow.csv.write_csv(TABLE, stream)
    table = read(tmp_path / name, time="when")
    assert table["x"].type == pa.int64()
    assert table["x"].to_pylist() == [1, 2, 3]


@pytest.mark.parametrize("delimiter", [";", "\t", "|"])
def test_a_csv_may_be_separated_otherwise(tmp_path, delimiter):
    (tmp_path / "t.csv").write_text(f"a{delimiter}b\n1{delimiter}u\n,{delimiter}\n".replace(",", ""))
    assert read(tmp_path / "t.csv").to_pydict() == {"a": [1, None], "b": ["u", None]}


def test_the_separator_of_a_csv_is_told_and_other_tables_have_none(tmp_path, parquet):
    (tmp_path / "t.csv").write_text("a;b\n1,5;2\n")
    assert datasets.separator_of(str(tmp_path / "t.csv")) == ";"
    assert datasets.separator_of(str(parquet)) is None


def test_a_csv_whose_integers_turn_to_fractions_late_is_read_as_numbers(tmp_path):
    (tmp_path / "t.csv").write_text("a\n" + "1\n" * 800_000 + "1.5\n")
    column = read(tmp_path / "t.csv")["a"]
    assert column.type == pa.float64()
    assert column[-1].as_py() == 1.5


def test_a_folder_of_parquet_files_is_one_table_and_its_key_folders_are_columns(tmp_path):
    for year in (2023, 2024):
        (tmp_path / f"year={year}").mkdir()
        pq.write_table(pa.table({"x": [year]}), tmp_path / f"year={year}" / "part.parquet")
    (tmp_path / "_SUCCESS").write_text("")
    assert read(tmp_path).to_pydict() == {"x": [2023, 2024], "year": [2023, 2024]}


def test_a_file_uri_is_read_like_a_path(parquet):
    assert read(f"file://{parquet}").num_rows == 3


def test_since_is_included_and_until_is_not(parquet):
    table = read(parquet, time="when", since=dt.datetime(2024, 1, 2), until=dt.datetime(2024, 1, 3))  # noqa: DTZ001 - naive bounds are UTC
    assert table["x"].to_pylist() == [2]


def test_a_bound_without_a_time_column_is_refused(parquet):
    with pytest.raises(ConfigError, match=r"data\.since and data\.until need a time column"):
        read(parquet, until=dt.datetime(2024, 1, 3, tzinfo=dt.UTC))


def test_bounds_that_leave_no_row_name_the_times_there_are(parquet):
    with pytest.raises(DataError, match=r"its times go from 2024-01-01T00:00:00\+00:00 to 2024-01-03"):
        read(parquet, time="when", since=dt.datetime(2025, 1, 1, tzinfo=dt.UTC))


def test_a_time_column_that_is_absent_lists_those_there_are(parquet):
    with pytest.raises(DataError, match="no column 'moment'; it has: when, x"):
        read(parquet, time="moment")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("none.parquet", None, "there is no table at"),
        ("t.xlsx", b"x", r"ending that is not known; allowed: \.parquet, \.pq, \.csv"),
        ("t.parquet", b"not parquet at all", "cannot be read"),
        ("t.csv", b"", "cannot be read"),
        ("t.csv", b"a,b\n1,2\n1,2,3\n", "cannot be read.*Expected 2 columns, got 3"),
        ("t.csv", b"a,b\n", "has no rows"),
        ("t.csv", b"a,a\n1,2\n", "several columns of one name: 'a'"),
    ],
)
def test_a_table_that_cannot_be_used_says_why(tmp_path, name, content, message):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=message):
        read(tmp_path / name)


def test_an_empty_folder_says_what_it_should_hold(tmp_path):
    with pytest.raises(DataError, match="holds no Parquet files"):
        read(tmp_path)


def test_an_unknown_scheme_is_a_data_error():
    with pytest.raises(DataError, match=r"'nosuch://bucket/t\.parquet' cannot be read"):
        read("nosuch://bucket/t.parquet")


def test_an_unknown_name_lists_the_named_data_sets():
    with pytest.raises(DataError, match="named data sets: flights"):
        read("trains")


def test_other_sources_are_located_where_they_are():
    assert locate("s3://lake/t.parquet", cache=Path("unused")) == "s3://lake/t.parquet"


@pytest.mark.parametrize("name", MADE)
def test_a_configuration_reads_the_table_of_its_name(name):
    settings = load(CONFIGS / f"{name}.yaml")
    table = MADE[name]()
    open_ones = [f.name for f in settings.columns.features if f.type == "category" and f.categories is None]
    filled = {n: table[n] if table[n].null_count < 2 else pa.chunked_array([["x"] * table.num_rows]) for n in table.column_names}
    schema = freeze(settings.columns, pa.table(filled), min_count=1)
    assert settings.data.source == settings.model == name
    assert set(open_ones) <= set(table.column_names)
    assert Encoder(schema).table(table).shape == (table.num_rows, len(schema.features))
    assert set(schema.protected) <= set(table.column_names)
    assert settings.training.group in {None, *table.column_names}


def test_every_named_data_set_has_an_example_configuration():
    assert [load(CONFIGS / f"{name}.yaml").data.source for name in datasets.NAMED] == list(datasets.NAMED)
