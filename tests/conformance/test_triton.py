"""NVIDIA's `tritonclient`, by HTTP and by gRPC."""

from __future__ import annotations

from typing import Any

import pytest

from tests.conformance.conftest import CLASSIFIER, NO_SUCH_MODEL, NO_WIND, REGRESSOR, TIMES, Service, Told

pytestmark = pytest.mark.timeout(900)  # the environment is made the first time

NUMBERS = "INT8, INT16, INT32, INT64, UINT8, UINT16, UINT32, UINT64, FP16, FP32, FP64"
REFUSED = {
    "missing column": (400, NO_WIND),
    "wrong type": (400, f"input 'miles' is BYTES; allowed: {NUMBERS}"),
    "infinite": (400, "row 0, column 'wind': the number is infinite or too large; send null for a missing value (and 5 more, see details)"),
    "unknown model": (404, NO_SUCH_MODEL),
    "unknown version": (404, "version '9' of model 'late' does not answer here; there is: 1"),
    "unknown output": (400, "there is no output 'colour'; there is: prediction, probability, answered_by, degraded"),
    "metadata of an unknown model": (404, NO_SUCH_MODEL),
}
STATUS = {"http": {400: "400", 404: "404"}, "grpc": {400: "StatusCode.INVALID_ARGUMENT", 404: "StatusCode.NOT_FOUND"}}
WAYS = {
    "http": ["one dimension", "two dimensions", "version", "timeout", "JSON", "JSON and bytes", "gzip", "deflate", "later", "asyncio"],
    "grpc": ["one dimension", "two dimensions", "version", "timeout", "gzip", "deflate", "asyncio"],
}


@pytest.fixture(scope="module")
def found(service: Service) -> dict[str, Any]:
    """What the client got, by transport."""
    return {transport: service.run("tritonclient", "triton.py", transport) for transport in WAYS}


@pytest.fixture(params=list(WAYS))
def transport(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_the_server_and_both_models_are_live_and_ready(found: dict[str, Any], transport: str) -> None:
    said = found[transport]

    assert (said["live"], said["ready"], said["model ready"]) == (True, True, [True, True])
    assert (said["server"]["name"], said["server"]["extensions"]) == ("homeostat", ["binary_tensor_data", "model_configuration"])
    assert said["index"] == ["delay 1 READY", "late 1 READY"]


def test_metadata_name_a_tensor_a_column_and_every_output(found: dict[str, Any], transport: str) -> None:
    inputs = [["miles", "FP32", [-1]], ["wind", "FP32", [-1]], ["carrier", "BYTES", [-1]], ["sex", "BYTES", [-1]], ["at", "BYTES", [-1]]]
    outputs = [["prediction", "INT64", [-1]], ["probability", "FP32", [-1]], ["answered_by", "BYTES", [-1]], ["degraded", "BOOL", [-1]]]

    assert found[transport]["metadata"] == [CLASSIFIER, ["1"], inputs, outputs]
    assert found[transport]["config"] == ["TYPE_FP32", "TYPE_FP32", "TYPE_STRING", "TYPE_STRING", "TYPE_STRING"]


@pytest.mark.parametrize(("transport", "way"), [(transport, way) for transport, ways in WAYS.items() for way in ways])
def test_every_way_to_ask_gets_the_answers_of_typed_rows(found: dict[str, Any], told: dict[str, Told], transport: str, way: str) -> None:
    assert found[transport]["scored"][way] == told[CLASSIFIER]


def test_no_way_to_ask_is_left_out(found: dict[str, Any], transport: str) -> None:
    assert sorted(found[transport]["scored"]) == sorted(WAYS[transport])


def test_a_rows_answer_is_the_same_to_the_bit_in_a_request_of_any_size(
    found: dict[str, Any], told: dict[str, Told], transport: str
) -> None:
    sizes, outputs = found[transport]["sizes"], told[CLASSIFIER]

    assert sizes["alone"] == {name: values[-1:] for name, values in outputs.items()}
    assert sizes["many"] == {name: values * TIMES for name, values in outputs.items()}


def test_only_the_requested_output_comes_back_under_the_callers_id(found: dict[str, Any], told: dict[str, Told], transport: str) -> None:
    some = found[transport]["some"]

    assert some["probability"] == told[CLASSIFIER]["probability"]
    assert (some["others"], some["id"], some["model"], some["version"]) == (False, "mine", CLASSIFIER, "1")


def test_the_other_model_is_reached_by_its_name(found: dict[str, Any], told: dict[str, Told], transport: str) -> None:
    other = found[transport]["other"]

    assert (other["model"], other["version"]) == (REGRESSOR, "1")
    assert {name: other[name] for name in told[REGRESSOR]} == told[REGRESSOR]


@pytest.mark.parametrize("case", REFUSED)
def test_a_refusal_is_the_clients_own_exception_with_our_message(found: dict[str, Any], transport: str, case: str) -> None:
    status, message = REFUSED[case]

    assert found[transport]["refused"][case] == [STATUS[transport][status], message]


def test_labels_are_taken_for_the_request_ids_that_the_client_got(service: Service, found: dict[str, Any], transport: str) -> None:
    identity, some = found[transport]["identity"], found[transport]["some"]

    assert identity["id"] == identity["request_id"], "a caller that sends no id of its own gets ours"
    for request_id in (identity["request_id"], some["request_id"]):
        assert service.label(CLASSIFIER, request_id).json() == {"accepted": 1}
