from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import msgspec
import numpy as np
import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from cluster.bundle import Bundle
from cluster.errors import Unavailable
from cluster.schema import Matrix
from cluster.settings import Settings
from cluster.tracing import Tracer, trace_id
from cluster.tracing_settings import Tracing
from serve_apps import traces
from serve_apps.follower import Follower
from serve_apps.gateway import Gateway
from serve_apps.meter import Event
from serve_apps.placement import Placement
from serve_apps.served import ServedModel
from serve_apps.traces import Seen, TracedGateway, TracedModel, gateway_of, model_of
from tests.builders import ENSEMBLE_WEIGHTS, MODEL, expected_scores, make_champion, make_row, make_settings

SURE = {"miles": 2000.0, "carrier": "UA"}
HARD = {"miles": 0.0, "wind": 0.0, "carrier": "UA"}
HERE = Placement("deployment", "the test says so")
Talk = Callable[[httpx.AsyncClient], Awaitable[Any]]


async def ensemble(bundle: Bundle, matrix: Matrix, budget_s: float) -> Matrix:
    return np.asarray(expected_scores(ENSEMBLE_WEIGHTS, matrix), dtype=np.float32)


async def absent(bundle: Bundle, matrix: Matrix, budget_s: float) -> Matrix:
    raise Unavailable("the ensemble did not answer in time")


def settings_of(root: Path, **tracing: Any) -> Settings:
    section = {"endpoint": "http://127.0.0.1:6006", "sample": 1.0} | tracing
    return make_settings(root).model_copy(update={"tracing": Tracing(**section)})


class Service:
    """A traced gateway whose spans are kept in this process."""

    def __init__(self, root: Path, *, ask: Any = ensemble, **tracing: Any) -> None:
        make_champion(root)
        settings = settings_of(root, **tracing)
        self.exporter = InMemorySpanExporter()
        self.tracer = Tracer(settings.tracing, exporter=self.exporter)
        model = TracedModel(settings, HERE, ask, random.Random(7))
        self.gateway = TracedGateway([model], {MODEL: self.tracer})

    def spans(self, talk: Talk) -> list[Any]:
        """What has been sent after a talk, by way of the follower."""

        async def run() -> None:
            async with httpx.AsyncClient(transport=httpx.ASGITransport(self.gateway), base_url="http://gateway") as client:
                await talk(client)

        asyncio.run(run())
        follower = Follower(self.gateway, exports=[self.gateway.export])
        follower._export(pause_s=0.0)
        self.gateway.close()
        return list(self.exporter.get_finished_spans())

    def wholes(self, talk: Talk) -> list[Any]:
        """Those of them that are of a whole request."""
        return [span for span in self.spans(talk) if span.parent is None]


def predict(*rows: dict[str, Any]) -> Talk:
    return lambda client: client.post("/v1/predict", json={"rows": [make_row(**row) for row in rows]})


def metadata(span: Any) -> Any:
    return msgspec.json.decode(span.attributes["metadata"])


def test_a_request_becomes_a_span_that_says_who_answered_how_many_rows(tmp_path: Path) -> None:
    answers = []

    async def talk(client: httpx.AsyncClient) -> None:
        answers.append(await predict(SURE, HARD, SURE)(client))

    (span,) = Service(tmp_path).wholes(talk)
    request_id = answers[0].headers["X-Homeostat-Request"]
    assert span.name == "POST /v1/predict"
    assert metadata(span) == {
        "model": MODEL,
        "route": "/v1/predict",
        "status": 200,
        "bundle": "1",
        "request_id": request_id,
        "answered_by": "both",
        "rows": 3,
        "student": 2,
        "ensemble": 1,
        "degraded": 0,
    }
    assert span.context.trace_id == trace_id(f"request/{MODEL}/{request_id}")
    assert span.attributes["openinference.span.kind"] == "CHAIN"
    assert msgspec.json.decode(span.attributes["input.value"]) == {"rows": 3, "bytes": len(answers[0].request.content)}
    assert msgspec.json.decode(span.attributes["output.value"]) == {"student": 2, "ensemble": 1, "degraded": 0}
    assert span.attributes["http.response.status_code"] == 200
    assert span.status.status_code is StatusCode.OK


def test_its_times_are_those_that_were_metered(tmp_path: Path) -> None:
    service = Service(tmp_path)
    event = Event(1000.0, MODEL, "/v1/predict", "POST", 200, 0.25, "1", 1, 0, 0)
    service.gateway._kept.append(traces.Kept(event, "id", 10, Seen(), None))
    (span,) = service.spans(lambda client: client.get("/v2/health/live"))
    assert (span.start_time, span.end_time) == (1_000_000_000_000, 1_000_250_000_000)


