from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from cluster.bundle import Bundle
from cluster.errors import JournalError, Overloaded, ScoringFailed, Unavailable
from cluster.journal import Entry, scan
from cluster.schema import Matrix
from cluster.settings import Settings
from serve_apps.cascade import AskEnsemble
from serve_apps.follower import Follower
from serve_apps.gateway import Gateway
from serve_apps.placement import Placement
from serve_apps.served import ServedModel
from tests.builders import ENSEMBLE_WEIGHTS, MODEL, STUDENT_WEIGHTS, expected_scores, make_champion, make_row, make_settings

SURE = {"miles": 2000.0, "carrier": "UA"}
HARD = {"miles": 0.0, "wind": 0.0, "carrier": "UA"}
JSON = {"content-type": "application/json"}
Client = httpx.AsyncClient


async def ensemble(bundle: Bundle, matrix: Matrix, budget_s: float) -> Matrix:
    return np.asarray(expected_scores(ENSEMBLE_WEIGHTS, matrix), dtype=np.float32)


async def absent(bundle: Bundle, matrix: Matrix, budget_s: float) -> Matrix:
    raise Unavailable("the ensemble did not answer in time")


def serve(*models: Settings, ask: AskEnsemble | None = ensemble) -> Gateway:
    """A gateway in this process."""
    placement = Placement("deployment" if ask else "in_process", "the test says so")
    return Gateway([ServedModel(settings, placement, ask) for settings in models])


def converse(
    settings: Settings | Gateway,
    talk: Callable[[Client, Gateway], Awaitable[None]],
    *,
    ask: AskEnsemble | None = ensemble,
    root_path: str = "",
) -> None:
    """Let a client talk to a gateway in this process."""

    async def run() -> None:
        gateway = settings if isinstance(settings, Gateway) else serve(settings, ask=ask)
        transport = httpx.ASGITransport(gateway, raise_app_exceptions=True, root_path=root_path)
        async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as client:
            await talk(client, gateway)

    asyncio.run(run())


def only(gateway: Gateway) -> ServedModel:
    assert gateway.only is not None
    return gateway.only


def entries(settings: Settings) -> list[Entry]:
    return list(scan(settings.places.journal(MODEL)))


async def predict(client: Client, *rows: dict[str, Any], **more: Any) -> Any:
    answered = await client.post("/v1/predict", json={"rows": [make_row(**row) for row in rows], **more})
    assert answered.status_code == 200, answered.text
    return answered.json()


def assert_refused(answered: httpx.Response, status: int, error: str) -> None:
    """The status and the documented shape."""
    assert (answered.status_code, answered.headers["content-type"]) == (status, "application/json")
    content = answered.json()
    assert set(content) == {"error"}
    assert set(content["error"]) == {"type", "message", "details"}
    assert content["error"]["type"] == error
    assert content["error"]["message"]
    assert isinstance(content["error"]["details"], list)


# Predictions


def test_sure_rows_are_answered_by_the_student_and_hard_ones_by_the_ensemble(served: Settings) -> None:
    async def talk(client: Client, gateway: Gateway) -> None:
        answer = await predict(client, SURE, HARD, model=MODEL)
        assert (answer["model"], answer["bundle"]) == (MODEL, "1")
        sure, hard = answer["predictions"]
        student = expected_scores(STUDENT_WEIGHTS, [[2000.0, 3.5, 0]])[0, 0]
        assert sure == {"prediction": 1, "answered_by": "student", "probability": pytest.approx(student, rel=1e-5)}
        assert hard == {"prediction": 1, "answered_by": "ensemble", "probability": 0.5}

    converse(served, talk)


