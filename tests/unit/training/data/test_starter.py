import datetime as dt
import re
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from cluster import settings
from cluster.encoder import Encoder
from cluster.errors import ConfigError, DataError, NotEnoughData
from cluster.freeze import freeze
from training.data import datasets
from training.data.starter import _scalar, write_config

ROWS = 600
RNG = np.random.default_rng(11)
X = RNG.normal(size=ROWS)
Y = np.where(X + RNG.normal(size=ROWS) > 0, "Yes", "No").astype(object)
Y[3:9] = None  # not known yet
TABLE = pa.table(
    {
        "when": [dt.datetime(2024, 1, 1, tzinfo=dt.UTC) + dt.timedelta(hours=6 * i) for i in range(ROWS)],
        "customer_id": RNG.permutation(ROWS * 3)[:ROWS],
        "email": [f"user{i}@example.org" for i in range(ROWS)],
        "x": X,
        "height, cm": RNG.normal(170, 10, ROWS),
        "yes": RNG.choice(["a", "b", "c: d"], ROWS),
        "1": RNG.random(ROWS) > 0.5,
        "größe": RNG.choice(["klein", "groß"], ROWS),
        "line\nbreak": RNG.integers(0, 50, ROWS),
        "sex": RNG.choice(["f", "m"], ROWS),
        "outcome": Y,
    }
)
FEATURES = ("x", "height, cm", "yes", "1", "größe", "line\nbreak")


@pytest.fixture
def table(tmp_path):
    pq.write_table(TABLE, tmp_path / "2024 Customers.v2.parquet")
    return str(tmp_path / "2024 Customers.v2.parquet")


@pytest.fixture
def out(tmp_path):
    return tmp_path / "configs" / "model.yaml"


def init(table: str, out: Path, **changed: Any) -> Path:
    return write_config(table, out=out, **({"label": "outcome", "time": "when", "protect": ["sex"]} | changed))


def test_the_file_it_writes_loads_with_the_columns_a_model_can_read(table, out):
    loaded = settings.load(init(table, out))
    assert loaded.columns.names == FEATURES
    assert [f.type for f in loaded.columns.features] == ["number", "number", "category", "category", "category", "number"]
    assert (loaded.columns.label.task, loaded.columns.label.positive) == ("binary", "Yes")
    assert (loaded.columns.time, loaded.columns.protected) == ("when", ("sex",))
    assert loaded.data.source == table