@pytest.mark.parametrize("ask", [ensemble, None])
def test_who_was_asked_is_a_part_of_its_own_within_the_request(tmp_path: Path, ask: Any) -> None:
    spans = {span.name: span for span in Service(tmp_path, ask=ask).spans(predict(SURE, HARD, SURE))}
    assert set(spans) == {"POST /v1/predict", "student", "ensemble"}
    whole, student, asked = spans["POST /v1/predict"], spans["student"], spans["ensemble"]
    assert student.parent.span_id == asked.parent.span_id == whole.context.span_id
    assert (metadata(student)["rows"], metadata(asked)["rows"]) == (3, 1)
    assert student.start_time <= student.end_time <= asked.start_time <= asked.end_time


def test_a_request_that_the_student_is_sure_of_asks_nobody_else(tmp_path: Path) -> None:
    assert {span.name for span in Service(tmp_path).spans(predict(SURE))} == {"POST /v1/predict", "student"}


def test_a_large_block_is_timed_in_the_thread_that_scores_it(tmp_path: Path) -> None:
    spans = Service(tmp_path).spans(predict(*[SURE] * 300))
    assert [(span.name, metadata(span)["rows"]) for span in spans] == [("POST /v1/predict", 300), ("student", 300)]


def test_requests_under_way_together_keep_their_steps_apart(tmp_path: Path) -> None:
    async def talk(client: httpx.AsyncClient) -> None:
        await asyncio.gather(*(predict(row)(client) for row in [SURE, HARD] * 10))

    spans = Service(tmp_path).spans(talk)
    parts = [
        sorted(s.name for s in spans if s.parent and s.context.trace_id == whole.context.trace_id)
        for whole in spans
        if whole.parent is None
    ]
    assert sorted(parts) == [["ensemble", "student"]] * 10 + [["student"]] * 10


def test_an_ensemble_that_did_not_answer_is_an_error_of_that_part(tmp_path: Path) -> None:
    spans = {span.name: span for span in Service(tmp_path, ask=absent).spans(predict(HARD))}
    assert spans["ensemble"].status.status_code is StatusCode.ERROR
    assert spans["POST /v1/predict"].status.status_code is StatusCode.OK


def test_a_degraded_answer_says_so(tmp_path: Path) -> None:
    (span,) = Service(tmp_path, ask=absent).wholes(predict(HARD))
    assert (metadata(span)["answered_by"], metadata(span)["degraded"]) == ("degraded", 1)


def test_a_refused_request_is_an_error_without_a_bundle(tmp_path: Path) -> None:
    (span,) = Service(tmp_path, rows=True).wholes(predict({"miles": "far"}))
    assert span.status.status_code is StatusCode.ERROR
    assert span.status.description == "refused with 422"
    assert metadata(span) == {"model": MODEL, "route": "/v1/predict", "status": 422}
    assert msgspec.json.decode(span.attributes["output.value"]) == {"status": 422}
    assert list(msgspec.json.decode(span.attributes["input.value"])) == ["bytes"]
    assert "far" not in str(dict(span.attributes))


def test_a_refused_request_that_names_no_model_is_the_only_ones(tmp_path: Path) -> None:
    (span,) = Service(tmp_path).spans(lambda client: client.post("/nowhere"))
    assert (metadata(span)["model"], metadata(span)["status"]) == (MODEL, 404)


def test_health_checks_and_descriptions_get_no_span(tmp_path: Path) -> None:
    async def talk(client: httpx.AsyncClient) -> None:
        for path in ("/v2/health/live", "/v1/model", "/openapi.json"):
            assert (await client.get(path)).status_code == 200

    assert Service(tmp_path).spans(talk) == []


def test_no_value_of_a_row_is_shown_by_default(tmp_path: Path) -> None:
    (span,) = Service(tmp_path).wholes(predict({"miles": 1234.5, "carrier": "9E", "sex": "female"}))
    shown = str(dict(span.attributes))
    assert not any(value in shown for value in ("1234.5", "9E", "female", "miles", "sex"))


def test_with_rows_the_features_of_the_first_are_shown_and_its_protected_columns_are_not(tmp_path: Path) -> None:
    (span,) = Service(tmp_path, rows=True).wholes(predict({"miles": 1234.5, "carrier": "9E", "sex": "female"}, SURE))
    assert msgspec.json.decode(span.attributes["input.value"])["first_row"] == {"miles": 1234.5, "wind": 3.5, "carrier": "9E"}
    (score,) = msgspec.json.decode(span.attributes["output.value"])["first_scores"]
    assert 0 < score < 1
    assert "female" not in str(dict(span.attributes))