def test_an_answer_is_in_the_journal_before_it_leaves_with_the_same_scores(served: Settings) -> None:
    async def talk(client: Client, gateway: Gateway) -> None:
        answer = await predict(client, SURE, HARD)
        (entry,) = entries(served)
        assert (entry.request_id, entry.kind, entry.rows) == (answer["request_id"], "prediction", 2)
        record = entry.prediction()
        scores = np.frombuffer(record.scores, dtype=np.float32)
        assert [row["probability"] for row in answer["predictions"]] == pytest.approx(scores.tolist(), rel=1e-6)
        assert record.by_ensemble == b"\0\1"
        assert record.bundle == "1"
        assert record.event_times == [1357016400.0] * 2
        assert record.columns == {"miles": [2000.0, 0.0], "wind": [3.5, 0.0], "carrier": ["UA", "UA"], "sex": ["female", "female"]}

    converse(served, talk)


def test_many_rows_are_answered_as_few_are(served: Settings) -> None:
    async def talk(client: Client, gateway: Gateway) -> None:
        rows = [{"miles": float(i)} for i in range(400)]
        many = (await predict(client, *rows))["predictions"]
        assert many[::100] == [(await predict(client, row))["predictions"][0] for row in rows[::100]]

    converse(served, talk)


def test_an_ensemble_that_does_not_answer_leaves_degraded_answers(served: Settings) -> None:
    async def talk(client: Client, gateway: Gateway) -> None:
        sure, hard = (await predict(client, SURE, HARD))["predictions"]
        assert "degraded" not in sure
        assert hard == {"prediction": 1, "answered_by": "student", "probability": 0.5, "degraded": True}
        assert entries(served)[0].prediction().by_ensemble == b"\0\0"

    converse(served, talk, ask=absent)


# Failures


def missing_column() -> bytes:
    row = make_row()
    del row["carrier"]
    return json.dumps({"rows": [row]}).encode()


def rows_body(*rows: dict[str, Any], **more: Any) -> bytes:
    return json.dumps({"rows": list(rows), **more}).encode()


@pytest.mark.parametrize(
    ("method", "path", "content", "headers", "status", "error"),
    [
        ("POST", "/v1/predict", missing_column(), JSON, 422, "MissingColumn"),
        ("POST", "/v1/predict", rows_body(make_row(miles="far")), JSON, 422, "WrongType"),
        ("POST", "/v1/predict", rows_body(make_row(miles=1e39)), JSON, 422, "NotFinite"),
        ("POST", "/v1/predict", rows_body(make_row(carrier=10**30)), JSON, 422, "NotFinite"),
        ("POST", "/v1/predict", b'{"rows": [{"miles": 1e999}]}', JSON, 422, "MissingColumn"),
        ("POST", "/v1/predict", rows_body(make_row(at="soon")), JSON, 422, "BadTime"),
        ("POST", "/v1/predict", rows_body(make_row(at=10**400)), JSON, 422, "NotFinite"),
        ("POST", "/v1/predict", rows_body(), JSON, 422, "NoRows"),
        ("POST", "/v1/predict", rows_body(*[make_row()] * 501), JSON, 413, "TooManyRows"),
        ("POST", "/v1/predict", b'{"rows": [{"miles": NaN}]}', JSON, 400, "BadJson"),
        ("POST", "/v1/predict", b'{"rows": ["x"', JSON, 400, "BadJson"),
        ("POST", "/v1/predict", b"", JSON, 400, "BadJson"),
        ("POST", "/v1/predict", b"[" * 50_000, JSON, 400, "BadJson"),
        ("POST", "/v1/predict", b"[]", JSON, 400, "BadRequestShape"),
        ("POST", "/v1/predict", rows_body(make_row(), model="other"), JSON, 404, "UnknownModel"),
        ("POST", "/v1/predict", rows_body(make_row()), {"content-type": "text/plain"}, 415, "UnsupportedMediaType"),
        ("POST", "/v1/predict", rows_body(make_row()), {}, 415, "UnsupportedMediaType"),
        ("POST", "/v1/predict", rows_body(make_row()), JSON | {"content-length": "many"}, 400, "BadRequestShape"),
        ("POST", "/v1/labels", b"{}", JSON, 400, "BadRequestShape"),
        ("POST", "/v1/labels", b'{"labels": []}', JSON, 422, "NoRows"),
        ("POST", "/v1/labels", b'{"labels": [{"request_id": "x", "row": 0, "label": 1}]}', JSON, 404, "UnknownRequest"),
        ("POST", "/v1/labels", b'{"labels": [], "model": "other"}', JSON, 404, "UnknownModel"),
        ("GET", "/v1/predict", b"", {}, 405, "MethodNotAllowed"),
        ("DELETE", "/v1/labels", b"", {}, 405, "MethodNotAllowed"),
        ("POST", "/v1/model", b"", {}, 405, "MethodNotAllowed"),
        ("GET", "/v1/nothing", b"", {}, 404, "RouteNotFound"),
        ("GET", "/docs/../../etc/passwd", b"", {}, 404, "RouteNotFound"),
    ],
)
def test_every_failure_has_its_status_and_the_documented_shape_and_the_next_request_is_answered(
    tmp_path: Path, method: str, path: str, content: bytes, headers: dict[str, str], status: int, error: str
) -> None:
    async def talk(client: Client, gateway: Gateway) -> None:
        assert_refused(await client.request(method, path, content=content, headers=headers), status, error)
        assert len((await predict(client, {}))["predictions"]) == 1

    make_champion(tmp_path)
    settings = make_settings(tmp_path, max_rows=500)
    converse(settings, talk)
    assert len(entries(settings)) == 1


