from __future__ import annotations

import json

from cluster.schema import Label
from serve_apps.protocols import oip_metadata
from tests.builders import make_schema


def test_a_model_says_which_tensors_it_reads_and_answers() -> None:
    assert oip_metadata.model_metadata(make_schema(), model="late", versions=["12"]) == {
        "name": "late",
        "versions": ["12"],
        "platform": "homeostat_bundle",
        "inputs": [
            {"name": "miles", "datatype": "FP32", "shape": [-1]},
            {"name": "wind", "datatype": "FP32", "shape": [-1]},
            {"name": "carrier", "datatype": "BYTES", "shape": [-1]},
            {"name": "sex", "datatype": "BYTES", "shape": [-1]},
            {"name": "at", "datatype": "BYTES", "shape": [-1]},
        ],
        "outputs": [
            {"name": "prediction", "datatype": "INT64", "shape": [-1]},
            {"name": "probability", "datatype": "FP32", "shape": [-1]},
            {"name": "answered_by", "datatype": "BYTES", "shape": [-1]},
            {"name": "degraded", "datatype": "BOOL", "shape": [-1]},
        ],
    }


def test_a_multiclass_model_answers_a_probability_for_each_class() -> None:
    schema = make_schema(label=Label(name="late", task="multiclass", classes=("a", "b", "c")))
    config = oip_metadata.model_config(schema, model="late", max_rows=5)
    assert {"name": "probabilities", "data_type": "TYPE_FP32", "dims": [-1, 3]} in config["output"]  # type: ignore[operator]
    assert json.loads(config["parameters"]["classes"]["string_value"]) == ["a", "b", "c"]  # type: ignore[index]


def test_the_configuration_says_that_the_time_may_be_left_out_and_how_many_rows_fit() -> None:
    config = oip_metadata.model_config(make_schema(), model="late", max_rows=5)
    assert (config["name"], config["backend"], config["max_batch_size"]) == ("late", "homeostat", 0)
    assert [spec["name"] for spec in config["input"] if spec["optional"]] == ["at"]  # type: ignore[attr-defined]
    assert config["parameters"] == {
        "task": {"string_value": "binary"},
        "label": {"string_value": "late"},
        "max_rows": {"string_value": "5"},
        "classes": {"string_value": '["0", "1"]'},
    }


def test_a_model_without_time_has_no_tensor_for_it() -> None:
    assert "at" not in oip_metadata.inputs_of(make_schema(time=None))


def test_a_regression_has_no_probabilities() -> None:
    assert list(oip_metadata.outputs_of(Label(name="delay", task="regression"))) == ["prediction", "answered_by", "degraded"]


def test_the_server_names_the_extensions_it_speaks() -> None:
    extensions = ["binary_tensor_data", "model_configuration"]
    assert oip_metadata.server_metadata("1.2") == {"name": "homeostat", "version": "1.2", "extensions": extensions}


def test_the_index_lists_every_version_that_answers() -> None:
    assert oip_metadata.repository_index({"late": ["12", "13"], "fraud": ["2"]}) == [
        {"name": "late", "version": "12", "state": "READY", "reason": ""},
        {"name": "late", "version": "13", "state": "READY", "reason": ""},
        {"name": "fraud", "version": "2", "state": "READY", "reason": ""},
    ]
