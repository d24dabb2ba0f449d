"""What `tritonclient` gets from the service by one of its two transports: `triton.py http|grpc`; the task is JSON on stdin."""

from __future__ import annotations

import asyncio
import importlib
import json
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

TASK = json.load(sys.stdin)
TRANSPORT = sys.argv[1]
module = importlib.import_module(f"tritonclient.{TRANSPORT}")
aio = importlib.import_module(f"tritonclient.{TRANSPORT}.aio")
CLASSIFIER, REGRESSOR = TASK["classifier"], TASK["regressor"]
ANSWERED = {CLASSIFIER: ("prediction", "probability", "answered_by", "degraded"), REGRESSOR: ("prediction", "answered_by", "degraded")}
JSON = {"as_json": True} if TRANSPORT == "grpc" else {}


def arrays(**changes: Any) -> dict[str, Any]:
    """The rows as arrays by column: a missing number is NaN, a missing text the empty one."""
    columns = {name: [row[name] for row in TASK["rows"]] for name in TASK["rows"][0]}
    numbers = {name: np.array(columns.pop(name), dtype) for name, dtype in (("miles", np.float32), ("wind", np.float64))}
    texts = {name: np.array([value or "" for value in values], object) for name, values in columns.items()}
    return {name: array for name, array in (numbers | texts | changes).items() if array is not None}


def inputs(found: dict[str, Any], **kind: bool) -> list[Any]:
    made = []
    for name, array in found.items():
        made.append(module.InferInput(name, list(array.shape), np_to_triton_dtype(array.dtype)))
        made[-1].set_data_from_numpy(array, **kind)
    return made


def plain(result: Any, names: tuple[str, ...]) -> dict[str, Any]:
    """A result as JSON types; BYTES are bytes objects or text, depending on how they came."""
    found = {}
    for name in names:
        values = result.as_numpy(name).tolist()
        found[name] = [value.decode() if isinstance(value, bytes) else value for value in values]
    return found


def identity(result: Any) -> dict[str, Any]:
    response = result.get_response(**JSON)
    request_id = response["parameters"]["request_id"]
    return {
        "model": response["model_name"],
        "version": response["model_version"],
        "id": response["id"],
        "request_id": request_id if isinstance(request_id, str) else request_id["string_param"],
    }


def scored(client: Any) -> dict[str, dict[str, Any]]:
    """The classifier's answers, by every way that this transport has."""

    def infer(found: list[Any], **options: Any) -> dict[str, Any]:
        return plain(client.infer(CLASSIFIER, found, **options), ANSWERED[CLASSIFIER])

    in_columns = {name: array.reshape(-1, 1) for name, array in arrays().items()}
    cases = {
        "one dimension": infer(inputs(arrays())),
        "two dimensions": infer(inputs(in_columns)),
        "version": infer(inputs(arrays()), model_version="1"),
        "timeout": infer(inputs(arrays()), timeout=30_000_000),
    }
    if TRANSPORT == "http":
        cases["JSON"] = infer(inputs(arrays(), binary_data=False))
        wanted = [module.InferRequestedOutput(name, binary_data=name < "c") for name in ANSWERED[CLASSIFIER]]
        cases["JSON and bytes"] = infer(inputs(arrays()), outputs=wanted)
        for coding in ("gzip", "deflate"):
            cases[coding] = infer(inputs(arrays()), request_compression_algorithm=coding, response_compression_algorithm=coding)
        cases["later"] = plain(client.async_infer(CLASSIFIER, inputs(arrays())).get_result(), ANSWERED[CLASSIFIER])
    else:
        for coding in ("gzip", "deflate"):
            cases[coding] = infer(inputs(arrays()), compression_algorithm=coding)
    return cases


def of_other_sizes(client: Any) -> dict[str, Any]:
    """The last row alone, and all rows many times over in one request."""
    sizes = {
        "alone": {name: array[-1:] for name, array in arrays().items()},
        "many": {name: np.tile(array, TASK["times"]) for name, array in arrays().items()},
    }
    return {size: plain(client.infer(CLASSIFIER, inputs(found)), ANSWERED[CLASSIFIER]) for size, found in sizes.items()}


async def scored_async() -> dict[str, Any]:
    async with aio.InferenceServerClient(TASK[TRANSPORT]) as client:
        return plain(await client.infer(CLASSIFIER, inputs(arrays())), ANSWERED[CLASSIFIER])


def refusal(call: Callable[[], Any]) -> list[str]:
    """Status and message of the client's own exception."""
    try:
        return ["", f"not refused: {call()}"]
    except InferenceServerException as error:
        return [error.status(), error.message()]


def refused(client: Any) -> dict[str, list[str]]:
    return {
        "missing column": refusal(lambda: client.infer(CLASSIFIER, inputs(arrays(wind=None)))),
        "wrong type": refusal(lambda: client.infer(CLASSIFIER, inputs(arrays(miles=np.array(["far"] * len(TASK["rows"]), object))))),
        "infinite": refusal(lambda: client.infer(CLASSIFIER, inputs(arrays(wind=np.full(len(TASK["rows"]), np.inf))))),
        "unknown model": refusal(lambda: client.infer("nobody", inputs(arrays()))),
        "unknown version": refusal(lambda: client.infer(CLASSIFIER, inputs(arrays()), model_version="9")),
        "unknown output": refusal(lambda: client.infer(CLASSIFIER, inputs(arrays()), outputs=[module.InferRequestedOutput("colour")])),
        "metadata of an unknown model": refusal(lambda: client.get_model_metadata("nobody")),
    }


def tensors(content: list[dict[str, Any]]) -> list[list[Any]]:
    """Name, datatype and shape; gRPC's JSON writes an int64 as text."""
    return [[t["name"], t["datatype"], [int(n) for n in t["shape"]]] for t in content]


def main() -> None:
    client = module.InferenceServerClient(TASK[TRANSPORT])
    metadata = client.get_model_metadata(CLASSIFIER, **JSON)
    config, index = client.get_model_config(CLASSIFIER, **JSON), client.get_model_repository_index(**JSON)
    whole = client.infer(CLASSIFIER, inputs(arrays()))
    some = client.infer(CLASSIFIER, inputs(arrays()), outputs=[module.InferRequestedOutput("probability")], request_id="mine")
    other = client.infer(REGRESSOR, inputs(arrays()))
    found = {
        "live": client.is_server_live(),
        "ready": client.is_server_ready(),
        "model ready": [client.is_model_ready(CLASSIFIER), client.is_model_ready(REGRESSOR, "1")],
        "server": client.get_server_metadata(**JSON),
        "metadata": [metadata["name"], metadata["versions"], tensors(metadata["inputs"]), tensors(metadata["outputs"])],
        "config": [t["data_type"] for t in (config.get("config") or config)["input"]],
        "index": sorted(f"{m['name']} {m['version']} {m['state']}" for m in (index["models"] if TRANSPORT == "grpc" else index)),
        "scored": scored(client) | {"asyncio": asyncio.run(scored_async())},
        "sizes": of_other_sizes(client),
        "identity": identity(whole),
        "some": plain(some, ("probability",)) | {"others": some.as_numpy("prediction") is not None} | identity(some),
        "other": plain(other, ANSWERED[REGRESSOR]) | identity(other),
        "refused": refused(client),
    }
    client.close()
    json.dump(found, sys.stdout)


main()