def test_a_wrong_method_is_told_the_right_one(served: Settings) -> None:
    async def talk(client: Client, gateway: Gateway) -> None:
        refused = await client.get("/v1/predict")
        assert refused.headers["allow"] == "POST"
        assert refused.json()["error"]["details"] == [{"found": "GET", "allowed": ["POST"]}]

    converse(served, talk)


def test_a_body_that_announces_50_mb_is_refused_without_being_read(served: Settings) -> None:
    read = []

    async def unread() -> AsyncIterator[bytes]:
        read.append(1)
        yield b""

    async def talk(client: Client, gateway: Gateway) -> None:
        headers = JSON | {"content-length": str(50 * 1024 * 1024)}
        answered = await client.post("/v1/predict", content=unread(), headers=headers)
        assert_refused(answered, 413, "BodyTooLarge")
        assert read == []
        assert "raise serving.max_body_bytes" in answered.json()["error"]["message"]
        await predict(client, {})

    converse(served, talk)


def test_a_body_that_streams_50_mb_without_announcing_them_is_refused_on_the_way(served: Settings) -> None:
    sent = []

    async def stream() -> AsyncIterator[bytes]:
        for _ in range(50):
            sent.append(1)
            yield b" " * 1024 * 1024

    async def talk(client: Client, gateway: Gateway) -> None:
        assert_refused(await client.post("/v1/predict", content=stream(), headers=JSON), 413, "BodyTooLarge")
        assert len(sent) < 12
        await predict(client, {})

    converse(served, talk)


