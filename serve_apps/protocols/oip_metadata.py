"""What a model says of itself by the Open Inference Protocol: its tensors, versions and configuration.

Plain dictionaries, as REST answers them; `serve_apps.protocols.oip_grpc` makes messages of the same ones.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from cluster.schema import FeatureSchema, Label, canonical, score_width
from serve_apps.protocols.oip_binary import NUMPY, TEXT

PLATFORM: Final = "homeostat_bundle"
EXTENSIONS: Final = ("binary_tensor_data", "model_configuration")
_NUMBERS: Final = tuple(name for name in NUMPY if name != "BOOL")
_CATEGORIES: Final = (TEXT, "BOOL", *(name for name in NUMPY if "INT" in name), "FP64")
"""No FP32: a fraction would be read as another text than the one it was written as."""
_TIMES: Final = (TEXT, "FP64", "INT64")
"""No FP32: it knows today's time to two minutes only."""


class TensorSpec(NamedTuple):
    """One tensor of the model."""

    name: str
    datatype: str
    """The one that metadata names."""
    shape: tuple[int, ...]
    """-1: as many as there are rows."""
    accepted: tuple[str, ...] = ()
    """Of an input: all datatypes that are read."""
    optional: bool = False


def inputs_of(schema: FeatureSchema) -> dict[str, TensorSpec]:
    """One tensor a column: the features in order, protected columns, the time."""
    numbers = {feature.name for feature in schema.features if feature.type == "number"}
    specs = [
        TensorSpec(name, "FP32", (-1,), _NUMBERS) if name in numbers else TensorSpec(name, TEXT, (-1,), _CATEGORIES)
        for name in (*schema.names, *schema.side_columns)
    ]
    if schema.time is not None:
        specs.append(TensorSpec(schema.time, TEXT, (-1,), _TIMES, optional=True))
    return {spec.name: spec for spec in specs}


def outputs_of(label: Label) -> dict[str, TensorSpec]:
    """What is answered of each row; classes keep their type."""
    specs = [TensorSpec("prediction", _prediction_type(label), (-1,))]
    if label.task == "binary":
        specs.append(TensorSpec("probability", "FP32", (-1,)))
    elif label.task == "multiclass":
        specs.append(TensorSpec("probabilities", "FP32", (-1, score_width(label))))
    specs += [TensorSpec("answered_by", TEXT, (-1,)), TensorSpec("degraded", "BOOL", (-1,))]
    return {spec.name: spec for spec in specs}


def _prediction_type(label: Label) -> str:
    if label.task == "regression":
        return "FP32"
    kinds = {type(c) for c in label.classes or ()}
    return "BOOL" if kinds == {bool} else "INT64" if kinds == {int} else TEXT


def server_metadata(version: str) -> dict[str, object]:
    """GET /v2."""
    return {"name": "homeostat", "version": version, "extensions": list(EXTENSIONS)}


def model_metadata(schema: FeatureSchema, *, model: str, versions: Sequence[str]) -> dict[str, object]:
    """GET /v2/models/NAME, of a frozen schema."""
    return {
        "name": model,
        "versions": list(versions),
        "platform": PLATFORM,
        "inputs": [_tensor(spec) for spec in inputs_of(schema).values()],
        "outputs": [_tensor(spec) for spec in outputs_of(schema.label).values()],
    }


def _tensor(spec: TensorSpec) -> dict[str, object]:
    return {"name": spec.name, "datatype": spec.datatype, "shape": list(spec.shape)}


def model_config(schema: FeatureSchema, *, model: str, max_rows: int) -> dict[str, object]:
    """GET /v2/models/NAME/config, of a frozen schema, in Triton's words."""
    inputs = [_config(spec) | {"optional": spec.optional} for spec in inputs_of(schema).values()]
    parameters = {"task": schema.label.task, "label": schema.label.name, "max_rows": str(max_rows)}
    if schema.label.classes is not None:
        parameters["classes"] = json.dumps([canonical(c) for c in schema.label.classes])
    return {
        "name": model,
        "platform": PLATFORM,
        "backend": "homeostat",
        "max_batch_size": 0,  # the dimension of rows is written in dims
        "input": inputs,
        "output": [_config(spec) for spec in outputs_of(schema.label).values()],
        "parameters": {name: {"string_value": value} for name, value in parameters.items()},
    }


def _config(spec: TensorSpec) -> dict[str, Any]:
    data_type = "TYPE_STRING" if spec.datatype == TEXT else f"TYPE_{spec.datatype}"
    return {"name": spec.name, "data_type": data_type, "dims": list(spec.shape)}


def repository_index(versions: Mapping[str, Sequence[str]]) -> list[dict[str, str]]:
    """POST /v2/repository/index: the served versions of each model, all of them ready."""
    return [{"name": name, "version": v, "state": "READY", "reason": ""} for name, served in versions.items() for v in served]
