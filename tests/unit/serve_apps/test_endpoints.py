"""Every protocol through one gateway: the same rows, the same answers, each in its own shape."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pyarrow as pa
import pytest

from cluster.settings import Settings
from serve_apps.endpoints.oip_grpc import OipService
from serve_apps.gateway import Gateway
from serve_apps.placement import Placement
from serve_apps.protocols import open_inference_pb2 as pb
from serve_apps.served import ServedModel
from tests.builders import MODEL, make_row

ROWS = [make_row(), make_row(miles=None, carrier="ZZ")]
COLUMNS = {name: [row[name] for row in ROWS] for name in ROWS[0]}
TENSORS: list[dict[str, Any]] = [
    {"name": "miles", "datatype": "FP32", "shape": [2], "data": [200.0, None]},
    {"name": "wind", "datatype": "FP32", "shape": [2], "data": [3.5, 3.5]},
    {"name": "carrier", "datatype": "BYTES", "shape": [2], "data": ["B6", "ZZ"]},
    {"name": "sex", "datatype": "BYTES", "shape": [2], "data": ["female", "female"]},
    {"name": "at", "datatype": "BYTES", "shape": [2], "data": ["2013-01-01T05:00:00"] * 2},
]
CSV = "miles,wind,carrier,sex,at\n200,3.5,B6,female,2013-01-01T05:00:00\n,3.5,ZZ,female,2013-01-01T05:00:00\n"


@pytest.fixture
def gateway(served: Settings) -> Gateway:
    return Gateway([ServedModel(served, Placement("in_process", "the test says so"))])


def talk(gateway: Gateway, say: Callable[[httpx.AsyncClient], Awaitable[None]]) -> None:
    async def run() -> None:
        transport = httpx.ASGITransport(gateway, raise_app_exceptions=True)
        async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as client:
            await say(client)

    asyncio.run(run())


async def truth(client: httpx.AsyncClient) -> list[float]:
    answered = (await client.post("/v1/predict", json={"rows": ROWS})).json()
    return [row["probability"] for row in answered["predictions"]]


def _arrow() -> bytes:
    sink = pa.BufferOutputStream()
    table = pa.table(COLUMNS)
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue())


Post = dict[str, Any]
JSON = {"content-type": "application/json"}
CALLS: dict[str, tuple[str, Post, Callable[[httpx.Response], list[float]]]] = {
    "columns": ("/v1/predict", {"json": {"columns": COLUMNS}}, lambda r: [p["probability"] for p in r.json()["predictions"]]),
    "csv": (
        "/v1/predict",
        {"content": CSV, "headers": {"content-type": "text/csv"}},
        lambda r: [p["probability"] for p in r.json()["predictions"]],
    ),
    "arrow, both ways": (
        "/v1/predict",
        {"content": _arrow(), "headers": dict.fromkeys(("content-type", "accept"), "application/vnd.apache.arrow.stream")},
        lambda r: pa.ipc.open_stream(r.content).read_all().column("probability").to_pylist(),
    ),
    "mounted": (f"/{MODEL}/v1/predict", {"json": {"rows": ROWS}}, lambda r: [p["probability"] for p in r.json()["predictions"]]),
    "open inference": (
        f"/v2/models/{MODEL}/infer",
        {"json": {"inputs": TENSORS, "outputs": [{"name": "probability"}]}},
        lambda r: r.json()["outputs"][0]["data"],
    ),
    "open inference, by version": (
        f"/v2/models/{MODEL}/versions/1/infer",
        {"json": {"inputs": TENSORS, "outputs": [{"name": "probability"}]}},
        lambda r: r.json()["outputs"][0]["data"],
    ),
    "tensorflow serving": (f"/v1/models/{MODEL}:predict", {"json": {"instances": ROWS}}, lambda r: r.json()["predictions"]),
    "torchserve": (f"/predictions/{MODEL}", {"json": ROWS}, lambda r: [p["probability"] for p in r.json()]),
    "mlflow": ("/invocations", {"json": {"dataframe_records": ROWS}}, lambda r: [p["probability"] for p in r.json()["predictions"]]),
}


@pytest.mark.parametrize("name", CALLS)
def test_the_same_rows_get_the_same_answers_by_every_protocol(gateway: Gateway, name: str) -> None:
    path, post, read = CALLS[name]

    async def say(client: httpx.AsyncClient) -> None:
        answered = await client.post(path, **post)
        assert answered.status_code == 200, answered.text
        assert read(answered) == pytest.approx(await truth(client), rel=1e-6)
        assert answered.headers["x-homeostat-bundle"] == "1"
        label = {"request_id": answered.headers["x-homeostat-request"], "row": 1, "label": 1}
        assert (await client.post("/v1/labels", json={"labels": [label]})).json() == {"accepted": 1}

    talk(gateway, say)


WRONG: dict[str, tuple[str, Any, Callable[[Any], str]]] = {
    "open inference": (f"/v2/models/{MODEL}/infer", {"inputs": TENSORS[1:]}, lambda body: body["error"]),
    "tensorflow serving": (f"/v1/models/{MODEL}:predict", {"instances": [{"miles": 1}]}, lambda body: body["error"]),
    "torchserve": (f"/predictions/{MODEL}", [{"miles": 1}], lambda body: body["message"]),
    "mlflow": ("/invocations", {"dataframe_records": [{"miles": 1}]}, lambda body: body["message"]),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_with_rows_is_said_in_the_protocols_own_shape(gateway: Gateway, name: str) -> None:
    path, body, message = WRONG[name]

    async def say(client: httpx.AsyncClient) -> None:
        answered = await client.post(path, json=body)
        assert answered.status_code == 400
        assert "lacks column" in message(answered.json()) or "is absent" in message(answered.json())

    talk(gateway, say)


@pytest.mark.parametrize(
    ("path", "status"),
    [
        (f"/v2/models/{MODEL}", 200),
        (f"/v2/models/{MODEL}/versions/1/ready", 200),
        (f"/v2/models/{MODEL}/versions/9/ready", 404),
        (f"/v2/models/{MODEL}/config", 200),
        ("/v2/models/other", 404),
        ("/v2", 200),
        ("/v2/health/live", 200),
        ("/v2/health/ready", 200),
        (f"/v1/models/{MODEL}", 200),
        (f"/v1/models/{MODEL}/versions/9", 404),
        (f"/v1/models/{MODEL}/metadata", 200),
        (f"/models/{MODEL}", 200),
        ("/ping", 200),
        ("/health", 200),
        ("/version", 200),
        ("/v2/models", 404),
    ],
)
def test_what_is_known_of_a_model_is_told_and_a_version_that_does_not_answer_is_not_found(gateway: Gateway, path: str, status: int) -> None:
    async def say(client: httpx.AsyncClient) -> None:
        assert (await client.get(path)).status_code == status
        assert (await client.head(path)).status_code == status

    talk(gateway, say)


class Context:
    """What Serve passes beside a message."""

    def __init__(self, *metadata: tuple[str, str]) -> None:
        self.metadata = metadata
        self.code: Any = None
        self.details = ""

    def set_code(self, code: Any) -> None:
        self.code = code

    def set_details(self, details: str) -> None:
        self.details = details

    def invocation_metadata(self) -> tuple[tuple[str, str], ...]:
        return self.metadata


def infer_request(**changes: Any) -> pb.ModelInferRequest:
    request = pb.ModelInferRequest(model_name=MODEL, **changes)
    for tensor in TENSORS:
        data: list[Any] = [float("nan") if value is None else value for value in tensor["data"]]
        contents = {"fp32_contents": data} if tensor["datatype"] == "FP32" else {"bytes_contents": [text.encode() for text in data]}
        request.inputs.add(name=tensor["name"], datatype=tensor["datatype"], shape=tensor["shape"], contents=contents)
    return request


def test_grpc_answers_as_http_does(gateway: Gateway) -> None:
    service, context = OipService(gateway), Context()

    async def say(client: httpx.AsyncClient) -> None:
        response = await service.ModelInfer(infer_request(), context)
        (output,) = [output for output in response.outputs if output.name == "probability"]
        assert list(output.contents.fp32_contents) == pytest.approx(await truth(client), rel=1e-6)
        assert (response.model_version, context.code) == ("1", None)
        assert (await service.ModelReady(pb.ModelReadyRequest(name=MODEL), context)).ready
        metadata = await service.ModelMetadata(pb.ModelMetadataRequest(name=MODEL), context)
        assert [tensor.name for tensor in metadata.inputs] == ["miles", "wind", "carrier", "sex", "at"]
        assert (await service.ServerLive(pb.ServerLiveRequest(), context)).live
        assert (await service.ServerMetadata(pb.ServerMetadataRequest(), context)).name == "homeostat"
        (index,) = (await service.RepositoryIndex(pb.RepositoryIndexRequest(), context)).models
        assert (index.name, index.version) == (MODEL, "1")
        config = await service.ModelConfig(pb.ModelConfigRequest(name=MODEL), context)
        assert config.config.name == MODEL

    talk(gateway, say)


@pytest.mark.parametrize(
    ("changes", "code", "details"),
    [
        ({"model_name": "other"}, "NOT_FOUND", "model 'other' is not served here"),
        ({"model_version": "9"}, "NOT_FOUND", "version '9' of model 'late' does not answer here"),
    ],
)
def test_a_grpc_call_for_what_is_not_there_says_so(gateway: Gateway, changes: dict[str, str], code: str, details: str) -> None:
    context = Context()
    request = infer_request()
    for name, value in changes.items():
        setattr(request, name, value)
    assert asyncio.run(OipService(gateway).ModelInfer(request, context)) == pb.ModelInferResponse()
    assert context.code.name == code
    assert details in context.details


def test_a_guarded_model_asks_grpc_callers_for_the_token_too(served: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LATE_TOKEN", "s3cret")
    guarded = served.model_copy(update={"serving": served.serving.model_copy(update={"token_env": "LATE_TOKEN"})})
    service = OipService(Gateway([ServedModel(guarded, Placement("in_process", "the test says so"))]))
    stranger, friend = Context(), Context(("authorization", "Bearer s3cret"))
    asyncio.run(service.ModelInfer(infer_request(), stranger))
    asyncio.run(service.ModelInfer(infer_request(), friend))
    assert (stranger.code.name, friend.code) == ("UNAUTHENTICATED", None)