def test_a_protected_column_that_is_a_feature_too_is_not_shown(tmp_path: Path) -> None:
    from tests.builders import make_bundle, make_schema, publish

    folder = tmp_path / "bundles" / "1"
    publish(tmp_path, folder, version="1", digest=make_bundle(folder, schema=make_schema(protected=("carrier",))))
    model = TracedModel(settings_of(tmp_path, rows=True), HERE, ensemble)
    gateway = TracedGateway([model], {MODEL: Tracer(model.settings.tracing, exporter=InMemorySpanExporter())})

    async def run() -> httpx.Response:
        row = {"miles": 1.0, "wind": 2.0, "carrier": "UA", "at": "2013-01-01T05:00:00"}
        async with httpx.AsyncClient(transport=httpx.ASGITransport(gateway), base_url="http://gateway") as client:
            return await client.post("/v1/predict", json={"rows": [row]})

    seen: list[Seen | None] = []
    taken = model.take

    def take(request_id: str) -> Seen | None:
        seen.append(taken(request_id))
        return seen[-1]

    model.take = take  # type: ignore[method-assign]
    assert asyncio.run(run()).status_code == 200
    assert [each.row for each in seen if each] == [{"miles": 1.0, "wind": 2.0}]


def test_an_answer_is_remembered_until_it_is_noted_and_no_longer(tmp_path: Path) -> None:
    service = Service(tmp_path, rows=True)
    assert len(service.wholes(predict(SURE))) == 1
    model = service.gateway.only
    assert isinstance(model, TracedModel)
    assert model._seen == {}


@pytest.mark.parametrize(("share", "least", "most"), [(0.0, 0, 0), (0.25, 20, 80), (1.0, 200, 200)])
def test_a_share_of_the_requests_is_kept(tmp_path: Path, share: float, least: int, most: int) -> None:
    async def talk(client: httpx.AsyncClient) -> None:
        for _ in range(200):
            await predict(SURE)(client)

    service = Service(tmp_path, sample=share)

    async def run() -> None:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(service.gateway), base_url="http://gateway") as client:
            await talk(client)

    asyncio.run(run())
    assert least <= len(service.gateway._kept) <= most


def test_labels_are_traced_as_often_as_predictions(tmp_path: Path) -> None:
    async def talk(client: httpx.AsyncClient) -> None:
        request_id = (await predict(SURE)(client)).headers["X-Homeostat-Request"]
        answered = await client.post("/v1/labels", json={"labels": [{"request_id": request_id, "row": 0, "label": 1}]})
        assert answered.status_code == 200, answered.text

    assert [span.name for span in Service(tmp_path).wholes(talk)] == ["POST /v1/predict", "POST /v1/labels"]


def test_what_waits_is_bounded_and_the_rest_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(traces, "_MOST_KEPT", 2)

    async def talk(client: httpx.AsyncClient) -> None:
        for _ in range(5):
            assert (await predict(SURE)(client)).status_code == 200

    service = Service(tmp_path)
    assert len(service.wholes(talk)) == 2
    assert service.tracer.dropped == 3


def test_while_tracing_is_off_the_classes_the_event_and_what_is_exported_are_the_plain_ones(tmp_path: Path) -> None:
    make_champion(tmp_path)
    settings = make_settings(tmp_path)
    assert model_of(settings) is ServedModel
    gateway = gateway_of([ServedModel(settings, HERE, ensemble)])
    assert type(gateway) is Gateway
    noted: list[Event] = []
    gateway.meter.note = noted.append

    async def run() -> None:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(gateway), base_url="http://gateway") as client:
            assert (await predict(SURE)(client)).status_code == 200

    asyncio.run(run())
    (event,) = noted
    assert type(event) is Event
    assert Event._fields == ("time", "model", "route", "method", "status", "seconds", "bundle", "student", "ensemble", "degraded")


def test_of_several_models_only_those_with_an_endpoint_are_traced(tmp_path: Path) -> None:
    make_champion(tmp_path)
    traced = TracedModel(settings_of(tmp_path), HERE, ensemble)
    other = ServedModel(make_settings(tmp_path).model_copy(update={"model": MODEL}), HERE, ensemble)
    other.name = "other"
    exporter = InMemorySpanExporter()
    tracer = Tracer(traced.settings.tracing, exporter=exporter)
    gateway = TracedGateway([traced, other], {MODEL: tracer})

    async def run() -> None:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(gateway), base_url="http://gateway") as client:
            for name in (MODEL, "other"):
                answered = await client.post(f"/{name}/v1/predict", json={"rows": [make_row(**SURE)]})
                assert answered.status_code == 200

    asyncio.run(run())
    gateway.export((), ())
    gateway.close()
    assert [metadata(span)["model"] for span in exporter.get_finished_spans() if span.parent is None] == [MODEL]