def test_the_schema_it_writes_freezes_over_the_training_part_and_encodes_the_table(table, out):
    loaded = settings.load(init(table, out))
    whole = datasets.read_table(loaded.data, time="when", cache=out.parent)
    frozen = freeze(loaded.columns, whole.slice(0, ROWS // 2), min_count=loaded.training.min_category_count)
    matrix = Encoder(frozen).table(whole)
    assert frozen.label.classes == ("No", "Yes")
    assert matrix.shape == (ROWS, len(FEATURES))
    assert np.isfinite(matrix).all()


def test_every_number_seen_lies_inside_the_range_it_writes(table, out):
    for feature in settings.load(init(table, out)).columns.features:
        if feature.range is not None:
            values = TABLE[feature.name].to_numpy()
            assert feature.range[0] <= values.min() <= values.max() <= feature.range[1]


def test_columns_left_out_are_listed_with_the_reason(table, out):
    text = init(table, out).read_text()
    assert "#   'customer_id' - an identifier: every row has its own number" in text
    assert "#   'email' - 600 values, most of them rare: an identifier or free text" in text


def test_a_csv_without_a_time_becomes_a_model_too_and_times_are_only_suggested(tmp_path, out):
    pyarrow.csv.write_csv(TABLE.drop_columns(["line\nbreak"]), tmp_path / "customers.csv")
    path = init(str(tmp_path / "customers.csv"), out, time=None, protect=[])
    loaded = settings.load(path)
    assert (loaded.model, loaded.columns.time) == ("customers", None)
    assert loaded.columns.names == ("x", "height, cm", "yes", "1", "größe", "sex")
    assert "it may be 'when'. Without one, rows are split at random" in path.read_text()


def test_gates_and_windows_of_a_small_table_fit_it(table, out):
    loaded = settings.load(init(table, out))  # 600 rows in 150 days
    assert (loaded.gate.holdout, loaded.gate.min_rows) == (dt.timedelta(days=30), 60)
    assert (loaded.monitoring.window, loaded.monitoring.min_rows) == (dt.timedelta(days=7), 10)
    assert (loaded.loop.train_window, loaded.loop.cooldown) == (dt.timedelta(days=150), dt.timedelta(days=60))


def test_every_key_of_the_settings_is_there_and_the_hidden_ones_show_their_defaults(table, out):
    text = init(table, out).read_text()
    opened = yaml.safe_load(re.sub(r"(?m)^# ((?: {2})+\w+:|(?:members|distillation|fairness|card|places|tracing):)", r"\1", text))
    full = settings.parse(opened).dump()
    assert full == settings.load(out).model_copy(update={"places": settings.Places()}).dump()
    for section, keys in full.items():
        if isinstance(keys, dict) and section != "schema":
            assert list(opened[section]) == list(keys)


def test_a_name_is_made_from_the_file_or_taken_as_given(table, out, tmp_path):
    assert settings.load(init(table, out)).model == "model-2024-customers-v2"
    assert settings.load(init(table, tmp_path / "b.yaml", name="churn")).model == "churn"


def test_a_name_that_is_not_allowed_is_refused_and_nothing_is_written(table, out):
    with pytest.raises(ConfigError, match="key 'model'"):
        init(table, out, name="Churn!")
    assert not out.exists()


def test_an_existing_file_is_never_overwritten(table, out):
    out.parent.mkdir()
    out.write_text("precious")
    with pytest.raises(ConfigError, match="exists already"):
        init(table, out)
    assert out.read_text() == "precious"


@pytest.mark.parametrize("wrong", [{"label": "none"}, {"time": "none"}, {"protect": ["none"]}])
def test_a_column_that_is_not_there_lists_those_that_are(table, out, wrong):
    with pytest.raises(DataError, match="no column 'none'; it has: when, customer_id, email"):
        init(table, out, **wrong)


@pytest.mark.parametrize("wrong", [{"time": "outcome"}, {"protect": ["outcome"]}])
def test_the_label_cannot_play_two_parts(table, out, wrong):
    with pytest.raises(ConfigError, match="column 'outcome' is the label"):
        init(table, out, **wrong)


def test_a_label_with_one_value_is_not_enough(tmp_path, out):
    pq.write_table(pa.table({"x": [1.0, 2.0], "y": ["a", None]}), tmp_path / "t.parquet")
    with pytest.raises(NotEnoughData, match="label 'y' holds only 'a'; at least two different values are needed"):
        init(str(tmp_path / "t.parquet"), out, label="y", time=None, protect=[])


def test_a_table_without_a_usable_column_says_why_for_each(tmp_path, out):
    pq.write_table(pa.table({"x": [1.0] * 40, "y": [0, 1] * 20}), tmp_path / "t.parquet")
    with pytest.raises(DataError, match="can be a feature: 'x': constant: every row holds 1"):
        init(str(tmp_path / "t.parquet"), out, label="y", time=None, protect=[])


def european(folder: Path, *, label: str = "{i}") -> str:
    lines = [f"{i},5;{i % 7};{label.format(i=i % 2)};" for i in range(400)]
    (folder / "t.csv").write_text("\n".join(["price;size;y;note", *lines]))
    return str(folder / "t.csv")


def test_decimal_commas_are_told_with_the_separator_and_what_to_do(tmp_path, out):
    told: list[str] = []
    init(european(tmp_path), out, label="y", time=None, protect=[], tell=told.append)
    assert settings.load(out).columns.names == ("size",)
    commas, empty = told
    assert commas == (
        f"'{tmp_path}/t.csv' (its separator is ';') has numbers with a decimal comma, such as '0,5', in 'price'; they are read as text and "
        f"left out. Write them with a point: pandas.read_csv('{tmp_path}/t.csv', sep=';', decimal=',').to_parquet('table.parquet')"
    )
    assert empty == "left out, because missing in all 400 rows: 'note'; fill what should be a feature"


def test_a_label_with_decimal_commas_is_no_class(tmp_path, out):
    with pytest.raises(DataError, match=r"such as '0,5', in 'price', 'y'.*\. Write them with a point"):
        init(european(tmp_path, label="{i},25"), out, label="y", time=None, protect=[])
    assert not out.exists()


def test_a_table_of_decimal_commas_alone_says_so(tmp_path, out):
    (tmp_path / "t.csv").write_text("price;y\n" + "".join(f"{i},5;{i % 2}\n" for i in range(300)))
    with pytest.raises(DataError, match=r"can be a feature: 'price': numbers with a decimal comma.*its separator is ';'"):
        init(str(tmp_path / "t.csv"), out, label="y", time=None, protect=[])


def test_too_few_labelled_rows_are_told_at_once_and_in_the_file(tmp_path, out):
    told: list[str] = []
    pq.write_table(TABLE.slice(0, 205), tmp_path / "t.parquet")  # six of them without a label
    text = init(str(tmp_path / "t.parquet"), out, tell=told.append).read_text()
    assert told == ["too few rows to train on: 199 have the label 'outcome', at least 200 are needed; bring more"]
    assert "# 199 of them have the label, too few to train on: at least 200 are needed." in text
    assert "It trains as it is" not in text


def test_a_table_in_order_is_not_remarked_upon(table, out):
    told: list[str] = []
    assert "It trains as it is" in init(table, out, tell=told.append).read_text()
    assert told == []


def test_a_column_named_as_our_own_time_is_refused(tmp_path, out):
    pq.write_table(TABLE.append_column("__time__", pa.array(X)), tmp_path / "t.parquet")
    with pytest.raises(ConfigError, match=r"column '__time__' would be taken for the time.*rename it in the table"):
        init(str(tmp_path / "t.parquet"), out)
    assert not out.exists()


def test_many_protected_groups_are_remarked_upon(table, out):
    assert "'line\\nbreak' has 50 different values, each a group of its own" in init(table, out, protect=["line\nbreak"]).read_text()


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1))
def test_any_name_reads_back_from_the_yaml_as_itself(name):
    assert yaml.safe_load(f"- {{name: {_scalar(name)}, type: number}}  # {name!r}") == [{"name": name, "type": "number"}]
