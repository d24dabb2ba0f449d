"""POST /v1/explain through a gateway: what is explained, what is refused, and who is not made to wait."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import openapi_spec_validator
import pytest
from jsonschema import Draft202012Validator  # type: ignore[import-untyped] # Ray brings it, without types

from cluster.bundle import TREES, Bundle
from cluster.explaining.explainer import Asked, Chosen, Explained, Explainer
from cluster.journal import scan
from cluster.schema import Matrix
from cluster.settings import Settings
from serve_apps.gateway import Gateway
from serve_apps.placement import Placement
from serve_apps.protocols import openapi
from serve_apps.protocols.explain import MOST_ROWS
from serve_apps.served import ServedModel
from tests.builders import MODEL, make_champion, make_row, make_schema, make_settings, publish
from tests.unit.cluster.explaining.bundles import LABELS, make_explained, margins_of
from tests.unit.serve_apps.test_openapi import modern

Client = httpx.AsyncClient
JSON = {"content-type": "application/json"}
ROWS = [make_row(), make_row(miles=None, carrier="ZZ", wind=-120)]


def served_with(root: Path, task: str = "binary", **more: Any) -> Settings:
    folder = root / "bundles" / "1"
    publish(root, folder, version="1", digest=make_explained(folder, make_schema(label=LABELS[task]), **more))
    return make_settings(root)


def gateway_of(settings: Settings, *, elsewhere: bool = False) -> Gateway:
    async def ask(bundle: Bundle, matrix: Matrix, budget_s: float) -> Matrix:
        raise AssertionError("an explanation must not ask the ensemble's deployment")

    return Gateway([ServedModel(settings, Placement("deployment" if elsewhere else "in_process", "a test"), ask if elsewhere else None)])


def converse(gateway: Gateway, talk: Callable[[Client], Awaitable[None]]) -> None:
    async def run() -> None:
        transport = httpx.ASGITransport(gateway, raise_app_exceptions=True)
        async with Client(transport=transport, base_url="http://gateway", timeout=30) as client:
            await talk(client)

    asyncio.run(run())


def explained(gateway: Gateway, path: str = "/v1/explain", **body: Any) -> Any:
    """The answer to one good request, which must be as documented."""
    answers: list[httpx.Response] = []

    async def talk(client: Client) -> None:
        answers.append(await client.post(path, json={"rows": ROWS} | body))

    converse(gateway, talk)
    assert answers[0].status_code == 200, answers[0].text
    assert gateway.only is not None
    document = openapi.document(gateway.only.current.schema, model=MODEL, version="1.0", max_rows=50)
    openapi_spec_validator.validate(document)
    schemas = modern({"components": {"schemas": document["components"]["schemas"]}})
    Draft202012Validator(schemas | {"$ref": "#/components/schemas/ExplainBody"}).validate({"rows": ROWS} | body)
    Draft202012Validator(schemas | {"$ref": "#/components/schemas/ExplainAnswer"}).validate(answers[0].json())
    return answers[0].json()


def encoded(gateway: Gateway) -> Matrix:
    assert gateway.only is not None
    return gateway.only.current.encoder.columns({name: [row[name] for row in ROWS] for name in ("miles", "wind", "carrier")})


def test_the_trees_are_explained_exactly_unless_something_else_is_asked_for(tmp_path: Path) -> None:
    gateway = gateway_of(served_with(tmp_path, weight=0.75))
    found = explained(gateway)
    assert {key: found[key] for key in ("model", "bundle", "method", "why")} == {
        "model": "late",
        "bundle": "1",
        "method": "shap",
        "why": "exact, and the trees are 75% of the ensemble",
    }
    assert found["explains"] == {
        "part": "xgboost",
        "unit": "log odds of the class",
        "note": "the XGBoost member, 75% of the ensemble, exactly; not the other members, the calibration or the student",
    }
    assert "samples" not in found
    margins = margins_of(make_schema(), encoded(gateway))[:, 0]
    for row, sent, margin in zip(found["explanations"], ROWS, margins, strict=True):
        assert (row["class"], set(row)) == (1, {"score", "class", "base", "contributions"})
        assert row["score"] == pytest.approx(float(margin), abs=1e-4)
        assert row["base"] + sum(part["contribution"] for part in row["contributions"]) == pytest.approx(row["score"])
        assert {part["feature"]: part["value"] for part in row["contributions"]} == {n: sent[n] for n in ("miles", "wind", "carrier")}
        sizes = [abs(part["contribution"]) for part in row["contributions"]]
        assert sizes == sorted(sizes, reverse=True)


def test_lime_explains_the_ensemble_as_it_answers_the_same_way_each_time(tmp_path: Path) -> None:
    gateway = gateway_of(served_with(tmp_path))
    found = explained(gateway, method="lime", samples=500, seed=3, top=2)
    assert (found["method"], found["why"], found["samples"], found["seed"]) == ("lime", "asked for", 500, 3)
    assert found["explains"]["part"] == "ensemble"
    assert gateway.only is not None
    scores = gateway.only.current.ensemble(encoded(gateway))[:, 0]
    assert [row["score"] for row in found["explanations"]] == pytest.approx(scores.tolist(), rel=1e-5)
    for row in found["explanations"]:
        assert len(row["contributions"]) == 2
        assert 0 < row["fidelity"] < 1
        told = row["base"] + sum(part["contribution"] for part in row["contributions"]) + row["rest"]
        assert told == pytest.approx(row["score"], abs=0.35)
    assert "miles is missing" in [part["condition"] for part in found["explanations"][1]["contributions"]]
    assert explained(gateway, method="lime", samples=500, seed=3, top=2) == found
    assert explained(gateway, method="lime", samples=500, seed=4, top=2) != found


def test_the_surrogates_rule_is_told_with_its_fidelity(tmp_path: Path) -> None:
    found = explained(gateway_of(served_with(tmp_path)), method="surrogate")
    for row in found["explanations"]:
        assert set(row) == {"score", "class", "rule", "fidelity", "agreement"}
        assert row["rule"]["conditions"]
        assert 0 < row["fidelity"] <= 1
        assert 0.5 < row["agreement"] <= 1


def test_where_the_ensemble_is_elsewhere_the_student_is_explained_and_the_trees_all_the_same(tmp_path: Path) -> None:
    gateway = gateway_of(served_with(tmp_path), elsewhere=True)
    found = explained(gateway, method="lime", samples=300)
    assert found["explains"]["part"] == "student"
    assert gateway.only is not None
    scores = gateway.only.current.student(encoded(gateway))[:, 0]
    assert [row["score"] for row in found["explanations"]] == pytest.approx(scores.tolist(), rel=1e-5)
    assert explained(gateway)["explains"]["part"] == "xgboost"


@pytest.mark.parametrize("method", ["shap", "lime", "surrogate"])
def test_a_class_may_be_named_and_else_the_predicted_one_is_explained(method: str, tmp_path: Path) -> None:
    gateway, rows = gateway_of(served_with(tmp_path, "multiclass")), [make_row(miles=-500), make_row(miles=500)]
    named = explained(gateway, rows=rows, method=method, **{"class": "b"})
    assert [row["class"] for row in named["explanations"]] == ["b", "b"]
    assert [row["class"] for row in explained(gateway, rows=rows, method=method)["explanations"]] == ["a", "c"]


@pytest.mark.parametrize("method", ["shap", "lime", "surrogate"])
def test_numbers_are_explained_in_the_labels_unit(method: str, tmp_path: Path) -> None:
    found = explained(gateway_of(served_with(tmp_path, "regression")), method=method)
    assert found["explains"]["unit"] == "late"
    assert all("class" not in row for row in found["explanations"])


def test_it_answers_under_the_models_name_and_by_columns_as_well(tmp_path: Path) -> None:
    gateway = gateway_of(served_with(tmp_path))
    by_rows = explained(gateway)
    columns = {name: [row[name] for row in ROWS] for name in ROWS[0]}

    async def talk(client: Client) -> None:
        answer = await client.post(f"/{MODEL}/v1/explain", json={"columns": columns, "model": MODEL})
        assert answer.json() == by_rows

    converse(gateway, talk)


def test_nothing_is_journaled(tmp_path: Path) -> None:
    settings = served_with(tmp_path)
    explained(gateway_of(settings))
    assert list(scan(settings.places.journal(MODEL))) == []


# What is refused


def _rows(count: int) -> str:
    return json.dumps({"rows": [make_row()] * count})


WRONG_ROWS: dict[str, str | bytes] = {
    "missing column": '{"rows": [{"miles": 1}]}',
    "unknown column": json.dumps({"rows": [make_row(tail="N1")]}),
    "wrong type": json.dumps({"rows": [make_row(miles="far")]}),
    "NaN": _rows(1).replace("200.0", "NaN"),
    "infinite": _rows(1).replace("200.0", "1e999"),
    "bad time": json.dumps({"rows": [make_row(at="yesterday")]}),
    "no rows": '{"rows": []}',
    "neither": "{}",
    "both": json.dumps({"rows": ROWS, "columns": {}}),
    "broken JSON": '{"rows": [',
    "no UTF-8": b'{"rows":[{"miles": "\xff"}]}',  # its place is told as in a body without spaces between keys
    "unknown model": json.dumps({"model": "other", "rows": ROWS}),
    "no name of a model": json.dumps({"model": 7, "rows": ROWS}),
    "rows that are none": json.dumps({"rows": 7}),
    "columns that differ in length": json.dumps({"columns": {name: [None] * (1 + (name == "wind")) for name in make_row()}}),
}


@pytest.mark.parametrize("case", WRONG_ROWS)
def test_the_same_mistake_in_rows_reads_as_it_does_for_predictions(case: str, tmp_path: Path) -> None:
    async def talk(client: Client) -> None:
        explanation, prediction = [
            await client.post(path, content=WRONG_ROWS[case], headers=JSON) for path in ("/v1/explain", "/v1/predict")
        ]
        assert explanation.status_code >= 400
        assert (explanation.status_code, explanation.json()) == (prediction.status_code, prediction.json())

    converse(gateway_of(served_with(tmp_path)), talk)


WRONG_OPTIONS: dict[str, tuple[dict[str, Any], int, str, str]] = {
    "method": ({"method": "magic"}, 400, "BadRequestShape", "method: shap, lime, surrogate"),
    "few samples": ({"method": "lime", "samples": 99}, 400, "BadRequestShape", "samples: 100 to 20000"),
    "many samples": ({"method": "lime", "samples": 20_001}, 400, "BadRequestShape", "samples: 100 to 20000"),
    "seed": ({"method": "lime", "seed": -1}, 400, "BadRequestShape", "seed: 0 to 4294967295"),
    "top": ({"top": 0}, 400, "BadRequestShape", "top: 1 or more"),
    "unknown key": ({"depth": 3}, 400, "BadRequestShape", "unknown field `depth`"),
    "class": ({"class": 2}, 400, "BadRequestShape", "'class' is 2; the classes of 'late' are: 0, 1"),
    "samples for shap": ({"samples": 500}, 400, "BadRequestShape", "'samples' says how LIME draws, and the method is 'shap'"),
    "seed for the surrogate": ({"method": "surrogate", "seed": 1}, 400, "BadRequestShape", "'seed' says how LIME draws"),
    "top of a rule": ({"method": "surrogate", "top": 2}, 400, "BadRequestShape", "a rule of the surrogate has none"),
    "too many rows": ({"rows": [make_row()] * (MOST_ROWS + 1)}, 413, "TooManyRows", "101 rows; at most 100 are explained at once"),
}


@pytest.mark.parametrize("case", WRONG_OPTIONS)
def test_what_is_wrong_beside_the_rows_is_told_with_what_is_allowed(case: str, tmp_path: Path) -> None:
    body, status, name, words = WRONG_OPTIONS[case]

    async def talk(client: Client) -> None:
        answer = await client.post("/v1/explain", json={"rows": ROWS} | body)
        assert (answer.status_code, answer.json()["error"]["type"]) == (status, name)
        assert words in answer.json()["error"]["message"]

    converse(gateway_of(served_with(tmp_path)), talk)


def test_a_number_has_no_classes_to_name(tmp_path: Path) -> None:
    async def talk(client: Client) -> None:
        answer = await client.post("/v1/explain", json={"rows": ROWS, "class": "dear"})
        assert (answer.status_code, answer.json()["error"]["message"]) == (400, "'class' is 'dear'; 'late' is a number and has none")

    converse(gateway_of(served_with(tmp_path, "regression")), talk)


def test_other_content_types_are_refused(tmp_path: Path) -> None:
    async def talk(client: Client) -> None:
        answer = await client.post("/v1/explain", content="miles\n1\n", headers={"content-type": "text/csv"})
        assert (answer.status_code, answer.json()["error"]["type"]) == (415, "UnsupportedMediaType")

    converse(gateway_of(served_with(tmp_path)), talk)


def test_a_bundle_without_trees_says_what_it_can_do_and_one_without_anything_that_it_cannot(tmp_path: Path) -> None:
    make_champion(tmp_path / "bare")

    async def few(client: Client) -> None:
        answer = await client.post("/v1/explain", json={"rows": ROWS, "method": "shap"})
        assert (answer.status_code, answer.json()["error"]["type"]) == (404, "NotServed")
        assert answer.json()["error"]["details"] == [{"found": "shap", "allowed": ["lime", "surrogate"]}]

    async def none(client: Client) -> None:
        answer = await client.post("/v1/explain", json={"rows": ROWS})
        assert (answer.status_code, answer.json()["error"]["type"]) == (404, "NotServed")
        assert "version 1 cannot be explained" in answer.json()["error"]["message"]

    converse(gateway_of(served_with(tmp_path, leave_out=[TREES])), few)
    converse(gateway_of(make_settings(tmp_path / "bare")), none)


def test_a_guarded_model_asks_for_the_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LATE_TOKEN", "s3cret")
    settings = served_with(tmp_path)
    guarded = settings.model_copy(update={"serving": settings.serving.model_copy(update={"token_env": "LATE_TOKEN"})})

    async def talk(client: Client) -> None:
        assert (await client.post("/v1/explain", json={"rows": ROWS})).status_code == 401
        friend = {"authorization": "Bearer s3cret"}
        assert (await client.post("/v1/explain", json={"rows": ROWS}, headers=friend)).status_code == 200

    converse(gateway_of(guarded), talk)


# Who waits


def test_others_are_answered_meanwhile_and_who_cannot_wait_is_told_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begun, go_on, in_full = threading.Event(), threading.Event(), Explainer.explain

    def slow(self: Explainer, matrix: Matrix, asked: Asked) -> Explained:
        begun.set()
        assert go_on.wait(20)
        return in_full(self, matrix, asked)

    monkeypatch.setattr(Explainer, "explain", slow)

    async def talk(client: Client) -> None:
        first = asyncio.ensure_future(client.post("/v1/explain", json={"rows": ROWS}))
        await asyncio.to_thread(begun.wait, 20)
        assert (await client.post("/v1/predict", json={"rows": ROWS})).status_code == 200
        late = await client.post("/v1/explain", json={"rows": ROWS}, headers={"x-request-timeout": "0.05"})
        assert (late.status_code, late.json()["error"]["type"]) == (504, "DeadlineExceeded")
        assert "not explained within the request's time" in late.json()["error"]["message"]
        assert not first.done()
        go_on.set()
        assert (await first).status_code == 200

    converse(gateway_of(served_with(tmp_path)), talk)


def test_a_request_whose_time_is_over_is_not_begun(tmp_path: Path) -> None:
    async def talk(client: Client) -> None:
        answer = await client.post("/v1/explain", json={"rows": ROWS}, headers={"x-request-timeout": "1e-9"})
        assert answer.status_code == 504

    converse(gateway_of(served_with(tmp_path)), talk)


def test_an_explainer_does_not_keep_its_bundle(tmp_path: Path) -> None:
    make_explained(tmp_path)
    bundle = Bundle(tmp_path)
    explainer = Explainer(bundle)
    explainer.explain(np.zeros((1, 3), dtype=np.float32), Asked(Chosen("shap", ""), "student", bundle.student))
    assert bundle not in vars(explainer).values()