def test_a_prediction_that_cannot_be_journaled_is_not_acknowledged(served: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(record: object) -> str:
        raise JournalError("cannot append to the journal: No space left on device")

    async def talk(client: Client, gateway: Gateway) -> None:
        with monkeypatch.context() as broken:
            broken.setattr(only(gateway)._journal, "append", full)
            answered = await client.post("/v1/predict", json={"rows": [make_row()]})
            assert_refused(answered, 503, "JournalError")
            assert answered.headers["retry-after"] == "1"
        await predict(client, {})

    converse(served, talk)


def test_an_unforeseen_failure_is_answered_in_the_documented_shape(served: Settings, caplog: pytest.LogCaptureFixture) -> None:
    async def broken(bundle: Bundle, matrix: Matrix, budget_s: float) -> Matrix:
        raise ZeroDivisionError

    async def talk(client: Client, gateway: Gateway) -> None:
        assert_refused(await client.post("/v1/predict", json={"rows": [make_row(**HARD)]}), 500, "InternalError")
        await predict(client, SURE)

    converse(served, talk, ask=broken)
    assert "POST /v1/predict failed" in caplog.text


# Labels


def label(request_id: str, row: int, value: Any) -> dict[str, Any]:
    return {"request_id": request_id, "row": row, "label": value}


def test_labels_are_journaled_before_they_are_accepted(served: Settings) -> None:
    async def talk(client: Client, gateway: Gateway) -> None:
        request_id = (await predict(client, {}, {}))["request_id"]
        answered = await client.post("/v1/labels", json={"labels": [label(request_id, 0, 1), label(request_id, 1, False)]})
        assert (answered.status_code, answered.json()) == (200, {"accepted": 2})
        record = entries(served)[1].labels()
        assert [(entry.request_id, entry.row, entry.label) for entry in record.entries] == [(request_id, 0, 1), (request_id, 1, False)]

    converse(served, talk)


def test_a_label_may_be_sent_twice_and_the_last_one_counts(served: Settings) -> None:
    async def talk(client: Client, gateway: Gateway) -> None:
        request_id = (await predict(client, {}))["request_id"]
        for value in (0, 1):
            assert (await client.post("/v1/labels", json={"labels": [label(request_id, 0, value)]})).json() == {"accepted": 1}
        known = {(e.request_id, e.row): e.label for entry in entries(served) if entry.kind == "labels" for e in entry.labels().entries}
        assert known == {(request_id, 0): 1}

    converse(served, talk)


@pytest.mark.parametrize(
    ("row", "value", "status", "error"),
    [(1, 1, 404, "UnknownRow"), (0, "maybe", 422, "BadLabel"), (0, 2, 422, "BadLabel"), (0, 10**30, 400, "BadRequestShape")],
)
def test_when_one_label_is_wrong_none_of_the_request_is_taken(served: Settings, row: int, value: Any, status: int, error: str) -> None:
    async def talk(client: Client, gateway: Gateway) -> None:
        request_id = (await predict(client, {}))["request_id"]
        labels = [label(request_id, 0, 1), label(request_id, row, value)]
        assert_refused(await client.post("/v1/labels", json={"labels": labels}), status, error)
        assert [entry.kind for entry in entries(served)] == ["prediction"]

    converse(served, talk)


def test_labels_are_taken_by_another_gateway_than_the_one_that_answered(served: Settings) -> None:
    ids = []

    async def ask(client: Client, gateway: Gateway) -> None:
        ids.append((await predict(client, {}))["request_id"])

    async def tell(client: Client, gateway: Gateway) -> None:
        assert (await client.post("/v1/labels", json={"labels": [label(ids[0], 0, 1)]})).status_code == 200

    converse(served, ask)
    converse(served, tell)


# The champion


def test_a_new_champion_answers_after_the_next_look_and_its_answers_say_so(tmp_path: Path, served: Settings) -> None:
    async def talk(client: Client, gateway: Gateway) -> None:
        before = await predict(client, SURE)
        make_champion(tmp_path, version="2", bias=-2.0)
        assert only(gateway).bundles.refresh()
        after = await predict(client, SURE)
        assert (before["bundle"], after["bundle"]) == ("1", "2")
        expected = expected_scores(STUDENT_WEIGHTS, [[2000.0, 3.5, 0]], -2.0)[0, 0]
        assert after["predictions"][0]["probability"] == pytest.approx(expected, rel=1e-5)
        assert [entry.prediction().bundle for entry in entries(served)] == ["1", "2"]
        assert (await client.get("/readyz")).json() == {"status": "ready", "bundle": "2"}

    converse(served, talk)


def test_a_tampered_new_champion_is_refused_and_the_old_one_goes_on_answering(tmp_path: Path, served: Settings) -> None:
    async def talk(client: Client, gateway: Gateway) -> None:
        (make_champion(tmp_path, version="2") / "schema.json").write_bytes(b"{}")
        assert not only(gateway).bundles.refresh()
        assert (await predict(client, SURE))["bundle"] == "1"

    converse(served, talk)


def test_the_gateway_looks_for_a_new_champion_by_itself(tmp_path: Path) -> None:
    async def talk(client: Client, gateway: Gateway) -> None:
        make_champion(tmp_path, version="2")
        follower = Follower(gateway)
        follower.start()
        async with asyncio.timeout(20):
            while (await client.get("/v1/model")).json()["bundle"] != "2":
                await asyncio.sleep(0)
        follower.stop()

    make_champion(tmp_path)
    converse(make_settings(tmp_path, poll_s=0.01), talk)


# The other routes


def test_the_model_route_describes_the_champion(served: Settings) -> None:
    async def talk(client: Client, gateway: Gateway) -> None:
        model = (await client.get("/v1/model")).json()
        assert (model["model"], model["bundle"], model["task"], model["time"]) == (MODEL, "1", "binary", "at")
        assert model["columns"] == ["miles", "wind", "carrier", "sex"]
        assert model["label"]["classes"] == [0, 1]
        assert model["cascade"]["threshold"] == 0.2
        assert model["metrics"] == {"student": {"roc_auc": 0.7}}
        assert (await client.get("/livez")).json() == {"status": "alive"}

    converse(served, talk)


def test_the_openapi_documents_examples_are_answered(served: Settings) -> None:
    async def talk(client: Client, gateway: Gateway) -> None:
        document = (await client.get("/openapi.json")).json()
        bodies = document["paths"]["/v1/predict"]["post"]["requestBody"]["content"]
        for example in bodies["application/json"]["examples"].values():
            answered = await client.post("/v1/predict", json=example["value"])
            assert answered.status_code == 200
            assert set(document["components"]["schemas"]["PredictAnswer"]["required"]) == set(answered.json())
        for example in bodies["text/csv"]["examples"].values():
            assert (await client.post("/v1/predict", content=example["value"], headers={"content-type": "text/csv"})).status_code == 200

    converse(served, talk)


@pytest.mark.parametrize("root_path", ["", "/late"])
def test_the_docs_page_and_all_it_refers_to_come_from_here(served: Settings, root_path: str) -> None:
    async def talk(client: Client, gateway: Gateway) -> None:
        page = await client.get(f"{root_path}/docs")
        assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
        assert "//" not in page.text
        names = [part.split('"')[1] for part in page.text.replace("url: ", "=").split("=")[1:] if part.startswith(f'"{root_path}/')]
        assert names == [f"{root_path}/docs/swagger-ui.css", f"{root_path}/docs/swagger-ui-bundle.js", f"{root_path}/openapi.json"]
        for name, kind in zip(names, ("text/css", "text/javascript", "application/json"), strict=True):
            answered = await client.get(name)
            assert answered.status_code == 200
            assert answered.headers["content-type"].startswith(kind)

    converse(served, talk, root_path=root_path)


# Who may ask


def test_a_guarded_service_answers_only_with_its_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def talk(client: Client, gateway: Gateway) -> None:
        for headers in ({}, {"authorization": "Bearer wrong"}):
            answered = await client.post("/v1/predict", json={"rows": [make_row()]}, headers=headers)
            assert_refused(answered, 401, "Unauthenticated")
            assert answered.headers["www-authenticate"] == "Bearer"
        right = {"authorization": "Bearer s3cret"}
        assert (await client.post("/v1/predict", json={"rows": [make_row()]}, headers=right)).status_code == 200
        assert (await client.get("/livez")).status_code == 200

    monkeypatch.setenv("LATE_TOKEN", "s3cret")
    make_champion(tmp_path)
    settings = make_settings(tmp_path, token_env="LATE_TOKEN")
    converse(settings, talk)
    assert len(entries(settings)) == 1


# Time, load and failure


def test_a_request_whose_time_is_over_is_refused_before_anything_is_computed(served: Settings) -> None:
    async def talk(client: Client, gateway: Gateway) -> None:
        answered = await client.post("/v1/predict", json={"rows": [make_row()]}, headers={"x-request-timeout": "1e-9"})
        assert_refused(answered, 504, "DeadlineExceeded")
        assert entries(served) == []
        assert_refused(await client.post("/v1/predict", json={}, headers={"x-request-timeout": "soon"}), 400, "BadRequestShape")

    converse(served, talk)


def test_the_ensemble_gets_no_more_time_than_the_request_has_left(tmp_path: Path) -> None:
    budgets = []

    async def ask(bundle: Bundle, matrix: Matrix, budget_s: float) -> Matrix:
        budgets.append(budget_s)
        return await ensemble(bundle, matrix, budget_s)

    async def talk(client: Client, gateway: Gateway) -> None:
        await predict(client, HARD)
        await client.post("/v1/predict", json={"rows": [make_row(**HARD)]}, headers={"x-request-timeout": "0.5"})
        assert budgets[0] == 2.0
        assert 0 < budgets[1] <= 0.5

    make_champion(tmp_path)
    converse(make_settings(tmp_path, ensemble_timeout_s=2.0), talk, ask=ask)


def test_an_overloaded_ensemble_costs_the_answer_where_the_settings_say_so(tmp_path: Path) -> None:
    async def full(bundle: Bundle, matrix: Matrix, budget_s: float) -> Matrix:
        raise Overloaded("there is work for 3 s before it")

    async def talk(client: Client, gateway: Gateway) -> None:
        answered = await client.post("/v1/predict", json={"rows": [make_row(**HARD)]})
        assert_refused(answered, 503, "Overloaded")
        assert answered.headers["retry-after"] == "1"
        await predict(client, SURE)

    make_champion(tmp_path)
    converse(make_settings(tmp_path, without_ensemble="refuse"), talk, ask=full)


def test_rows_that_the_model_fails_on_are_not_answered_by_anybody_else(served: Settings) -> None:
    async def failing(bundle: Bundle, matrix: Matrix, budget_s: float) -> Matrix:
        raise ScoringFailed("the ensemble fails on these rows")

    async def talk(client: Client, gateway: Gateway) -> None:
        assert_refused(await client.post("/v1/predict", json={"rows": [make_row(**HARD)]}), 500, "ScoringFailed")

    converse(served, talk, ask=failing)


def test_a_process_that_is_behind_refuses_at_once(served: Settings) -> None:
    async def talk(client: Client, gateway: Gateway) -> None:
        gateway.load.lag_s = 2.0
        assert_refused(await client.post("/v1/predict", json={"rows": [make_row()]}), 503, "Overloaded")
        assert (await client.get("/livez")).status_code == 200
        gateway.load.lag_s = 0.0
        await predict(client, {})

    converse(served, talk)


def test_a_caller_that_hangs_up_stops_the_ensembles_work_and_is_not_journaled(served: Settings) -> None:
    asked, cancelled = asyncio.Event(), []

    async def endless(bundle: Bundle, matrix: Matrix, budget_s: float) -> Matrix:
        asked.set()
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            cancelled.append(1)
            raise
        raise AssertionError

    async def run() -> None:
        gateway = serve(served, ask=endless)
        body = rows_body(make_row(**HARD))
        sent = iter([{"type": "http.request", "body": body, "more_body": False}])

        async def receive() -> Any:
            if (message := next(sent, None)) is not None:
                return message
            await asked.wait()
            return {"type": "http.disconnect"}

        headers = [(b"content-type", b"application/json")]
        reply = await gateway.respond({"type": "http", "method": "POST", "path": "/v1/predict", "headers": headers}, receive)
        await asyncio.sleep(0)
        assert reply.status == 499

    asyncio.run(run())
    assert cancelled == [1]
    assert entries(served) == []


def test_an_ensemble_in_the_same_process_answers_as_one_elsewhere_does(served: Settings) -> None:
    async def talk(client: Client, gateway: Gateway) -> None:
        sure, hard = (await predict(client, SURE, HARD))["predictions"]
        assert (sure["answered_by"], hard["answered_by"]) == ("student", "ensemble")
        assert hard["probability"] == 0.5
        model = (await client.get("/v1/model")).json()
        assert model["placement"] == {"ensemble": "in_process", "reason": "the test says so"}

    converse(served, talk, ask=None)


def test_every_request_is_metered_by_its_route_and_never_by_its_path(served: Settings) -> None:
    async def talk(client: Client, gateway: Gateway) -> None:
        await predict(client, SURE, HARD)
        await client.get("/no/such/place")
        await client.get("/late/v1/model")
        seen = [(e.model, e.route, e.status, e.bundle, e.student, e.ensemble) for e in gateway.meter.drain()]
        assert seen == [
            (MODEL, "/v1/predict", 200, "1", 1, 1),
            ("", "", 404, "", 0, 0),
            (MODEL, "/{model}/v1/model", 200, "", 0, 0),
        ]

    converse(served, talk)


# Several models


@pytest.fixture
def two(tmp_path: Path) -> Gateway:
    """A gateway of two models, `late` and `early`."""
    make_champion(tmp_path)
    late = make_settings(tmp_path)
    early = late.model_copy(update={"model": "early"})
    pointers = Path(late.places.pointers("late"))
    pointers.with_name("early.json").write_bytes(pointers.read_bytes().replace(b'"late"', b'"early"'))
    return serve(late, early)


def test_several_models_answer_each_under_its_name(two: Gateway) -> None:
    async def talk(client: Client, gateway: Gateway) -> None:
        for name in ("late", "early"):
            answered = await client.post(f"/{name}/v1/predict", json={"rows": [make_row()]})
            assert (answered.status_code, answered.json()["model"]) == (200, name)
            assert (await client.get(f"/{name}/v1/model")).json()["model"] == name
            assert (await client.get(f"/{name}/openapi.json")).json()["info"]["title"] == f"Homeostat: {name}"
        assert (await client.get("/readyz")).json() == {"status": "ready", "bundles": {"late": "1", "early": "1"}}
        page = (await client.get("/docs")).text
        assert 'href="/late/docs"' in page
        assert 'href="/early/docs"' in page

    converse(two, talk)


def test_among_several_models_a_request_must_name_one(two: Gateway) -> None:
    async def talk(client: Client, gateway: Gateway) -> None:
        unnamed = await client.post("/v1/predict", json={"rows": [make_row()]})
        assert_refused(unnamed, 404, "UnknownModel")
        assert "write for example '/late/v1/predict'" in unnamed.json()["error"]["message"]
        unknown = await client.post("/other/v1/predict", json={"rows": [make_row()]})
        assert_refused(unknown, 404, "UnknownModel")
        assert unknown.json()["error"]["details"] == [{"found": "other", "allowed": ["late", "early"]}]

    converse(two, talk)


def test_scores_that_are_not_finite_are_not_an_answer(served: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    async def talk(client: Client, gateway: Gateway) -> None:
        with monkeypatch.context() as broken:
            broken.setattr(only(gateway).current, "student", lambda matrix: np.full((len(matrix), 1), np.nan, dtype=np.float32))
            assert_refused(await client.post("/v1/predict", json={"rows": [make_row()]}), 500, "ScoringFailed")
        assert entries(served) == []

    converse(served, talk)


def test_a_body_that_does_not_come_costs_its_caller_and_nobody_else(served: Settings) -> None:
    async def run() -> None:
        gateway = serve(served)

        async def nothing() -> Any:
            await asyncio.Event().wait()

        headers = [(b"content-type", b"application/json"), (b"x-request-timeout", b"0.01")]
        scope = {"type": "http", "method": "POST", "path": "/v1/predict", "headers": headers}
        assert (await gateway.respond(scope, nothing)).status == 504

    asyncio.run(run())


def test_a_path_longer_than_any_route_is_not_found(served: Settings) -> None:
    async def talk(client: Client, gateway: Gateway) -> None:
        assert_refused(await client.get("/" + "x" * 5000), 404, "RouteNotFound")

    converse(served, talk)
