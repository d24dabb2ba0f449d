"""What KServe's inference clients get from the service, by REST (v2 and v1) and gRPC; the task is JSON on stdin."""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from collections.abc import Awaitable
from typing import Any

import grpc
import httpx
import numpy as np
from kserve import InferenceGRPCClient, InferenceRESTClient, InferInput, InferRequest, InferResponse, RESTConfig
from kserve.protocol.infer_type import RequestedOutput

TASK = json.load(sys.stdin)
CLASSIFIER, REGRESSOR, URL = TASK["classifier"], TASK["regressor"], f"http://{TASK['http']}"
KINDS = {"miles": ("FP32", np.float32), "wind": ("FP64", np.float64)}
COLUMNS = {name: [row[name] for row in TASK["rows"]] for name in TASK["rows"][0]}


def arrays(*, binary: bool) -> list[InferInput]:
    """The rows as arrays by column, sent as bytes or as JSON: a missing number is NaN, a missing text the empty one."""
    made = []
    for name, values in COLUMNS.items():
        datatype, dtype = KINDS.get(name, ("BYTES", object))
        array = np.array(values if name in KINDS else [value or "" for value in values], dtype)
        made.append(InferInput(name, list(array.shape), datatype))
        made[-1].set_data_from_numpy(array, binary_data=binary)
    return made


def lists(*without: str) -> list[InferInput]:
    """The rows as plain lists by column: typed contents by gRPC."""
    columns = {name: [np.nan if value is None else value for value in values] for name, values in COLUMNS.items() if name in KINDS}
    columns |= {name: [value or "" for value in values] for name, values in COLUMNS.items() if name not in KINDS}
    return [InferInput(n, [len(v)], KINDS.get(n, ("BYTES",))[0], v) for n, v in columns.items() if n not in without]


def request(inputs: list[InferInput], *, model: str = CLASSIFIER, outputs: dict[str, bool] | None = None, **options: Any) -> InferRequest:
    wanted = [RequestedOutput(name, {"binary_data": binary}) for name, binary in (outputs or {}).items()]
    return InferRequest(model, inputs, request_outputs=wanted or None, **options)


def plain(response: InferResponse) -> dict[str, Any]:
    """A response as JSON types; BYTES are bytes objects or text, depending on how they came."""
    found = {}
    for output in response.outputs:
        values = output.as_numpy().tolist()
        found[output.name] = [value.decode() if isinstance(value, bytes) else value for value in values]
    return found


def identity(response: InferResponse) -> dict[str, Any]:
    request_id = response.parameters["request_id"]
    return {
        "model": response.model_name,
        "id": response.id,
        "request_id": request_id if isinstance(request_id, str) else request_id.string_param,
    }


async def refusal(call: Awaitable[Any]) -> list[Any]:
    """Status and message of the client's own exception."""
    try:
        return ["", f"not refused: {await call}"]
    except httpx.HTTPStatusError as error:
        return [error.response.status_code, str(error)]
    except grpc.aio.AioRpcError as error:
        return [error.code().name, error.details()]


async def by_rest() -> dict[str, Any]:
    async with InferenceRESTClient(RESTConfig(protocol="v2")) as client:

        async def infer(found: InferRequest) -> InferResponse:
            return await client.infer(URL, found, model_name=found.model_name)

        mixed = {"prediction": True, "probability": False, "answered_by": True, "degraded": False}
        cases = {
            "bytes": request(arrays(binary=True)),
            "JSON": request(arrays(binary=False)),
            "lists": request(lists()),
            "bytes back": request(arrays(binary=True), parameters={"binary_data_output": True}),
            "JSON and bytes": request(arrays(binary=True), outputs=mixed),
        }
        mine, other = await infer(request(arrays(binary=True), request_id="mine")), await infer(request(lists(), model=REGRESSOR))
        return {
            "live": await client.is_server_live(URL),
            "ready": await client.is_server_ready(URL),
            "model ready": [await client.is_model_ready(URL, name) for name in (CLASSIFIER, REGRESSOR, "nobody")],
            "scored": {name: plain(await infer(case)) for name, case in cases.items()},
            "identity": identity(mine),
            "other": plain(other) | identity(other),
            "missing column": await refusal(infer(request(lists("wind")))),
            "unknown model": await refusal(infer(request(lists(), model="nobody"))),
        }


async def by_grpc() -> dict[str, Any]:
    async with InferenceGRPCClient(TASK["grpc"]) as client:
        cases = {
            "raw": request(arrays(binary=True)),
            "typed": request(lists()),
            "requested": request(lists(), outputs=dict.fromkeys(("prediction", "probability", "answered_by", "degraded"), False)),
        }
        mine, other = (
            await client.infer(request(arrays(binary=True), request_id="mine")),
            await client.infer(request(lists(), model=REGRESSOR)),
        )
        return {
            "live": await client.is_server_live(),
            "ready": await client.is_server_ready(),
            "model ready": [await client.is_model_ready(CLASSIFIER), await client.is_model_ready(REGRESSOR)],
            "scored": {name: plain(await client.infer(case)) for name, case in cases.items()},
            "identity": identity(mine),
            "other": plain(other) | identity(other),
            "missing column": await refusal(client.infer(request(lists("wind")))),
            "unknown model": await refusal(client.infer(request(lists(), model="nobody"))),
            "unknown model ready": await refusal(client.is_model_ready("nobody")),
        }


async def by_v1() -> dict[str, Any]:
    async with InferenceRESTClient(RESTConfig(protocol="v1")) as client:
        return {
            "scored": await client.infer(URL, {"instances": TASK["rows"]}, model_name=CLASSIFIER),
            "other": await client.infer(URL, {"instances": TASK["rows"]}, model_name=REGRESSOR),
            "unknown model": await refusal(client.infer(URL, {"instances": TASK["rows"]}, model_name="nobody")),
        }


async def main() -> None:
    found = {"rest": await by_rest(), "grpc": await by_grpc(), "v1": await by_v1()}
    json.dump(found, sys.stdout)


logging.disable(logging.CRITICAL)
asyncio.run(main())
