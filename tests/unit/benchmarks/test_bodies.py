import json

import numpy as np
import pytest

from benchmarks import bodies
from benchmarks.bodies import Row

ROWS: list[Row] = [{"carrier": "UA", "miles": 200.5, "gust": None}, {"carrier": None, "miles": 0, "gust": 3.0}]


@pytest.mark.parametrize("shape", [bodies.as_rows, bodies.as_split, bodies.as_tensors])
def test_a_body_is_one_line_for_the_load_generator(shape: bodies.Shape):
    assert b"\n" not in shape(ROWS)


def test_rows_go_as_objects():
    assert json.loads(bodies.as_rows(ROWS)) == {"rows": ROWS}


def test_the_split_of_a_table_holds_its_columns_once():
    data = [["UA", 200.5, None], [None, 0, 3.0]]
    assert json.loads(bodies.as_split(ROWS)) == {"dataframe_split": {"columns": ["carrier", "miles", "gust"], "data": data}}


def test_each_column_is_a_tensor_of_its_own_type():
    assert json.loads(bodies.as_tensors(ROWS))["inputs"] == [
        {"name": "carrier", "shape": [2, 1], "datatype": "BYTES", "data": ["UA", None]},
        {"name": "miles", "shape": [2, 1], "datatype": "FP64", "data": [200.5, 0]},
        {"name": "gust", "shape": [2, 1], "datatype": "FP64", "data": [None, 3.0]},
    ]


def test_encoded_rows_are_one_tensor_with_null_for_what_is_not_a_number():
    shape = bodies.as_matrix(lambda columns: np.array([columns["miles"], [np.nan, 1.0]], dtype=np.float32).T)
    tensor = {"name": "matrix", "shape": [2, 2], "datatype": "FP32", "data": [200.5, None, 0.0, 1.0]}
    assert json.loads(shape(ROWS)) == {"inputs": [tensor]}
