"""Calls that people write by hand, as TensorFlow Serving and TorchServe document them; and the headers of every answer to rows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests import builders
from tests.conformance.conftest import CLASSIFIER, NO_SUCH_MODEL, NO_WIND, REGRESSOR, ROWS, Service, Told

COLUMNS = {name: [row[name] for row in ROWS] for name in ROWS[0]}
IN_LISTS = [{name: [value] for name, value in row.items()} for row in ROWS]
WITHOUT_WIND = {name: values for name, values in COLUMNS.items() if name != "wind"}
TENSORFLOW = f"/v1/models/{CLASSIFIER}"


@pytest.fixture
def http(service: Service) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=service.url, timeout=30) as client:
        yield client


def test_typed_rows_get_what_student_and_ensemble_compute(told: dict[str, Told]) -> None:
    student = builders.expected_scores(builders.STUDENT_WEIGHTS, [[200, 3.5, 1]])
    ensemble = builders.expected_scores(builders.ENSEMBLE_WEIGHTS, [[50, 6.5, 1]])

    assert told[CLASSIFIER]["answered_by"] == ["student"] * 5 + ["ensemble"]
    assert told[CLASSIFIER]["prediction"] == [1, 0, 1, 1, 0, 0]
    assert (told[CLASSIFIER]["probability"][0], told[CLASSIFIER]["probability"][-1]) == pytest.approx(
        (student[0, 0], ensemble[0, 0]), abs=1e-6
    )


@pytest.mark.parametrize(
    ("body", "key"),
    [
        ({"instances": ROWS}, "predictions"),
        ({"instances": IN_LISTS, "signature_name": "serving_default"}, "predictions"),
        ({"instances": [list(row.values()) for row in ROWS]}, "predictions"),
        ({"inputs": COLUMNS}, "outputs"),
        ({"inputs": {name: [[value] for value in values] for name, values in COLUMNS.items()}}, "outputs"),
    ],
    ids=["rows", "rows of lists", "by position", "columns", "columns of lists"],
)
@pytest.mark.parametrize("path", [TENSORFLOW, f"{TENSORFLOW}/versions/1"])
def test_tensorflow_servings_predict_gets_the_probabilities(
    http: httpx.Client, told: dict[str, Told], path: str, body: dict[str, Any], key: str
) -> None:
    assert http.post(f"{path}:predict", json=body).json() == {key: told[CLASSIFIER]["probability"]}


def test_tensorflow_servings_classify_and_regress_get_the_same_scores(http: httpx.Client, told: dict[str, Told]) -> None:
    classified = http.post(f"{TENSORFLOW}:classify", json={"examples": ROWS}).json()["results"]
    regressed = http.post(f"/v1/models/{REGRESSOR}:regress", json={"context": {"wind": 1.0}, "examples": without_wind()}).json()["results"]
    of_the_same = http.post(f"/v1/models/{REGRESSOR}:predict", json={"instances": [row | {"wind": 1.0} for row in ROWS]}).json()

    assert [dict(classes)["1"] for classes in classified] == told[CLASSIFIER]["probability"]
    assert [dict(classes)["0"] for classes in classified] == [1 - p for p in told[CLASSIFIER]["probability"]]
    assert regressed == of_the_same["predictions"]


def without_wind() -> list[dict[str, Any]]:
    return [{name: value for name, value in row.items() if name != "wind"} for row in ROWS]


def test_tensorflow_servings_status_and_metadata(http: httpx.Client) -> None:
    available = {"version": "1", "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}
    metadata = http.get(f"{TENSORFLOW}/metadata").json()
    signature = metadata["metadata"]["signature_def"]["signature_def"]["serving_default"]

    assert http.get(TENSORFLOW).json() == {"model_version_status": [available]}
    assert metadata["model_spec"] == {"name": CLASSIFIER, "signature_name": "", "version": "1"}
    kinds = {"miles": "DT_FLOAT", "wind": "DT_FLOAT", "carrier": "DT_STRING", "sex": "DT_STRING", "at": "DT_STRING"}
    assert {name: tensor["dtype"] for name, tensor in signature["inputs"].items()} == kinds


def test_tensorflow_servings_errors_have_its_shape(http: httpx.Client) -> None:
    wrong = http.post(f"{TENSORFLOW}:predict", json={"inputs": WITHOUT_WIND})
    unknown = http.post("/v1/models/nobody:predict", json={"instances": ROWS})

    assert (wrong.status_code, wrong.json()["error"]) == (400, NO_WIND)
    assert (unknown.status_code, unknown.json()["error"]) == (404, NO_SUCH_MODEL)


@pytest.mark.parametrize("path", [f"/predictions/{CLASSIFIER}", f"/predictions/{CLASSIFIER}/1"])
def test_torchserves_predictions_are_those_of_typed_rows(http: httpx.Client, told: dict[str, Told], path: str) -> None:
    outputs = told[CLASSIFIER]
    expected = [
        {"prediction": prediction, "probability": probability, "answered_by": by}
        for prediction, probability, by in zip(outputs["prediction"], outputs["probability"], outputs["answered_by"], strict=True)
    ]

    assert http.post(path, json=ROWS).json() == expected
    assert http.post(path, json={"instances": ROWS}).json() == {"predictions": expected}
    assert http.post(path, json=ROWS[-1]).json() == expected[-1]


def test_torchserve_says_that_it_is_healthy_and_what_it_serves(http: httpx.Client) -> None:
    (model,) = http.get(f"/models/{REGRESSOR}").json()

    assert http.get("/ping").json() == {"status": "Healthy"}
    assert (model["modelName"], model["modelVersion"], model["workers"][0]["status"]) == (REGRESSOR, "1", "READY")


def test_torchserves_errors_have_its_shape(http: httpx.Client) -> None:
    wrong = http.post(f"/predictions/{CLASSIFIER}", json=without_wind()).json()
    unknown = http.post("/predictions/nobody", json=ROWS).json()

    assert (wrong["code"], wrong["type"], wrong["details"][0]["column"]) == (400, "BadRequestException", "wind")
    assert unknown == {"code": 404, "type": "ModelNotFoundException", "message": NO_SUCH_MODEL} | {"details": unknown["details"]}


TENSORS = [
    {"name": name, "datatype": "FP64" if name in ("miles", "wind") else "BYTES", "shape": [len(ROWS)], "data": values}
    for name, values in COLUMNS.items()
]
EVERY_ROUTE: dict[str, tuple[str, Any]] = {
    "rows": (f"/{CLASSIFIER}/v1/predict", {"rows": ROWS}),
    "columns": (f"/{CLASSIFIER}/v1/predict", {"columns": COLUMNS}),
    "Open Inference Protocol": (f"/v2/models/{CLASSIFIER}/infer", {"inputs": TENSORS}),
    "its bytes": (f"/v2/models/{CLASSIFIER}/infer", {"inputs": TENSORS, "parameters": {"binary_data_output": True}}),
    "TensorFlow Serving's predict": (f"{TENSORFLOW}:predict", {"instances": ROWS}),
    "its classify": (f"{TENSORFLOW}:classify", {"examples": ROWS}),
    "its regress": (f"{TENSORFLOW}:regress", {"examples": ROWS}),
    "TorchServe": (f"/predictions/{CLASSIFIER}", ROWS),
    "MLflow": (f"/{CLASSIFIER}/invocations", {"dataframe_records": ROWS}),
}


@pytest.mark.parametrize("route", EVERY_ROUTE)
def test_every_answer_to_rows_names_request_and_bundle_in_its_headers(service: Service, http: httpx.Client, route: str) -> None:
    path, body = EVERY_ROUTE[route]

    headers = http.post(path, json=body).headers

    assert headers["X-Homeostat-Bundle"] == "1"
    assert service.label(CLASSIFIER, headers["X-Homeostat-Request"]).json() == {"accepted": 1}


def test_a_refusal_names_no_request(http: httpx.Client) -> None:
    refused = http.post(f"/v2/models/{CLASSIFIER}/infer", json={"inputs": TENSORS[:1]})

    assert refused.status_code == 400
    assert "X-Homeostat-Request" not in refused.headers
