"""The client of MLflow's scoring server, as `mlflow models serve` is asked by it."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tests.conformance.conftest import CLASSIFIER, NO_WIND, REGRESSOR, ROWS, Service, Told

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # MLflow's own
    from mlflow.pyfunc.scoring_server.client import ScoringServerClient

FORMS: dict[str, Any] = {
    "data frame": pd.DataFrame(ROWS),
    "records": ROWS,
    "array": np.array([list(row.values()) for row in ROWS], dtype=object),
}


def client_of(service: Service, model: str = "") -> ScoringServerClient:
    """A client of one model's mount, or of the whole service."""
    host, _, port = service.http.partition(":")
    return ScoringServerClient(host, f"{port}/{model}" if model else port)


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_rows_gets_the_answers_of_typed_rows(service: Service, told: dict[str, Told], form: str) -> None:
    answer = client_of(service, CLASSIFIER).invoke(FORMS[form]).get_predictions()

    assert answer.columns.tolist() == ["prediction", "probability"]
    assert answer.to_dict(orient="list") == {name: told[CLASSIFIER][name] for name in ("prediction", "probability")}


def test_the_other_model_is_reached_by_its_name(service: Service, told: dict[str, Told]) -> None:
    answer = client_of(service, REGRESSOR).invoke(FORMS["data frame"]).get_predictions()

    assert answer.to_dict(orient="list") == {"prediction": told[REGRESSOR]["prediction"]}


@pytest.mark.parametrize("model", ["", CLASSIFIER])
def test_the_server_is_ready_and_says_its_version(service: Service, model: str) -> None:
    client = client_of(service, model)
    client.wait_server_ready(timeout=5)

    assert client.get_version() == "0.1.0"


def test_a_refusal_is_the_clients_own_exception_with_our_message(service: Service) -> None:
    with pytest.raises(Exception, match="error code 400") as refused:
        client_of(service, CLASSIFIER).invoke(FORMS["data frame"].drop(columns="wind"))
    with pytest.raises(Exception, match="error code 404") as unnamed:
        client_of(service).invoke(FORMS["data frame"])

    assert f'"message":"{NO_WIND}"' in str(refused.value)
    assert "write for example '/late/invocations'" in str(unnamed.value)
