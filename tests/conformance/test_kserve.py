"""KServe's inference clients: REST by its protocols v2 and v1, and gRPC."""

from __future__ import annotations

from typing import Any

import pytest

from tests.conformance.conftest import CLASSIFIER, NO_SUCH_MODEL, NO_WIND, REGRESSOR, Service, Told

pytestmark = pytest.mark.timeout(900)  # the environment is made the first time

WAYS = {"rest": ["bytes", "JSON", "lists", "bytes back", "JSON and bytes"], "grpc": ["raw", "typed", "requested"]}


@pytest.fixture(scope="module")
def found(service: Service) -> dict[str, Any]:
    """What the clients got, by transport."""
    answers: dict[str, Any] = service.run("kserve", "kserve_inference.py")
    return answers


@pytest.fixture(params=list(WAYS))
def transport(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_the_server_and_both_models_are_live_and_ready(found: dict[str, Any], transport: str) -> None:
    said = found[transport]

    assert (said["live"], said["ready"], said["model ready"][:2]) == (True, True, [True, True])


def test_a_model_that_nobody_serves_is_not_ready(found: dict[str, Any]) -> None:
    assert found["rest"]["model ready"][2] is False
    assert found["grpc"]["unknown model ready"] == ["NOT_FOUND", NO_SUCH_MODEL]


@pytest.mark.parametrize(("transport", "way"), [(transport, way) for transport, ways in WAYS.items() for way in ways])
def test_every_way_to_ask_gets_the_answers_of_typed_rows(found: dict[str, Any], told: dict[str, Told], transport: str, way: str) -> None:
    assert found[transport]["scored"][way] == told[CLASSIFIER]


def test_the_other_model_is_reached_by_its_name(found: dict[str, Any], told: dict[str, Told], transport: str) -> None:
    other = found[transport]["other"]

    assert other["model"] == REGRESSOR
    assert {name: other[name] for name in told[REGRESSOR]} == told[REGRESSOR]


def test_by_protocol_v1_each_row_gets_its_score(found: dict[str, Any], told: dict[str, Told]) -> None:
    assert found["v1"]["scored"] == {"predictions": told[CLASSIFIER]["probability"]}
    assert found["v1"]["other"] == {"predictions": told[REGRESSOR]["prediction"]}


def test_a_refusal_by_rest_is_the_clients_own_exception_with_our_message(service: Service, found: dict[str, Any]) -> None:
    def shown(status: str, message: str, path: str) -> list[Any]:
        return [int(status[:3]), f"{message}, '{status}' for url '{service.url}{path}'"]

    assert found["rest"]["missing column"] == shown("400 Bad Request", NO_WIND, f"/v2/models/{CLASSIFIER}/infer")
    assert found["rest"]["unknown model"] == shown("404 Not Found", NO_SUCH_MODEL, "/v2/models/nobody/infer")
    assert found["v1"]["unknown model"] == shown("404 Not Found", NO_SUCH_MODEL, "/v1/models/nobody:predict")


def test_a_refusal_by_grpc_is_the_clients_own_exception_with_our_message(found: dict[str, Any]) -> None:
    assert found["grpc"]["missing column"] == ["INVALID_ARGUMENT", NO_WIND]
    assert found["grpc"]["unknown model"] == ["NOT_FOUND", NO_SUCH_MODEL]


def test_labels_are_taken_for_the_request_id_beside_the_callers_own(service: Service, found: dict[str, Any], transport: str) -> None:
    identity = found[transport]["identity"]

    assert (identity["model"], identity["id"]) == (CLASSIFIER, "mine")
    assert service.label(CLASSIFIER, identity["request_id"]).json() == {"accepted": 1}
