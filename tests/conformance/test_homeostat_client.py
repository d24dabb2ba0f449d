"""Our own client, sync and async, where one service answers for two models."""

from __future__ import annotations

import asyncio
from typing import Any

import pandas as pd
import pytest

from cluster.errors import MissingColumn, UnknownModel
from serve_apps.client import AsyncHomeostatClient, HomeostatClient, Predictions
from tests.conformance.conftest import CLASSIFIER, NO_SUCH_MODEL, REGRESSOR, ROWS, Service, Told

FORMS: dict[str, Any] = {
    "rows": ROWS,
    "columns": {name: [row[name] for row in ROWS] for name in ROWS[0]},
    "data frame": pd.DataFrame(ROWS),
}


def outputs(answer: Predictions, *names: str) -> dict[str, list[Any]]:
    return {name: [getattr(row, name) for row in answer] for name in names}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_rows_gets_the_answers_of_typed_rows(service: Service, told: dict[str, Told], form: str) -> None:
    with HomeostatClient(service.url, model=CLASSIFIER, timeout_s=30) as client:
        answer = client.predict(FORMS[form])

        assert answer.bundle == "1"
        assert outputs(answer, *told[CLASSIFIER]) == told[CLASSIFIER]
        assert client.label(answer.request_id, [1, 0, 1, 1, 0, 1]) == len(ROWS)


def test_the_async_client_reaches_the_other_model_by_its_name(service: Service, told: dict[str, Told]) -> None:
    async def ask() -> tuple[bool, str, Predictions]:
        async with AsyncHomeostatClient(service.url, model=REGRESSOR, timeout_s=30) as client:
            return await client.ready(), (await client.model())["task"], await client.predict(ROWS)

    ready, task, answer = asyncio.run(ask())

    assert (ready, task) == (True, "regression")
    assert outputs(answer, *told[REGRESSOR]) == told[REGRESSOR]


def test_a_refusal_is_a_typed_error_with_the_services_message(service: Service) -> None:
    without = [{name: value for name, value in row.items() if name != "wind"} for row in ROWS[:1]]
    with HomeostatClient(service.url, model=CLASSIFIER) as client, pytest.raises(MissingColumn) as missing:
        client.predict(pd.DataFrame(without))
    with HomeostatClient(service.url, model="nobody") as client, pytest.raises(UnknownModel) as unknown:
        client.predict(ROWS)

    assert "column 'wind' is absent" in missing.value.message
    assert missing.value.details[0]["column"] == "wind"
    assert unknown.value.message == NO_SUCH_MODEL
